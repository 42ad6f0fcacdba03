# SPDX-License-Identifier: GPL-2.0
#
#   make run    set everything up, then build, boot and test the main cells
#   make test   set everything up, then pass the farm's own tests
#   make nightly  all there is to be run, in BUDGET (6h)
#
# sudo is asked for Debian's packages only, and only if some are missing.

PYTHON ?= python3
VENV := .venv
SUDO := $(if $(filter 0,$(shell id -u)),,sudo)

.PHONY: run test nightly lint setup packages
.DEFAULT_GOAL := run

run: setup
	$(VENV)/bin/farm run $(CELLS)

nightly: setup
	$(VENV)/bin/farm nightly --budget $(or $(BUDGET),6h)

test: setup lint
	$(VENV)/bin/pytest tests

lint: setup
	$(VENV)/bin/ruff check farm suites tests benchmarks
	$(VENV)/bin/ruff format --check farm suites tests benchmarks
	$(VENV)/bin/mypy farm suites tests benchmarks
	shellcheck images/init.sh .ci/run

setup: packages $(VENV)/ready

packages:
	@missing=; for package in $$(sed 's/#.*//' debian-packages.txt); do \
		dpkg-query --show --showformat='$${db:Status-Status}' $$package 2>/dev/null \
			| grep -qx installed || missing="$$missing $$package"; \
	done; \
	if [ -n "$$missing" ]; then \
		echo "installing Debian packages:$$missing"; \
		$(SUDO) apt-get update -qq && \
		DEBIAN_FRONTEND=noninteractive $(SUDO) apt-get install --yes --no-install-recommends -qq $$missing; \
	fi

$(VENV)/ready: pyproject.toml | packages
	$(PYTHON) -m venv $(VENV)
	$(VENV)/bin/pip install --quiet --disable-pip-version-check --editable '.[dev]'
	touch $@
