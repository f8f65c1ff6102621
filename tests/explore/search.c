/* SPDX-License-Identifier: MIT */
/* Breadth-first search. A state is the C structs, packed: one byte per field, the number of its value in a table of all values seen. */
#include "explore.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define MAX_FIELDS 96
#define MAX_STATES (4u << 20)
#define NO_PARENT 0xffffffffu

struct field {
	void *at;
	unsigned size;
};

static struct field fields[MAX_FIELDS];
static unsigned nr_fields, guest_field;

/* ---- Values ---- */

static uint64_t values[256];
static unsigned nr_values;
static struct { uint64_t value; uint16_t number; } interned[1024]; /* number + 1; 0: free */

static uint8_t intern(uint64_t v)
{
	unsigned h = (unsigned)((v * 0x9e3779b97f4a7c15ull) >> 54);

	while (interned[h].number && interned[h].value != v)
		h = (h + 1) & 1023;
	if (!interned[h].number) {
		if (nr_values == 256) {
			printf("not ok values # more than 256 different values\n");
			exit(2);
		}
		values[nr_values] = v;
		interned[h].value = v;
		interned[h].number = (uint16_t)++nr_values;
	}
	return (uint8_t)(interned[h].number - 1);
}

/* ---- Fields ---- */

static void add(void *at, unsigned size)
{
	if (nr_fields == MAX_FIELDS)
		abort();
	fields[nr_fields++] = (struct field){ at, size };
}
#define ADD(lvalue) add(&(lvalue), sizeof(lvalue))

static void list_guest(unsigned i)
{
	struct dbg_vcpu *d = &vcpus[i].dbg;
	struct control_block *b = &w.vm[i];
	struct truth *t = &w.truth[i];

	ADD(d->dr[0]), ADD(d->dr[1]), ADD(d->dr6), ADD(d->dr7), ADD(d->debugctl), ADD(d->state);
	ADD(d->vm_dirty), ADD(d->vm_intercept), ADD(d->vm_lbrv), ADD(d->vm_dr6), ADD(d->vm_dr7), ADD(d->vm_debugctl);
	ADD(b->dr6), ADD(b->dr7), ADD(b->debugctl), ADD(b->seen_debugctl), ADD(b->intercept), ADD(b->lbr);
	ADD(t->dr0), ADD(t->dr6), ADD(t->dr7), ADD(t->debugctl);
	if (i) /* guest B has no debugger, masks nor #DBs */
		return;
	ADD(d->mask[0]), ADD(t->mask), ADD(d->held), ADD(d->held_dr[0]), ADD(d->held_dr[1]), ADD(d->held_dr7);
	ADD(vcpus[i].exception.type), ADD(vcpus[i].exception.vector), ADD(vcpus[i].exception.db.payload), ADD(vcpus[i].exception.db.cls);
}

static void list_fields(void)
{
	struct dbg_cpu *c = &cpu.dbg;

	nr_fields = 0;
	ADD(w.dr[0]), ADD(w.dr[1]), ADD(w.dr6), ADD(w.dr7), ADD(w.debugctl), ADD(w.host_debugctl), ADD(w.mask);
	guest_field = nr_fields;
	ADD(w.guest), ADD(w.idle), ADD(w.ops), ADD(w.cur), ADD(w.host_bp), ADD(w.host_ctl);
	ADD(c->dr[0]), ADD(c->dr7), ADD(c->debugctl), ADD(c->owned_debugctl), ADD(c->hw_dr[0]), ADD(c->hw_dr[1]), ADD(c->hw_mask[0]);
	ADD(c->guest_dr_loaded);
	list_guest(0);
	list_guest(1);
}

static uint64_t load(const struct field *f)
{
	switch (f->size) {
	case 1: return *(uint8_t *)f->at;
	case 4: return *(uint32_t *)f->at;
	default: return *(uint64_t *)f->at;
	}
}

static void store(const struct field *f, uint64_t v)
{
	switch (f->size) {
	case 1: *(uint8_t *)f->at = (uint8_t)v; break;
	case 4: *(uint32_t *)f->at = (uint32_t)v; break;
	default: *(uint64_t *)f->at = v;
	}
}

/* ---- One state for all that nobody can tell apart. What is dead becomes POISON, so that a use of it shows. ---- */

static void canon_guest(unsigned i)
{
	struct dbg_vcpu *d = &vcpus[i].dbg;

	if (vcpus[i].exception.type == EVENT_NONE)
		vcpus[i].exception = (struct event){ 0 };
	if (!d->held)
		d->held_dr[0] = d->held_dr[1] = 0;
	if (d->vm_dirty)
		w.vm[i] = (struct control_block){ .seen_debugctl = w.vm[i].seen_debugctl, .debugctl = w.vm[i].debugctl };
}

static void canon(void)
{
	struct dbg_vcpu *d = &vcpus[w.cur].dbg;
	bool cached = par.policy == DBG_CACHED, live = w.guest && d->state == DBG_LIVE;

	canon_guest(0);
	canon_guest(1);
	w.ops = w.guest ? w.ops & (DBG_OP_LOAD_DR6 | DBG_OP_VM_FIELDS) : 0;
	w.idle &= w.guest;
	if (!cached || live)
		cpu.dbg.hw_dr[0] = cpu.dbg.hw_dr[1] = POISON; /* only the cached policy reads them, and never while the guest writes the registers */
	if (w.guest) { /* the exit will write them */
		w.vm[w.cur].dr7 = POISON;
		w.vm[w.cur].dr6 = POISON;
	}
	if (live) {
		d->dr[0] = d->dr[1] = d->dr7 = d->dr6 = POISON;
		d->vm_dr7 = POISON;
		if (par.be.dbg_caps & DBG_CAP_VM_DR6)
			d->vm_dr6 = POISON;
	}
	if (!cached && !live && !(w.dr7 & DR7_ENABLE_ALL) && !dbg_armed(cpu.dbg.dr7))
		w.dr[0] = w.dr[1] = POISON;
}

