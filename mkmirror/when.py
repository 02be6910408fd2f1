"""For which machines a listed extension is: the file `NAME.raw.when` or `NAME.tcz.when` beside it.

Lines `virtualization WORD`, the word as systemd-detect-virt prints it; one of several is enough. So one list serves
physical and virtual machines alike, and the drivers of one hypervisor stay away from the others. Who asks for an
extension by its name gets it anywhere.

Source: systemd-detect-virt(1); protocol 5.4 (modules for VMware alone).
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Optional

from mkcore import proc
from mkcore.errors import BadInput, ToolFailed
from mkmirror.lists import lines_of
from mkmirror.names import show

SUFFIX = ".when"
DETECT_TIMEOUT_S = 10.0

_LINE = re.compile(r"virtualization[ \t]+([a-z0-9][a-z0-9_-]{0,31})")


@dataclass(frozen=True)
class When:
    """The machines that an extension is for: words of systemd-detect-virt, `none` for real hardware; none for all."""

    virtualizations: tuple[str, ...]

    def fits(self, virtualization: str) -> bool:
        """Tell whether it is for a machine of this kind, e.g. `vmware`, `none`."""
        return not self.virtualizations or virtualization in self.virtualizations


def parse_when(text: str, where: str) -> When:
    """Parse a `.when`; raise BadInput naming the line for what this version does not understand."""
    found: dict[str, None] = {}
    for line, place in lines_of(text, where):
        match = _LINE.fullmatch(line)
        if match is None:
            raise BadInput(f"not of the form 'virtualization WORD': {show(line)}", place)
        found[match[1]] = None
    return When(tuple(found))


def require_here(text: Optional[str], name: str) -> None:
    """Raise BadInput when the `.when` of the extension `name` (None: it has none) is for other machines than this one.

    Raises BadInput for one that is not understood, too, and ToolFailed when nobody can tell what this machine is.
    """
    if text is None:
        return
    machine = detect_virtualization()
    if not parse_when(text, name + SUFFIX).fits(machine):
        raise BadInput(f"its {SUFFIX} says that it is not for this machine ({machine})", name)


def detect_virtualization() -> str:
    """Return what this machine is, e.g. `vmware`, `systemd-nspawn`, `none`. Raises ToolFailed when nobody can tell."""
    finished = proc.run(["systemd-detect-virt"], timeout_s=DETECT_TIMEOUT_S)  # fails, too, where it prints `none`
    word = finished.stdout.decode("utf-8", "replace").strip()
    if not word:
        raise ToolFailed(finished.describe())
    return word
