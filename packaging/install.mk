# The one recipe that puts the suite into a tree, and what calls it for Debian. Every packaging format calls `install`:
#
#   make -f packaging/install.mk install DESTDIR=/tmp/tree [PREFIX=/usr] [SITELIB=/usr/lib/python3/dist-packages] [PRIVATE=1]
#
# PRIVATE=1: the modules lie in $(PREFIX)/share/mk/python, where no Python looks by itself, and the programs look there. For
# packages that one build makes for several distributions: each has site-packages of its own, named after its Python.
#
# It starts and enables nothing and calls no package manager. The image's own files (units/networkd) are not part of it.

DESTDIR ?=
PREFIX ?= /usr
SYSCONFDIR ?= /etc
PRIVATE ?=
SITELIB ?= $(if $(PRIVATE),$(PREFIX)/share/mk/python,$(PREFIX)/lib/python3/dist-packages)
MK_PYTHON ?= /usr/bin/python3
MK_MODULES := mkcore mkctl mkweb mkmirror mkserver
MK_COMMANDS := mkctl mkweb mkmirror mkserver
MK_LIB = $(DESTDIR)$(PREFIX)/lib
MK_SHARE = $(DESTDIR)$(PREFIX)/share
# Where the units name programs below /usr, another PREFIX names its own.
MK_INSTALL_UNIT = sed -e 's|/usr/bin/mk|$(PREFIX)/bin/mk|g' -e 's|/usr/bin/python3|$(MK_PYTHON)|g' \
	$(if $(PRIVATE),-e 's|$(MK_PYTHON) -I -m \([a-z.]*\)|$(MK_PYTHON) -I $(PREFIX)/lib/mk/run \1|')
ifneq ($(PRIVATE),)
MK_LOOK := sys.path.insert(0, "$(SITELIB)")\n
MK_RUN := import runpy\nimport sys\n\n$(MK_LOOK)runpy.run_module(sys.argv.pop(1), run_name="__main__", alter_sys=True)\n
endif

.PHONY: install install-python install-units install-man deb build-deb

install: install-python install-units install-man

install-python:
	install -d '$(DESTDIR)$(PREFIX)/bin' '$(DESTDIR)$(SITELIB)'
	find $(MK_MODULES) -name __pycache__ -prune -o -type f ! -name '*.pyc' ! -path mkcore/mk.toml -print0 \
		| LC_ALL=C sort -z | xargs -0 -I'{}' install -D -m 644 '{}' '$(DESTDIR)$(SITELIB)/{}'
	for command in $(MK_COMMANDS); do \
		printf '#!%s -I\nimport sys\n\n$(MK_LOOK)from %s.__main__ import main\n\nsys.exit(main())\n' '$(MK_PYTHON)' "$$command" \
			> '$(DESTDIR)$(PREFIX)'/bin/"$$command" && chmod 755 '$(DESTDIR)$(PREFIX)'/bin/"$$command" || exit 1; \
	done
	install -D -m 644 -t '$(MK_LIB)/mk' mkcore/mk.toml
	$(if $(PRIVATE),printf '#!%s -I\n# Runs a module of the suite: its name then its arguments.\n$(MK_RUN)' '$(MK_PYTHON)' > '$(MK_LIB)/mk/run')
	$(if $(PRIVATE),chmod 755 '$(MK_LIB)/mk/run')
	install -d '$(DESTDIR)$(SYSCONFDIR)/mk/mk.toml.d'

install-units:
	install -d '$(MK_LIB)/systemd/system'
	for unit in units/systemd/*; do \
		$(MK_INSTALL_UNIT) "$$unit" > '$(MK_LIB)/systemd/system'/"$${unit##*/}" && \
		chmod 644 '$(MK_LIB)/systemd/system'/"$${unit##*/}" || exit 1; \
	done
	install -D -m 644 -t '$(MK_LIB)/systemd/system-preset' units/preset/*.preset
	install -D -m 644 -t '$(MK_LIB)/systemd/catalog' units/catalog/*.catalog
	install -D -m 644 -t '$(MK_LIB)/sysusers.d' units/sysusers/*.conf
	install -D -m 644 -t '$(MK_LIB)/tmpfiles.d' units/tmpfiles/*.conf
	install -D -m 644 -t '$(MK_LIB)/udev/rules.d' units/udev/*.rules
	install -D -m 644 -t '$(MK_SHARE)/dbus-1/system.d' units/dbus/*.conf
	install -D -m 644 -t '$(MK_SHARE)/dbus-1/interfaces' units/dbus/*.xml
	install -D -m 644 -t '$(MK_SHARE)/polkit-1/rules.d' units/polkit/*.rules
	install -D -m 644 -t '$(MK_LIB)/systemd/system' units/host/*.service
	install -D -m 644 -t '$(MK_SHARE)/containers/systemd' units/host/*.container

install-man:
	for page in man/*.[1-8]; do \
		install -D -m 644 -t '$(MK_SHARE)/man'/man"$${page##*.}" "$$page" || exit 1; \
	done

# --- Debian packages -------------------------------------------------------------------------------------------------
# Built from a clean copy, so that nothing of the working tree (byte code, editors' files) gets into them and nothing of the
# build into the working tree. Built again only when an input changed.

MK_DEB_FILES = $(shell find $(MK_MODULES) units man packaging/debian packaging/install.mk LICENSE README.md pyproject.toml \
	-name __pycache__ -prune -o -type f ! -name '*.pyc' -print)
MK_DEB_INPUTS = $(MK_DEB_FILES) build/package-inputs

# The inputs' names, written when they changed: a file that is gone is a change, too. Folders would not do: a person's own
# `python3 -m mkctl` puts byte code into them.
build/package-inputs: FORCE
	@mkdir -p build
	@printf '%s\n' $(MK_DEB_FILES) | LC_ALL=C sort | cmp -s - $@ || printf '%s\n' $(MK_DEB_FILES) | LC_ALL=C sort > $@
FORCE:

deb: build/deb/.stamp
build/deb/.stamp: $(MK_DEB_INPUTS)
	@mkdir -p build
	@flock build/deb.lock $(MAKE) --no-print-directory -f packaging/install.mk build-deb

# -d: everything is architecture-independent, so the compiler that build-essential would bring has nothing to compile;
# what debian/control asks for beside it, packaging/setup installs.
build-deb:
	@echo 'deb: building the packages'
	@rm -rf build/deb
	@mkdir -p build/deb/work/mksuite
	@tar -c --exclude=__pycache__ --exclude='*.pyc' $(MK_MODULES) units man packaging/install.mk LICENSE README.md pyproject.toml \
		| tar -x -C build/deb/work/mksuite
	@cp -r packaging/debian build/deb/work/mksuite/debian
	@cd build/deb/work/mksuite && dpkg-buildpackage -d --build=binary --unsigned-changes > ../log 2>&1 || { cat ../log; exit 1; }
	@mv build/deb/work/*.deb build/deb/work/*.changes build/deb/work/*.buildinfo build/deb/work/log build/deb/
	@rm -rf build/deb/work
	@touch build/deb/.stamp
	@ls -1 build/deb/*.deb
