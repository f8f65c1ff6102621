# SPDX-License-Identifier: MIT
# Fuzz targets: `make fuzz-quick` (10^6 executions each, fixed seed), `make fuzz` (10^7). FUZZ_SEED=N tries another seed, FUZZ_ONLY=decode,.. these alone.

FUZZ_SEED ?= 1
FUZZ_ONLY ?=
FUZZ_DRIVE = nice tests/fuzz/drive.py --seed "$(FUZZ_SEED)" --only "$(FUZZ_ONLY)" --build $(B)/fuzz

# The host tests' own flags and sanitizers, so that what is fuzzed is what is tested.
export FUZZ_FLAGS = $(filter-out -MMD -MP,$(HOST_FLAGS)) -Itests/fuzz $(HOST_SAN)
.PHONY: fuzz-quick fuzz fuzz-corpus
fuzz-quick:
	@$(FUZZ_DRIVE) --runs 1000000

fuzz:
	@$(FUZZ_DRIVE) --runs 10000000

# Leaves the smallest inputs that reach the same edges in tests/fuzz/corpus.
fuzz-corpus:
	@$(FUZZ_DRIVE) --runs 10000000 --keep
