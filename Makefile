# SPDX-License-Identifier: GPL-2.0
#
#   make run    set everything up, then build, boot and test the main cells
#   make test   set everything up, then pass the farm's own tests
#   make test-all  the same, and the main cells of the other kernels of the matrix
#   make check  those of them that need no guest and start no command: a minute
#   make nightly  all there is to be run, in BUDGET (6h)
#   make hosts  the first two on new machines with Debian 12 and 13 (as root)
#
# sudo is asked for Debian's packages only, and only if some are missing.

PYTHON ?= python3
VENV := .venv

.PHONY: run test test-all check unit nightly lint setup packages hosts
.DEFAULT_GOAL := run

run: setup
	$(VENV)/bin/farm run $(CELLS)

nightly: setup
	$(VENV)/bin/farm nightly --budget $(or $(BUDGET),6h)

test: setup lint
	$(VENV)/bin/pytest tests

# `make nightly` has these cells too, and more.
test-all: test
	$(VENV)/bin/farm run --tree debian-7.3
	$(VENV)/bin/farm run --tree debian-6.1

# No guest, no kernel, no network: a change is checked in a minute.
check: setup
	@$(MAKE) --no-print-directory --jobs=2 lint unit

unit: setup
	$(VENV)/bin/pytest tests --ignore tests/guest --ignore tests/command

lint: setup
	$(VENV)/bin/ruff check farm suites tests benchmarks hosts docs
	$(VENV)/bin/ruff format --check farm suites tests benchmarks hosts docs
	$(VENV)/bin/mypy farm suites tests benchmarks hosts docs
	shellcheck images/init.sh hosts/*.sh farm/kernel/wrapper/ccache .ci/run

setup: packages
	@$(PYTHON) hosts/venv.py

packages:
	@hosts/packages.sh

# On each supported release of Debian, made anew in a directory of its own: what
# a new user types. RELEASES, TARGETS and CELLS take some of it.
hosts:
	@CELLS='$(CELLS)' TARGETS='$(TARGETS)' hosts/prove.sh $(RELEASES)
