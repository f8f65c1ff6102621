# SPDX-License-Identifier: MIT
# Host tests: the real sources recompiled hosted, under sanitizers, on a software CPU: `make host-tests`. With bugs planted: `make host-mutants`.

HB := $(B)/host
HOST_CC ?= gcc
HOST_INC := -Itests/host/shadow -Itests/host -I.
HOST_WARN := -Wall -Wextra -Werror -Wshadow -Wstrict-prototypes -Wmissing-prototypes -Wvla -Wswitch -Wno-missing-field-initializers
HOST_FLAGS := $(HOST_INC) $(HOST_WARN) -std=gnu17 -O1 -g -DDROVER_HOSTED -fno-strict-aliasing -MMD -MP
# Tables of the loader and the firmware are read where they lie; the kernel is built for a CPU that can do that.
HOST_SAN := -fsanitize=address,undefined -fno-sanitize=alignment -fno-sanitize-recover=all

# What is under test. Not among them: what is assembly, and what the software machine takes the place of (pmem, tsc, boot).
HOST_SUT := arch/x86/dbg.c arch/x86/dbg_switch.c arch/x86/quirks.c $(wildcard arch/lib/*.c) $(wildcard arch/x86/svm/*.c) $(wildcard arch/x86/pvm/*.c) \
	$(wildcard arch/x86/vmx/*.c) $(wildcard vmm/*.c) $(wildcard vmm/dev/*.c) $(wildcard vmm/gdb/*.c) boot/options.c boot/multiboot_parse.c
HOST_TESTS := $(wildcard tests/host/*.c) $(wildcard tests/host/model/*.c)
HOST_SRCS := $(HOST_SUT) $(HOST_TESTS)

HOST_CCS := $(foreach c,gcc clang,$(if $(shell command -v $(c)),$(c)))

# $(1): name, $(2): compiler, $(3): sanitizers
define host_build
$(HB)/$(1)/%.o: %.c tests/host/host.mk
	@mkdir -p $$(@D)
	@$(2) $(HOST_FLAGS) $(3) -c -o $$@ $$<
$(HB)/$(1)/test: $(HOST_SRCS:%.c=$(HB)/$(1)/%.o)
	@$(2) $(3) -o $$@ $$^ -lcapstone
-include $(HOST_SRCS:%.c=$(HB)/$(1)/%.d)
endef
$(foreach c,$(HOST_CCS),$(eval $(call host_build,$(c),$(c),$(HOST_SAN))))
# Mutants are built on this one: without sanitizers and debug information, since dozens are linked and run.
$(eval $(call host_build,base,$(HOST_CC),-g0))

HOST_OBJECTS := $(HOST_SRCS:%.c=%.o)
export HOST_FLAGS HOST_CC HOST_OBJECTS
.PHONY: host-tests host-mutants
host-tests: $(HOST_CCS:%=$(HB)/%/test)
	@tests/host/drive.py $(HB) $(HOST_CCS)

# ONLY=B01,B03: these alone. KERNEL_*: the kernel's own command, by which each mutant has to compile.
host-mutants: export KERNEL_CC := $(CC)
host-mutants: export KERNEL_CFLAGS := $(filter-out -MMD -MP,$(CFLAGS))
host-mutants: $(HB)/base/test
	@tests/host/mutate.py --only "$(ONLY)" $(HB)

# Lines and branches that the host tests reach. Unoptimized, so that a branch is one of the source's.
$(eval $(call host_build,coverage,$(HOST_CC),-O0 --coverage))
.PHONY: host-coverage
host-coverage: $(HB)/coverage/test
	@tests/host/coverage.py $(HB)/coverage
