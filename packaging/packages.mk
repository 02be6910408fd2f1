# rpm and apk packages beside Debian's, and a signed repository of each kind, from the one `make install`.
#
#   make rpm [RPM_BUNDLE=1]         packages for Fedora and its like in build/rpm; for EL 9 and 10 with the modules that those
#                                   lack or have too old, from this host's Python
#   make apk                        packages for Alpine's format, with systemd, in build/apk
#   make repo [SIGN=KEY] [APK_KEY=FILE] [URL=https://HOST/mk]
#                                   build/repo/{deb,rpm,apk}: signed by a key of gpg's and an RSA key in PEM, which apk wants;
#                                   without them by throw-away ones
#
# Built from a clean copy, as Debian's are, and again only when an input changed.

MK_VERSION = $(shell sed -n 's/^VERSION = "\(.*\)"$$/\1/p' mkcore/version.py)
MK_SOURCES := $(MK_MODULES) units man packaging/install.mk packaging/split.py packaging/debian packaging/rpm LICENSE README.md pyproject.toml
MK_PACKAGE_INPUTS = $(MK_DEB_INPUTS) packaging/packages.mk packaging/split.py packaging/repo $(wildcard packaging/rpm/* packaging/apk/*)
# The time of every file in every package: the date of the release.
MK_EPOCH = $(shell date +%s -d "$$(sed -n 's/^ -- .*>  //p' packaging/debian/changelog | head -1)")

.PHONY: rpm apk repo build-rpm build-apk setup-rpm setup-apk setup-repo

setup-rpm setup-apk setup-repo:
	@packaging/setup $(@:setup-%=%)

build/rpm/.stamp build/rpm/.stamp-bundled: | setup-rpm
build/apk/.stamp: | setup-apk

# What EPEL lacks of the suite's needs (dbus-next; sdnotify for EL 10) or has in a release from before what the suite is tested with.
MK_BUNDLED := dbus_next sdnotify waitress werkzeug
MK_RPM_STAMP := build/rpm/.stamp$(if $(RPM_BUNDLE),-bundled)

rpm: $(MK_RPM_STAMP)
$(MK_RPM_STAMP): $(MK_PACKAGE_INPUTS)
	@mkdir -p build
	@flock build/rpm.lock $(MAKE) --no-print-directory build-rpm

# Debian's modules with their licences: pure Python, which runs on any release from 3.9 on.
MK_GATHER = mkdir -p build/rpm/work/bundle && for module in $(MK_BUNDLED); do \
		cp -r "/usr/lib/python3/dist-packages/$$module" build/rpm/work/bundle/ && \
		cp "/usr/share/doc/python3-$${module//_/-}/copyright" "build/rpm/work/bundle/$$module/" || exit 1; \
	done && find build/rpm/work/bundle -name __pycache__ -prune -exec rm -r {} +

# Binary packages alone: the header of a source package holds the path that it was built in, and theirs its sum.
build-rpm:
	@echo 'rpm: building the packages'
	@rm -rf build/rpm
	@mkdir -p build/rpm/work/SOURCES
	@tar -c --sort=name --mtime=@$(MK_EPOCH) --owner=0 --group=0 --numeric-owner --mode=go=rX,u+rw --exclude=__pycache__ \
		--exclude='*.pyc' --transform='s|^|mksuite-$(MK_VERSION)/|' $(MK_SOURCES) \
		| gzip -9n > build/rpm/work/SOURCES/mksuite-$(MK_VERSION).tar.gz
	@install -D -m 644 packaging/rpm/mksuite.spec build/rpm/work/SPECS/mksuite.spec
	$(if $(RPM_BUNDLE),@$(MK_GATHER))
	@find build/rpm/work -type f -exec chmod 644 {} + -exec touch -d @$(MK_EPOCH) {} +
	@umask 022 && SOURCE_DATE_EPOCH=$(MK_EPOCH) rpmbuild -bb --nodeps --define '_topdir $(CURDIR)/build/rpm/work' \
		$(if $(RPM_BUNDLE),--define 'mk_bundle $(CURDIR)/build/rpm/work/bundle') \
		$(if $(RPM_RELEASE),--define 'mk_release $(RPM_RELEASE)') build/rpm/work/SPECS/mksuite.spec > build/rpm/log 2>&1 \
		|| { cat build/rpm/log; exit 1; }
	@mv build/rpm/work/RPMS/noarch/*.rpm build/rpm/
	@rm -rf build/rpm/work
	@touch $(MK_RPM_STAMP)
	@ls -1 build/rpm/*.rpm

MK_NFPM = $(firstword $(wildcard build/tools/nfpm/bin/nfpm) nfpm)

apk: build/apk/.stamp
build/apk/.stamp: $(MK_PACKAGE_INPUTS)
	@mkdir -p build
	@flock build/apk.lock $(MAKE) --no-print-directory build-apk

build-apk:
	@echo 'apk: building the packages'
	@rm -rf build/apk
	@mkdir -p build/apk/tree
	@umask 022 && $(MAKE) --silent -f packaging/install.mk install PRIVATE=1 DESTDIR='$(CURDIR)/build/apk/tree'
	@gzip -9nr build/apk/tree/usr/share/man
	@/usr/bin/python3 packaging/apk/build build/apk/tree build/apk --version $(MK_VERSION) --release $(or $(APK_RELEASE),0) \
		--time "$$(date -u +%Y-%m-%dT%H:%M:%SZ -d @$(MK_EPOCH))" --nfpm $(MK_NFPM)
	@rm -rf build/apk/tree build/apk/work
	@touch build/apk/.stamp
	@ls -1 build/apk/*.apk

repo: setup-repo deb rpm apk
	@packaging/repo --out build/repo $(if $(SIGN),--sign '$(SIGN)') $(if $(APK_KEY),--apk-key '$(APK_KEY)') \
		$(if $(URL),--url '$(URL)')
