# SPDX-License-Identifier: MIT
# Builds build/guest.elf, the L2 guest. Included by the top Makefile; works alone as `make -f tests/guest/guest.mk`.

GUEST_ELF := build/guest.elf
GUEST_OBJDIR := build/obj/guest
GUEST_SRC := $(sort $(wildcard tests/guest/*.c tests/guest/*.S))
GUEST_OBJ := $(GUEST_SRC:tests/guest/%=$(GUEST_OBJDIR)/%.o)
GUEST_LD ?= ld
GUEST_CFLAGS := -std=gnu17 -m64 -ffreestanding -fno-pic -fno-pie -mno-red-zone -mgeneral-regs-only -O2 -g0 \
	-Wall -Wextra -Werror -Wconversion -Wshadow -Wstrict-prototypes -Wmissing-prototypes -Wvla -Wswitch \
	-fno-stack-protector -fno-asynchronous-unwind-tables -fno-strict-aliasing -fno-common -fcf-protection=none \
	-ffile-prefix-map=$(CURDIR)=. -I.

.PHONY: guest
guest: $(GUEST_ELF)

# QEMU's multiboot loader takes 32-bit ELF only; the code is 64-bit, so link as ELF64 and rewrap.
$(GUEST_ELF): $(GUEST_OBJ) tests/guest/guest.ld
	$(call say,LD)
	$(Q)$(GUEST_LD) -m elf_x86_64 -nostdlib -static --build-id=none -z max-page-size=4096 -z noexecstack \
		-T tests/guest/guest.ld -o $(GUEST_OBJDIR)/guest64.elf $(GUEST_OBJ)
	$(Q)objcopy -O elf32-i386 $(GUEST_OBJDIR)/guest64.elf $@

# Another compiler means other objects: the top Makefile keeps its name in $(B)/.cc.
$(GUEST_OBJ): $(if $(B),$(B)/.cc)

$(GUEST_OBJDIR)/%.c.o: tests/guest/%.c tests/guest/guest.mk
	@mkdir -p $(@D)
	$(call say,CC)
	$(Q)$(CC) $(GUEST_CFLAGS) -MMD -MP -c $< -o $@

$(GUEST_OBJDIR)/%.S.o: tests/guest/%.S tests/guest/guest.mk
	@mkdir -p $(@D)
	$(call say,AS)
	$(Q)$(CC) -m64 -MMD -MP -I. -ffile-prefix-map=$(CURDIR)=. -c $< -o $@

-include $(GUEST_OBJ:.o=.d)
