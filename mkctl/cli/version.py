"""`mkctl version`."""

from __future__ import annotations

import json
import platform

from mkcore.version import VERSION


def show_version(as_json: bool) -> int:
    """Print the version of the suite, and with --json of what it runs on. Returns the exit status."""
    if as_json:
        print(json.dumps({"version": VERSION, "python": platform.python_version(), "linux": platform.release()}))
    else:
        print(f"mkctl {VERSION}")
    return 0
