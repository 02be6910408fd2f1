# Image and machines. The recipes call scripts that know by themselves when there is nothing to do.

.PHONY: image run

image: deb
	@packaging/setup image
	@packaging/image/build

# Everything that a fresh Debian lacks comes first; then it is built; then a machine boots it.
run:
	@packaging/setup run
	@$(MAKE) --no-print-directory image
	@$(PYTHON) -m tests.machines.run
