# SPDX-License-Identifier: GPL-2.0
#
# Everything here is a thin name for a command of the harness or of ci/.
# make itself exits 2 on any failure; .venv/bin/harness tells 1 (a test failed) from 2 (no verdict).

VENV := .venv
HARNESS := $(VENV)/bin/harness
ARGS ?=

# Where an image sets PYTHONDONTWRITEBYTECODE, as many do, each command compiled all of harness/
# again: a quarter of a second. Here it litters nobody's tree.
unexport PYTHONDONTWRITEBYTECODE
export PYTHONPYCACHEPREFIX := $(abspath $(VENV))/pycache

.PHONY: help check matrix mutants test test-slow rehearsal lint bench kernels clean deps-check deps-test deps-lint
.DEFAULT_GOAL := help

help:
	@sed -n 's/^#: //p' Makefile

#: make check     build the driver, boot it in a VM, run the kselftests   (ARGS='--kernel 6.1')
check: $(VENV)/check.stamp
	@$(HARNESS) check $(ARGS)

#: make matrix    the same on every kernel of kconfigs/matrix.toml, and what differs
#:                                           (ARGS='--changed-only', ARGS='--baseline origin/main')
matrix: $(VENV)/check.stamp
	@$(HARNESS) matrix $(ARGS)

#: make mutants   break the driver on purpose, in each way we know of: do the tests see it?
#:                                                                       (ARGS='--quick')
mutants: $(VENV)/check.stamp
	@$(HARNESS) mutate $(ARGS)

#: make test      our own tests: ruff, mypy, shellcheck, pytest           (ARGS='-k ktap')
test: $(VENV)/test.stamp
	@ci/test $(ARGS)

#: make test-slow those of them that make a Debian root first: DKMS as its README says
test-slow: $(VENV)/test.stamp
	@ci/test -m slow $(ARGS)

#: make rehearsal the jobs of the GitHub workflows, each on a bare Debian  (ARGS='-k check-cell')
rehearsal: $(VENV)/test.stamp
	@ci/test -m rehearsal $(ARGS)

#: make lint      all that is static, with what is installed: ci/static; W=1, sparse, clang and
#:                checkpatch over the C for each cached kernel             (ARGS='--kernel 6.1')
#:                CI=true make lint: for all kernels, fetching what is missing, skipping nothing
lint: $(VENV)/test.stamp $(if $(filter true,$(CI)),deps-lint)
	@$(HARNESS) lint $(ARGS)

#: make bench     the speed of each phase, as ratios to stock virtme-ng
bench: $(VENV)/check.stamp
	@$(HARNESS) bench $(ARGS)

#: make kernels   which kernels can be named, and which are cached
kernels: $(VENV)/check.stamp
	@$(HARNESS) kernels

#: make clean     remove what was built here (the cache stays)
clean:
	rm -rf build $(VENV)

deps-check:
	@ci/install-deps check

deps-test: | deps-check
	@ci/install-deps test

deps-lint:
	@ci/install-deps lint

$(VENV)/check.stamp: pyproject.toml | deps-check
	@ci/make-venv $(VENV) .
	@touch $@

$(VENV)/test.stamp: pyproject.toml $(VENV)/check.stamp | deps-test
	@ci/make-venv $(VENV) '.[dev]'
	@touch $@
