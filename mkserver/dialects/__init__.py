"""The two wire dialects, one module each: routes, envelopes and error numbers; what they mean is in `registry`."""
