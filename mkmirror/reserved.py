"""Paths below /usr/local and /opt that no extension may have, whoever asks for it.

Programs of the suite look for modules in the system's folders alone, but the system's Python counts a folder below
/usr/local among them. Whatever lay there would be imported by mkctl, before the module of the same name that it was
tested with. What is reserved for native extensions is reserved here as well.

Source: site.getsitepackages in Python's `site` module; Debian Python policy, 2.5 "Module path".
"""

from __future__ import annotations

import site
from collections.abc import Iterable

from mkmirror import native


def reason(path: str, folders: Iterable[str] = ()) -> str:
    """Return why nothing may lie at this path, e.g. `usr/local/lib/python3.13/dist-packages/x.py`; "" when it may.

    folders: where the system's Python looks for modules, `system_folders`.
    """
    said = native.reserved(path)
    if not said and any(f"/{path}/".startswith(f"{each}/") for each in folders):
        return "would be imported by the programs of the suite"
    return said


def system_folders() -> tuple[str, ...]:
    """Return the folders of modules below /usr/local and /opt that this Python has or would have."""
    return tuple(each for each in site.getsitepackages() if each.startswith(("/usr/local/", "/opt/")))
