# SPDX-License-Identifier: MIT
# drover: `make` builds build/drover.elf and build/guest.elf. See README.md for run, check and bench.

CC ?= gcc
ifeq ($(origin CC),default)
CC := gcc
endif
LD := ld
OBJCOPY := objcopy
OBJDUMP := objdump
B := build

# V=1: each command in full; else a line for each file, and what a compiler says of it. -s: not even that.
# -n, -q, -t: nothing is to run. make runs lines with `+` or $(MAKE) all the same, so those ask DRY.
V ?=
FLAGS := $(filter-out -%,$(firstword $(MAKEFLAGS)))
DRY := $(strip $(foreach flag,n q t,$(findstring $(flag),$(FLAGS))))
Q := $(if $(filter-out 0,$(V))$(DRY),,@)
say = $(if $(Q),$(if $(findstring s,$(FLAGS)),,@printf '  %-7s %s\n' $(1) $@))

# Everything in these folders is drover; a file is built because it is there.
DIRS := boot arch/lib arch/x86 arch/x86/svm arch/x86/vmx arch/x86/pvm vmm vmm/dev vmm/gdb drivers
C_SRCS := $(sort $(wildcard $(addsuffix /*.c,$(DIRS))))
S_SRCS := $(sort $(wildcard $(addsuffix /*.S,$(DIRS))))
OBJS := $(C_SRCS:%.c=$(B)/%.o) $(S_SRCS:%.S=$(B)/%.S.o)

COMMON := -I. -ffile-prefix-map=$(CURDIR)=. -MMD -MP -g -gdwarf-4
WARN := -Wall -Wextra -Werror -Wconversion -Wshadow -Wstrict-prototypes -Wmissing-prototypes -Wvla -Wswitch
CFLAGS := $(COMMON) $(WARN) -std=gnu17 -O2 -ffreestanding -nostdinc -isystem $(shell $(CC) -print-file-name=include 2>/dev/null) \
	-fno-pic -mcmodel=kernel -mno-red-zone -mgeneral-regs-only -fno-stack-protector -fno-asynchronous-unwind-tables \
	-fno-strict-aliasing -fno-common -fcf-protection=none
ASFLAGS := $(COMMON)

.PHONY: all iso usb disasm clean
.DELETE_ON_ERROR:
all: $(B)/drover.elf $(B)/drover.dis

-include tests/guest/guest.mk
-include tests/host/host.mk
-include tests/fuzz/fuzz.mk
-include tests/explore/explore.mk
-include tests/run/run.mk

ifneq ($(wildcard tests/guest/guest.mk),)
all: $(B)/guest.elf
endif

# What was built, so that two builds can be compared at a glance.
all:
	@for f in $(B)/drover.elf $(B)/guest.elf; do [ ! -f $$f ] || \
		printf '%s: %s bytes, SHA-256 %s\n' $$f $$(stat -c %s $$f) $$(sha256sum $$f | cut -d' ' -f1); done

# Another compiler means other objects; another folder does not.
$(B)/.cc: FORCE
	@mkdir -p $(B); v="$(CC) $(shell $(CC) -dumpversion 2>/dev/null) $(filter-out -ffile-prefix-map=%,$(CFLAGS))"; [ "$$(cat $@ 2>/dev/null)" = "$$v" ] || echo "$$v" > $@
.PHONY: FORCE
FORCE:

$(OBJS): Makefile $(B)/.cc
$(B)/%.o: %.c
	@mkdir -p $(@D)
	$(call say,CC)
	$(Q)$(CC) $(CFLAGS) -c -o $@ $<
$(B)/%.S.o: %.S
	@mkdir -p $(@D)
	$(call say,AS)
	$(Q)$(CC) $(ASFLAGS) -c -o $@ $<

$(B)/drover.sym.elf: $(OBJS) linker.ld
	$(call say,LD)
	$(Q)$(LD) -nostdlib -static -z max-page-size=4096 -z noexecstack --build-id=none --no-warn-rwx-segments -T linker.ld -o $@ $(OBJS)

# Loaders that know multiboot 1 only want a 32-bit file: the same segments, at the same physical addresses.
$(B)/drover.elf: $(B)/drover.sym.elf
	$(call say,OBJCOPY)
	$(Q)$(OBJCOPY) --strip-all -O elf32-i386 $< $@

$(B)/drover.dis: $(B)/drover.sym.elf
	$(call say,OBJDUMP)
	$(Q)$(OBJDUMP) -d --no-show-raw-insn $< > $@
disasm: $(B)/drover.dis

# One hybrid image: CD and USB stick, BIOS and UEFI.
iso: $(B)/drover.iso
usb: $(B)/drover-usb.img
DROVER_CMDLINE ?=
GUEST_CMDLINE ?= vm=guest lab mem=64 --
# Other command lines than the last time's: built again.
$(B)/drover.iso: $(B)/drover.elf $(B)/guest.elf boot/mkiso.sh $(if $(filter command environment,$(origin DROVER_CMDLINE) $(origin GUEST_CMDLINE)),FORCE)
	$(call say,ISO)
	$(Q)BARE=$(B)/guest.elf boot/mkiso.sh $@ $(B)/drover.elf "$(DROVER_CMDLINE)" $(B)/guest.elf "$(GUEST_CMDLINE)"
$(B)/drover-usb.img: $(B)/drover.iso
	$(Q)cp $< $@
	@echo "$@: write it to a stick with  dd if=$@ of=/dev/sdX bs=4M conv=fsync"

clean:
	rm -rf $(B)

-include $(OBJS:.o=.d)
