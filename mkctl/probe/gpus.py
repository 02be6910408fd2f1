"""Graphics and accelerators among the PCI functions.

What a scheduler of machines asks first. A server's own display chip (the BMC's) is one of them; model and driver tell
it from a compute card. Source: PCI Code and ID Assignment Specification, base classes 03, 0b and 12.
"""

from __future__ import annotations

from collections.abc import Iterable

from mkcore.jsonfields import Json
from mkctl.probe.pci import PciFunction, build_card
from mkctl.probe.pci_names import Names

# A longer prefix wins. 3D controllers are graphics without an output, which is what compute cards say they are.
_KINDS = {"03": "display", "0302": "3d", "12": "accelerator", "0b40": "coprocessor"}


def build_gpus(functions: Iterable[PciFunction], names: Names) -> dict[str, Json]:
    """Build the inventory's `gpus` by PCI address: kind, vendor, model, driver, NUMA node; unknown ones left out."""
    gpus: dict[str, Json] = {}
    for function in functions:
        kind = _KINDS.get(function.class_id[:4]) or _KINDS.get(function.class_id[:2])
        if kind is None:
            continue
        gpus[function.address] = build_card(function, kind, names)
    return gpus
