"""CPU facts from `lscpu`: `mk_hw_lscpu_*`.

`lscpu -J` is asked for in the C locale; the text form is read as well, for a util-linux without -J. Key names changed
over the years and the facts must not: `Socket(s)` was once `CPU socket(s)`, and `CPU MHz` is gone since 2.38, when the
value that it used to show is taken from where lscpu took it, the first processor of /proc/cpuinfo (defect B36). Newer
versions nest keys below others; the nesting is of no interest here. Source: lscpu(1); protocol 6.4.
"""

from __future__ import annotations

from mkcore.errors import BadInput
from mkcore.jsonfields import Json, parse_object
from mkctl.probe.names import clean_key, clean_name

KEYS = (
    "Architecture",
    "CPU_op-modes",
    "Byte_Order",
    "CPU_sockets",
    "Vendor_ID",
    "CPU_family",
    "Model",
    "Stepping",
    "CPU_MHz",
    "BogoMIPS",
    "Virtualization",
    "L1d_cache",
    "L1i_cache",
    "L2_cache",
    "L3_cache",
)
# every lscpu in the C locale prints one of these, and no translated one does
_ENGLISH = ("Architecture", "Vendor ID", "Model name", "Thread(s) per core", "On-line CPU(s) list", "CPU op-mode(s)")
_NEW_NAMES = {
    "Sockets": "CPU_sockets",
    # below "Caches (sum of all)", in the nested form
    "L1d": "L1d_cache",
    "L1i": "L1i_cache",
    "L2": "L2_cache",
    "L3": "L3_cache",
}


def parse_lscpu(output: bytes) -> dict[str, str]:
    """Parse the output of `lscpu -J` or of plain `lscpu` into its keys and values, both as printed ("Socket(s)": "2").

    Of a repeated key (clusters of different cores) the first value counts. Raises BadInput when there is no pair, and
    when the keys are translated: of a listing in another language a few keys would pass for the whole.
    """
    text = output.decode("utf-8", "replace")
    start = text.find("{")
    pairs: dict[str, str] = {}
    if start >= 0 and ":" not in text[:start]:
        entries = parse_object(text[start:], "lscpu -J").get("lscpu")
        _read_entries(entries, pairs, "lscpu -J: lscpu")
    else:
        for line in text.splitlines():
            key, colon, value = line.partition(":")
            if colon and key.strip():
                pairs.setdefault(key.strip(), value.strip())
    if not pairs:
        raise BadInput("no key and value in its output", "lscpu")
    if not any(key in pairs for key in _ENGLISH):
        raise BadInput(f"its keys are not those of the C locale, the first is {next(iter(pairs))[:40]!r}", "lscpu")
    return pairs


def _read_entries(entries: Json, pairs: dict[str, str], where: str) -> None:
    if not isinstance(entries, list):
        raise BadInput("must be a list", where)
    for entry in entries:
        if not isinstance(entry, dict) or not isinstance(entry.get("field"), str):
            raise BadInput("an entry must be an object with a field", where)
        key, value = str(entry["field"]).strip().rstrip(":"), entry.get("data")
        if isinstance(value, str):
            pairs.setdefault(key, value.strip())
        if "children" in entry:
            _read_entries(entry["children"], pairs, f"{where}.{key}")


def flatten_lscpu(pairs: dict[str, str], cpuinfo: str) -> dict[str, Json]:
    """Make the `mk_hw_lscpu_*` facts. cpuinfo: text of /proc/cpuinfo, for the clock that newer lscpu leaves out."""
    values: dict[str, str] = {}
    for key, value in pairs.items():
        name = clean_name(clean_key(key))
        values[_NEW_NAMES.get(name, name)] = value
    if "CPU_MHz" not in values:
        for line in cpuinfo.splitlines():
            key, _, value = line.partition(":")
            if key.strip() == "cpu MHz":
                values["CPU_MHz"] = value.strip()
                break
    return {f"mk_hw_lscpu_{key}": values[key] for key in KEYS if values.get(key, "-") != "-"}  # "-": it has no idea
