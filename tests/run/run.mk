# SPDX-License-Identifier: MIT
# Targets that run things: deps, run, check and its parts, bench. Included by the top Makefile.

PLATFORM ?=
BACKEND ?=
SCENARIO ?= all
OPTIONS ?=
# More words for the guest's command line: seed=, count=.
GUEST ?=
# A bug of tests/host/mutants to plant, by name: seen live.
MUTANT ?=
# drovers, each the guest of the one below; options for those above the first.
NEST ?= 1
UPPER_OPTIONS ?=
# log or lines: what is shown while it runs. Empty: a line per scenario on a terminal, the log elsewhere.
VIEW ?=
# Dry, it is only named: what follows may not write results.
RUN_DRY := $(if $(DRY),:)
RUNNER := $(RUN_DRY) python3 tests/run/drover_run.py
CHECK_PARTS := lint host coverage mutants fuzz explore bare svm vmx pvm nested policies gdb planted rules boot report

.PHONY: deps run bench check check-host check-coverage check-mutants check-fuzz check-explore check-bare check-svm check-vmx check-pvm check-policies
.PHONY: check-gdb check-nested check-planted check-boot check-lint check-rules check-report check-l0 rules report

# `make deps check` is one command: deps has to be over before anything else begins, with -j as well.
ifneq (,$(filter deps,$(MAKECMDGOALS)))
.NOTPARALLEL:
endif

# A variable of the command line that nobody reads is a misspelt one.
KNOWN := PLATFORM BACKEND SCENARIO OPTIONS GUEST MUTANT NEST UPPER_OPTIONS VIEW QEMU KEPT RUNG RAN ONLY CHECK_PARTS EXPLORE FUZZ_SEED FUZZ_ONLY \
	DROVER_CMDLINE GUEST_CMDLINE V CC HOST_CC LD GUEST_LD OBJCOPY OBJDUMP CFLAGS ASFLAGS WARN SHELL MAKEFLAGS
UNREAD := $(foreach v,$(.VARIABLES),$(if $(filter command,$(firstword $(origin $v))),$(filter-out $(KNOWN),$v)))
$(if $(strip $(UNREAD)),$(error unknown variable: $(strip $(UNREAD)). There are: $(wordlist 1,9,$(KNOWN)), and others: README.md))

deps:
	@sh tests/run/deps.sh

# Choices are asked before anything is built. $(1): the variable; $(2): its values.
one_of = $(if $(or $(filter-out $(2),$($(1))),$(word 2,$($(1)))),$(error $(1)=$($(1)): it is one of: $(2)))

# These come as recipes, not as prerequisites, so that deps can come first and nothing is built without a compiler.
define need
	@missing=$$(sh tests/run/deps.sh missing $(1)) || { echo "missing packages: $$missing (make deps installs them)"; exit 1; }
endef
define build
	+@$(MAKE) --no-print-directory all
endef
DEPS_FIRST := $(filter deps,$(MAKECMDGOALS))

run: | $(DEPS_FIRST)
	$(call one_of,PLATFORM,qemu kvm bochs)$(call one_of,BACKEND,auto svm vmx pvm)$(call one_of,VIEW,log lines)$(call one_of,NEST,1 2 3)
	$(need)
	$(build)
	@$(RUNNER) run --platform "$(PLATFORM)" --backend "$(BACKEND)" --scenario "$(or $(strip $(SCENARIO)),all)" --options "$(OPTIONS)" --mutant "$(MUTANT)" \
		--guest "$(GUEST)" --nest "$(or $(NEST),1)" --view "$(VIEW)" --upper-options "$(UPPER_OPTIONS)"

bench: | $(DEPS_FIRST)
	$(need)
	$(build)
	@$(RUNNER) bench

# All parts run, whatever the earlier ones found; the last line sums them.
check: | $(DEPS_FIRST)
	$(call need,report)
	@rm -rf build/results build/logs
	+@for part in $(CHECK_PARTS); do echo "== check-$$part"; $(MAKE) --no-print-directory check-$$part RAN=1 || true; done
	@$(RUNNER) sum

check-lint: | $(DEPS_FIRST)
	$(need)
	@$(RUNNER) count lint python3 tests/lint/lint.py

check-host: | $(DEPS_FIRST)
	$(need)
	+@$(RUNNER) count host $(MAKE) --no-print-directory host-tests

check-coverage: | $(DEPS_FIRST)
	$(need)
	+@$(RUNNER) count coverage $(MAKE) --no-print-directory host-coverage

check-mutants: | $(DEPS_FIRST)
	$(need)
	+@$(if $(ONLY),,$(RUNNER) count mutants )$(MAKE) --no-print-directory host-mutants

check-fuzz: | $(DEPS_FIRST)
	$(need)
	+@$(if $(FUZZ_ONLY),,$(RUNNER) count fuzz )$(MAKE) --no-print-directory fuzz-quick

check-explore: | $(DEPS_FIRST)
	$(need)
	+@$(if $(EXPLORE),,$(RUNNER) count explore )$(MAKE) --no-print-directory explore-run

check-bare check-svm check-vmx check-pvm check-nested check-policies check-gdb check-planted: | $(DEPS_FIRST)
	$(need)
	$(build)
	@$(RUNNER) check $(@:check-%=%)

# Reads what the parts of check left. What has not run on these sources and tests, or has failed, runs first; but what has failed in a `make check` stays so
# in it (RAN=1). It ends with status 2 if a part fails again.
RAN ?=
rules: | $(DEPS_FIRST)
	$(need)
	$(build)
	+@parts=$$(python3 -B tests/run/rules.py stale $(if $(RAN),ran)); [ -z "$$parts" ] || echo "rules: without a result of these sources, so they run first: $$parts"; \
		for part in $$parts; do $(MAKE) --no-print-directory check-$$part || true; done
	+@test $(B)/results/host-red.json -nt $(B)/results/host-tests.log || $(MAKE) --no-print-directory host-mutants
	@python3 -B tests/run/rules.py

check-rules: | $(DEPS_FIRST)
	+@$(RUNNER) count rules $(MAKE) --no-print-directory rules

check-boot: | $(DEPS_FIRST)
	$(need)
	$(build)
	+@$(MAKE) --no-print-directory iso usb
	@$(RUNNER) check boot

# What has run, as a page; what has not run on these sources runs first, unless KEPT=1. SCENARIO=a,b: timelines of these as well, on the rung RUNG.
KEPT ?=
RUNG ?= svm-qemu
REPORT = $$(sh tests/run/deps.sh python) -B tests/report/report.py
report: | $(DEPS_FIRST)
	$(call need,report)
	$(build)
	+@$(if $(KEPT),,for part in $$($(REPORT) stale); do $(MAKE) --no-print-directory check-$$part || true; done)
	@$(REPORT) write $(if $(KEPT),--kept) --scenario "$(SCENARIO)" --rung "$(RUNG)"

check-report: | $(DEPS_FIRST)
	$(call need,report)
	$(build)
	@$(RUNNER) count report $$(sh tests/run/deps.sh python) -B tests/report/check.py $(if $(KEPT),--kept)

# What another hypervisor breaks: QEMU is its command, without kernel and serial line.
QEMU ?=
check-l0: | $(DEPS_FIRST)
	$(need)
	$(build)
	@$(RUNNER) l0 --qemu "$(QEMU)"
