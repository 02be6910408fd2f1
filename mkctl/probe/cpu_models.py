"""What /proc/cpuinfo says of a processor, in one form for all architectures.

Each architecture has its own keys, and its own idea of a block: x86, arm64 and others one for each CPU, s390 and old
ARM a common part and a line for each. Of arm64 the kernel gives numbers alone; the names are those of the makers'
manuals, for the cores that servers have. Source: arch/*/kernel/{proc,cpuinfo,setup}.c of the kernel; Arm's registry of
implementers and part numbers (MIDR_EL1).
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from mkcore.jsonfields import Json
from mkctl.probe.texts import clean_text

_TEXTS = (
    ("model_name", ("model name", "processor name", "cpu model", "uarch", "cpu")),
    ("vendor_id", ("vendor_id", "vendor", "mvendorid")),
    ("microcode", ("microcode",)),
)
_NUMBERS = (
    ("family", ("cpu family", "family")),
    ("model", ("model",)),
    ("stepping", ("stepping",)),
)
_FLAGS = ("flags", "features")
_IMPLEMENTERS = {
    0x41: "ARM",
    0x42: "Broadcom",
    0x43: "Cavium",
    0x46: "FUJITSU",
    0x48: "HiSilicon",
    0x4E: "NVIDIA",
    0x50: "APM",
    0x51: "Qualcomm",
    0x61: "Apple",
    0x6D: "Microsoft",
    0x70: "Phytium",
    0xC0: "Ampere",
}
_PARTS = {
    (0x41, 0xD03): "Cortex-A53",
    (0x41, 0xD05): "Cortex-A55",
    (0x41, 0xD07): "Cortex-A57",
    (0x41, 0xD08): "Cortex-A72",
    (0x41, 0xD0B): "Cortex-A76",
    (0x41, 0xD0C): "Neoverse-N1",
    (0x41, 0xD40): "Neoverse-V1",
    (0x41, 0xD49): "Neoverse-N2",
    (0x41, 0xD4F): "Neoverse-V2",
    (0x41, 0xD83): "Neoverse-V3AE",
    (0x41, 0xD84): "Neoverse-V3",
    (0x41, 0xD8E): "Neoverse-N3",
    (0x41, 0xD4A): "Neoverse-E1",
    (0x43, 0x0A1): "ThunderX-88XX",
    (0x43, 0x0AF): "ThunderX2-99xx",
    (0x46, 0x001): "A64FX",
    (0x48, 0xD01): "TaiShan-v110",
    (0x48, 0xD02): "TaiShan-v120",
    (0x4E, 0x004): "Carmel",
    (0x4E, 0x010): "Olympus",
    (0x50, 0x000): "X-Gene",
    (0x51, 0xC00): "Falkor",
    (0x6D, 0xD49): "Azure-Cobalt-100",
    (0x70, 0x662): "FTC662",
    (0x70, 0x663): "FTC663",
    (0xC0, 0xAC3): "Ampere-1",
    (0xC0, 0xAC4): "Ampere-1a",
    (0xC0, 0xAC5): "Ampere-1b",
}


def describe_cpus(cpuinfo: str, numbers: Iterable[int]) -> dict[int, dict[str, Json]]:
    """Return model_name, vendor_id, family, model, stepping, revision, microcode and flags of the given CPUs.

    Each as far as /proc/cpuinfo (its text) has it. A CPU that has no block of its own, such as one that is not running,
    takes the values of the common part, else of the first block.
    """
    wanted = set(numbers)
    blocks: dict[int, str] = {}
    common = first = ""
    for block in cpuinfo.split("\n\n"):
        number = _block_number(block)
        if number < 0:
            common += block + "\n"
            continue
        first = first or block
        if number in wanted:
            blocks[number] = block
    return {number: _describe(_parse(f"{common}\n{blocks.get(number, first)}")) for number in wanted}


def _block_number(block: str) -> int:
    """Return the CPU's number that a block begins with; -1 for a block of another kind."""
    key, _, value = block.lstrip("\n").partition("\n")[0].partition(":")
    value = value.strip()
    return int(value) if key.strip() == "processor" and _is_number(value) else -1


def _parse(text: str) -> dict[str, str]:
    """Return keys, in lower case, and values; of a repeated key the last value, as blocks follow the common part."""
    fields: dict[str, str] = {}
    for line in text.splitlines():
        key, colon, value = line.partition(":")
        if colon and value.strip():
            name = key.strip().lower()
            if name == "processor" and not value.strip().isdigit():
                name = "processor name"  # old ARM: "Processor : ARMv7 Processor rev 4 (v7l)"
            fields[name] = value.strip()
    return fields


def _describe(fields: Mapping[str, str]) -> dict[str, Json]:
    found: dict[str, Json] = {}
    for name, keys in _TEXTS:
        value = clean_text(_first(fields, keys))
        if value.strip("-"):
            found[name] = value
    for name, number_keys in _NUMBERS:
        value = _first(fields, number_keys)
        if _is_number(value):
            found[name] = int(value)
    found.update(_describe_arm(fields))
    flags = clean_text(_first(fields, _FLAGS)).split()
    if flags:
        found["flags"] = list[Json](flags)
    return found


def _describe_arm(fields: Mapping[str, str]) -> dict[str, Json]:
    implementer, part = (_hex(fields.get(f"cpu {name}", "")) for name in ("implementer", "part"))
    if implementer < 0 or part < 0:
        return {}
    found: dict[str, Json] = {"model": part}
    if implementer in _IMPLEMENTERS:
        found["vendor_id"] = _IMPLEMENTERS[implementer]
    if (implementer, part) in _PARTS:
        found["model_name"] = _PARTS[implementer, part]
    family, variant, revision = (
        _hex(fields.get(f"cpu {name}", "")) for name in ("architecture", "variant", "revision")
    )
    if family >= 0:
        found["family"] = family
    if variant >= 0 and revision >= 0:
        found["revision"] = f"r{variant}p{revision}"
    return found


def _hex(text: str) -> int:
    """Return a number written "0x41" or "8"; -1 for anything else, such as "AArch64"."""
    try:
        return int(text, 16 if text.startswith("0x") else 10)
    except ValueError:
        return -1


def _is_number(text: str) -> bool:
    return len(text) < 10 and text.isascii() and text.isdigit()


def _first(fields: Mapping[str, str], keys: Iterable[str]) -> str:
    return next((fields[key] for key in keys if key in fields), "")
