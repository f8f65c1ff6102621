# SPDX-License-Identifier: MIT
# The explorer: all interleavings of the debug registers' owners, with the shipped dbg.o. `make explore-run`; EXPLORE='vmx/lazy/*' chooses sets.

XB := $(B)/explore
EXPLORE ?=
# Without -fsanitize: this is to be fast, and the host tests have it. dbg.o is the kernel's, which lies in the lowest 2 GiB or the highest: no PIE.
EXPLORE_FLAGS := -Itests/host/shadow -I$(XB) -I. -Itests/explore $(HOST_WARN) -std=gnu17 -O2 -g -DDROVER_HOSTED -fno-strict-aliasing -fno-pie -MMD -MP
EXPLORE_SRCS := $(wildcard tests/explore/*.c) arch/x86/dbg_switch.c
EXPLORE_OBJS := $(EXPLORE_SRCS:%.c=$(XB)/%.o)

$(XB)/run_parts.h: vmm/run.c tests/explore/cut.py
	@mkdir -p $(@D)
	@python3 -B tests/explore/cut.py $< > $@
$(XB)/%.o: %.c tests/explore/explore.mk | $(XB)/run_parts.h
	@mkdir -p $(@D)
	@$(HOST_CC) $(EXPLORE_FLAGS) -c -o $@ $<
$(XB)/explore: $(EXPLORE_OBJS) $(B)/arch/x86/dbg.o
	@$(HOST_CC) -no-pie -o $@ $^
-include $(EXPLORE_OBJS:.o=.d)

.PHONY: explore-run explore-bin
explore-bin: $(XB)/explore
export EXPLORE_FLAGS EXPLORE_SRCS
explore-run: $(XB)/explore
	@nice python3 -B tests/explore/drive.py $(B) "$(EXPLORE)"