/* ---- The table ---- */

struct link {
	uint32_t parent;
	struct step step;
};

static uint8_t *keys;
static struct link *links;
static uint32_t *table; /* state + 1 */
static uint32_t table_size, nr_states, room;

static uint32_t hash(const uint8_t *key)
{
	uint64_t h = 0, part;

	for (unsigned i = 0; i < MAX_FIELDS; i += 8) {
		memcpy(&part, key + i, 8);
		h = (h ^ part) * 0x9e3779b97f4a7c15ull;
		h ^= h >> 29;
	}
	return (uint32_t)(h ^ h >> 32);
}

static void grow(void)
{
	table_size = table_size ? table_size * 2 : 1u << 16;
	room = table_size / 2;
	free(table);
	table = calloc(table_size, sizeof(*table));
	keys = realloc(keys, (size_t)room * MAX_FIELDS);
	links = realloc(links, (size_t)room * sizeof(*links));
	if (!table || !keys || !links)
		abort();
	for (uint32_t i = 0; i < nr_states; i++) {
		uint32_t h = hash(keys + (size_t)i * MAX_FIELDS) & (table_size - 1);

		while (table[h])
			h = (h + 1) & (table_size - 1);
		table[h] = i + 1;
	}
}

static void insert(uint32_t parent, struct step s)
{
	uint8_t key[MAX_FIELDS] = { 0 };
	uint32_t h;

	canon();
	for (unsigned i = 0; i < nr_fields; i++)
		key[i] = intern(load(&fields[i]));
	if (nr_states == room)
		grow();
	for (h = hash(key) & (table_size - 1); table[h]; h = (h + 1) & (table_size - 1))
		if (!memcmp(keys + (size_t)(table[h] - 1) * MAX_FIELDS, key, MAX_FIELDS))
			return;
	memcpy(keys + (size_t)nr_states * MAX_FIELDS, key, MAX_FIELDS);
	links[nr_states] = (struct link){ parent, s };
	table[h] = ++nr_states;
}

static void restore(uint32_t state)
{
	const uint8_t *key = keys + (size_t)state * MAX_FIELDS;

	for (unsigned i = 0; i < nr_fields; i++)
		store(&fields[i], values[key[i]]);
}

/* ---- The search ---- */

static void print_step(struct step s)
{
	printf("#   %s", event_names[s.event]);
	if (s.nmi)
		printf(" [%s before access %u]", nmi_names[s.nmi], s.at);
	printf("\n");
}

/* The shortest way to the violation, and the registers after each step of it. */
static void print_way(uint32_t state, struct step last, struct result *r)
{
	uint32_t way[256];
	unsigned n = 0, points;

	for (uint32_t s = state; s != NO_PARENT && n < 256; s = links[s].parent)
		way[n++] = s;
	r->length = n;
	r->last = last.event;
	printf("# I%u broken in %s after %u events: %s\n", bad_invariant, par.name, n, bad);
	while (n--) {
		if (links[way[n]].parent != NO_PARENT)
			print_step(links[way[n]].step);
		restore(way[n]);
		world_print();
	}
	print_step(last);
	restore(state);
	bad_invariant = 0;
	world_step(last, &points);
	world_print();
}

/* One event from one state. False: an invariant broke. */
static bool try_step(uint32_t from, struct step s, unsigned *points, struct result *r)
{
	*points = 0;
	restore(from);
	if (!world_step(s, points))
		return true;
	if (bad_invariant) {
		print_way(from, s, r);
		return false;
	}
	r->transitions++;
	insert(from, s);
	return true;
}

static bool expand(uint32_t from, struct result *r)
{
	bool guest = values[keys[(size_t)from * MAX_FIELDS + guest_field]] != 0;

	for (unsigned e = guest ? EV_SLOW : 0; e < (guest ? NR_EVENTS : EV_SLOW); e++) {
		unsigned n, unused;

		if (!try_step(from, (struct step){ .event = (uint8_t)e }, &n, r))
			return false;
		for (unsigned k = 1; k < NR_NMIS; k++)
			for (unsigned at = 0; (par.nmis >> k & 1) && at < n; at++)
				if (!try_step(from, (struct step){ (uint8_t)e, (uint8_t)k, (uint8_t)at }, &unused, r))
					return false;
	}
	return true;
}

bool search(struct result *r)
{
	bool ok = true;

	*r = (struct result){ 0 };
	bad_invariant = 0;
	nr_states = nr_values = table_size = 0;
	memset(interned, 0, sizeof(interned));
	world_init();
	list_fields();
	grow();
	insert(NO_PARENT, (struct step){ 0 });
	for (uint32_t i = 0; ok && i < nr_states && !r->blown; i++) {
		ok = expand(i, r);
		r->blown = nr_states > MAX_STATES;
	}
	r->states = nr_states;
	return ok && !r->blown;
}
