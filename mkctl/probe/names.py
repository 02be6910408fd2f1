"""Names of facts: how a key that a tool prints becomes part of a fact's name.

Tools print keys for people ("CPU op-mode(s)", "802.1q VLAN ID", "#cores"); fact names are what servers' rules and
users' policies match, so the two historic cleaning steps are kept to the letter: one on the keys of tools, one on every
name that leaves the node. Protocol 6.3.
"""

from __future__ import annotations

_KEY = str.maketrans({" ": "_", ".": None, "/": "_", "\\": "_"})
_NAME = str.maketrans("", "", "!@#$%^&*()=+[]{}")


def clean_key(key: str) -> str:
    """Clean a key printed by a tool: "802.1q  VLAN ID" -> "8021q_VLAN_ID", "#cores" -> "numbercores"."""
    key = " ".join(key.split())
    if key.startswith("#"):
        key = "number" + key[1:]
    return key.translate(_KEY)


def clean_name(name: str) -> str:
    """Clean the complete name of a fact: "mk_hw_lscpu_CPU_op-mode(s)" -> "mk_hw_lscpu_CPU_op-modes"."""
    return name.translate(_NAME)
