# Image and machines. The recipes call scripts that know by themselves when there is nothing to do.
# EXTENSIONS=DIR puts a mirror of one's own into the image (see mkmirror(8)), and what its lists say is installed at each boot.

# SIGN= names keys of one's own: one that is a file, a PEM key with its certificate beside it, signs for Secure Boot.
# CMDLINE= is added to the kernel line of what carries one: CMDLINE=mk.ip=192.0.2.1.

.PHONY: image run

IMAGE_OPTIONS = $(if $(CONFIG),--config '$(CONFIG)') $(if $(PROFILE),--profile '$(PROFILE)') $(if $(EXTENSIONS),--extensions '$(EXTENSIONS)')
FORM_OPTIONS = $(if $(CMDLINE),--cmdline '$(CMDLINE)')

image: deb
	@packaging/setup image
	@packaging/image/build $(IMAGE_OPTIONS)
	@packaging/image/forms/uki.py $(FORM_OPTIONS) $(addprefix --sign ,$(wildcard $(SIGN)))
	@packaging/image/forms/iso.py $(FORM_OPTIONS)

# What cannot work is said before anything is built. Then everything that a fresh Debian lacks comes; then it is built; then
# a machine boots it.
run:
	@$(PYTHON) -m tests.machines.run --check
	@packaging/setup run
	@$(MAKE) --no-print-directory image
	@$(PYTHON) -m tests.machines.run
