"""The version of the suite.

One place for it; pyproject.toml and the Debian changelog carry the same value, which a test compares.
"""

from __future__ import annotations

VERSION = "0.1.0"
