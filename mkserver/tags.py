"""System tags that the original servers make of a node's facts (protocol 6.7), and plain readings of the same facts."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping

from mkcore.jsonfields import Json

_NOT_IN_A_TAG = re.compile(r"[^A-Za-z0-9_%=\-\\+]")


def clean_tag(text: str) -> str:
    """Remove what a tag may not hold: `Intel Corporation` becomes `IntelCorporation`."""
    return _NOT_IN_A_TAG.sub("", text)


def fact_text(facts: Mapping[str, Json], name: str) -> str:
    """The fact as the tag rules see it: text; true and numbers are spelt out; structures and absent ones are empty."""
    value = facts.get(name)
    if value is True:
        return "true"
    if value is False:
        return "false"
    if isinstance(value, (int, float)):
        return str(value)
    return value.strip() if isinstance(value, str) else ""


def build_tags(hw_ids: Iterable[str], facts: Mapping[str, Json], *, ids_are_tags: bool) -> list[str]:
    """Make the tags in the original order: hardware ids (Hanlon only), CPUs, vendor, memory, NICs, virtualisation."""
    tags = [clean_tag(hw_id) for hw_id in hw_ids] if ids_are_tags else []
    cpus = fact_text(facts, "mk_hw_cpu_count")
    if re.search(r"\d", cpus):
        tags.append(clean_tag(f"cpus_{cpus}"))
    vendor = fact_text(facts, "mk_hw_bus_vendor")
    if vendor:
        tags.append(clean_tag(vendor))
    memory = fact_text(facts, "mk_hw_mem_size")
    if memory:
        tags.append(clean_tag(f"memsize_{memory}"))
    nics = fact_text(facts, "mk_hw_nic_count")
    if nics:
        tags.append(clean_tag(f"nics_{nics}"))
    virtual = fact_text(facts, "virtual")
    if fact_text(facts, "is_virtual") == "true" and virtual:
        tags.append(clean_tag(f"{virtual}_vm"))
    return [tag for tag in tags if tag]
