# Image and machines. The recipes call scripts that know by themselves when there is nothing to do.
# EXTENSIONS=DIR puts a mirror of one's own into the image (see mkmirror(8)), and what its lists say is installed at each boot.

.PHONY: image run

image: deb
	@packaging/setup image
	@packaging/image/build $(if $(EXTENSIONS),--extensions '$(EXTENSIONS)')

# What cannot work is said before anything is built. Then everything that a fresh Debian lacks comes; then it is built; then
# a machine boots it.
run:
	@$(PYTHON) -m tests.machines.run --check
	@packaging/setup run
	@$(MAKE) --no-print-directory image
	@$(PYTHON) -m tests.machines.run
