# One place for everything that people do with the tree. `make` alone lists it.
SHELL := /bin/bash
.SHELLFLAGS := -eu -o pipefail -c
.DEFAULT_GOAL := help
PYTHON ?= python3
VENV := build/venv
PYTEST := $(VENV)/bin/python -m pytest

-include packaging/install.mk
-include packaging/packages.mk
-include packaging/image/image.mk
-include packaging/extensions/extensions.mk

.PHONY: help check test test-full bench clean setup-check setup-test setup-bench

help:
	@echo 'make run          build what is missing, boot one machine (VM) from its firmware, show its inventory   (ONCE=1, NODES=2)'
	@echo 'make test         every tier of the tests, one representative of each matrix (root)'
	@echo 'make test-full    the whole matrices and soaks; resumable'
	@echo 'make check        linters and the tiers that need neither root nor image; under a minute'
	@echo 'make bench        what it costs, beside what it must beat                                   (ONLY=facts)'
	@echo 'make deb          Debian packages in build/deb'
	@echo 'make rpm          rpm packages in build/rpm; make apk: apk packages in build/apk'
	@echo 'make repo         signed repositories of deb, rpm and apk in build/repo                   (SIGN=KEY APK_KEY=FILE URL=https://…)'
	@echo 'make image        the microkernel in build/image: kernel and initrd, ISO, UKI, …  (PROFILE=debug EXTENSIONS=DIR SIGN=KEY …)'
	@echo 'make extensions   debugging, firmware, InfiniBand, health, load: a mirror of extensions in build/extensions (NAMES=smart SIGN=KEY)'
	@echo 'make install      DESTDIR= PREFIX=/usr: what every packaging format calls'
	@echo 'make clean        remove build/'

setup-check:
	@packaging/setup check
setup-test:
	@packaging/setup test
setup-bench:
	@packaging/setup bench

# The packages' recipe calls no package manager; this adds what a fresh Debian needs before it.
build/deb/.stamp: | setup-deb
.PHONY: setup-deb
setup-deb:
	@packaging/setup deb

check: setup-check
	$(PYTEST) -n 4 --dist worksteal tests/unit tests/fuzz tests/bus tests/units

test: setup-test deb rpm apk image
	MK_REQUIRE_TIERS=1 $(PYTEST) -ra -n 3 --dist worksteal tests/unit tests/fuzz tests/bus tests/units tests/coverage
	MK_REQUIRE_TIERS=1 $(PYTEST) -ra --durations=15 tests/browser tests/system tests/image
	@packaging/image/forms/table.py --image build/image

test-full: setup-test deb rpm apk image
	$(VENV)/bin/python -m tests.full

bench: setup-test setup-bench deb image
	$(VENV)/bin/python -m bench $(if $(ONLY),--only $(ONLY))

clean:
	rm -rf build
