/* SPDX-License-Identifier: MIT */
/* The stub's own: what the session (gdb.c) and the packets that only ask or change something (command.c) share. */
#ifndef VMM_GDB_SESSION_H
#define VMM_GDB_SESSION_H

#include "vmm/gdb/gdb.h"
#include "vmm/gdb/packet.h"

struct gdb_session {
	const struct gdb_port *port;
	bool wait;      /* for the first gdb */
	bool attached;
	bool no_ack;
	bool resume;    /* the guest is to go on */
	bool doubt;     /* it has stopped for a character that may have been noise */
	struct vcpu *stopped; /* whoever has */
	struct vcpu *chosen;  /* Hg: registers and memory */
	struct gdb_rx rx;
	struct gdb_tx tx;
};
extern struct gdb_session gdb_session;

/* A thread is a VM of the group: its number + 1. thread: NULL: there is no such (id 0: any). */
unsigned gdb_thread_of(const struct vcpu *v);
struct vcpu *gdb_thread(uint64_t id);

/* Sends what is in tx; once more if it is called again. Sends this text. */
void gdb_flush(void);
void gdb_reply(const char *text);

/* A packet that leaves the guest where it is. False: it is none of these. */
bool gdb_command(const char *p, size_t n);

#endif
