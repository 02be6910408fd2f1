# Extensions beside those in the image: a mirror of them in build/extensions, signed where a key of gpg's is given.
#
#   make extensions [NAMES="smart burnin"] [SIGN=KEY]

.PHONY: extensions

extensions: image
	@packaging/extensions/build --base build/image/dpkg-status --out build/extensions $(if $(SIGN),--sign '$(SIGN)') $(NAMES)
