# Image and machines. The recipes call scripts that know by themselves when there is nothing to do.
# CONFIG=FILE has settings, PROFILE=development or debug makes an image with a login (packaging/image/build --help).
# EXTENSIONS=DIR puts a mirror of one's own into the image (see mkmirror(8)), and what its lists say is installed at each boot.

# SIGN= names keys of one's own: one that is a file, a PEM key with its certificate beside it, signs for Secure Boot.
# One that is none is gpg's name of a key, which signs the sums: SIGN='site.key me@example.org'.
# LOCK=FILE, a packages.lock of an image, makes the same one again; ARCH=arm64 makes one for another architecture.
# CMDLINE= is added to the kernel line of what carries one: CMDLINE=mk.ip=192.0.2.1.

.PHONY: image image-boot run

IMAGE_OPTIONS = $(if $(ARCH),--arch '$(ARCH)') $(if $(LOCK),--lock '$(LOCK)') $(if $(CONFIG),--config '$(CONFIG)') $(if $(PROFILE),--profile '$(PROFILE)') $(if $(EXTENSIONS),--extensions '$(EXTENSIONS)')
# A file of settings and the environment say it, too.
IMAGE_FOLDER = $(shell packaging/image/build --folder $(IMAGE_OPTIONS))
FORM_OPTIONS = --image '$(IMAGE_FOLDER)' $(if $(CMDLINE),--cmdline '$(CMDLINE)')
# The media are made for machines with BIOS as well. What was asked for, in whichever way, is in the folder's name.
AMD64 = $(if $(filter %-arm64,$(IMAGE_FOLDER)),,yes)

# Kernel and initrd alone.
image-boot: deb
	@packaging/setup image
	@$(if $(AMD64),,packaging/setup arm64)
	@packaging/image/build $(IMAGE_OPTIONS)

# Every form.
image: image-boot
	@$(if $(AMD64),packaging/image/forms/first_stage.py --image '$(IMAGE_FOLDER)')
	@$(if $(AMD64),packaging/image/forms/uki.py $(FORM_OPTIONS) $(addprefix --sign ,$(wildcard $(SIGN))))
	@$(if $(AMD64),packaging/image/forms/iso.py $(FORM_OPTIONS))
	@packaging/image/forms/oci.py --image '$(IMAGE_FOLDER)'
	@packaging/image/forms/sbom.py --image '$(IMAGE_FOLDER)'
	@packaging/image/forms/sums.py --image '$(IMAGE_FOLDER)' $(addprefix --sign ,$(filter-out $(wildcard $(SIGN)),$(SIGN)))
	@packaging/image/forms/table.py --image '$(IMAGE_FOLDER)'

# What cannot work is said before anything is built. Then everything that a fresh Debian lacks comes; then it is built; then
# a machine boots it.
run:
	@$(PYTHON) -m tests.machines.run --check
	@packaging/setup run
	@$(MAKE) --no-print-directory image-boot
	@$(PYTHON) -m tests.machines.run
