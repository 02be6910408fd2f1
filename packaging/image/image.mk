# Image and machines. The recipes call scripts that know by themselves when there is nothing to do.

.PHONY: image run

image: deb
	@packaging/setup image
	@packaging/image/build

# What cannot work is said before anything is built. Then everything that a fresh Debian lacks comes; then it is built; then
# a machine boots it.
run:
	@$(PYTHON) -m tests.machines.run --check
	@packaging/setup run
	@$(MAKE) --no-print-directory image
	@$(PYTHON) -m tests.machines.run
