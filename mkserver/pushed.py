"""The configuration that a server pushes with each answer (`client_config`, protocol 2.3), and what people may set.

Defaults are the stock servers' (Hanlon: nine keys, Razor: thirteen), so that an unconfigured microkernel finds nothing
to change. A key set by a person is added or replaces its default, for all nodes or for one.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from mkcore.errors import BadInput
from mkcore.jsonfields import Json

from .boot import check_kernel_args
from .policy import BOOT_FORMS

_RAZOR_PATTERN = (
    "(^facter.*$)|(^id$)|(^kernel.*$)|(^memoryfree$)|(^operating.*$)|(^osfamily$)|(^path$)|(^ps$)|(^ruby.*$)"
    "|(^selinux$)|(^ssh.*$)|(^swap.*$)|(^timezone$)|(^uniqueid$)|(^uptime.*$)|(.*json_str$)"
)
_HANLON_PATTERN = (
    "(^facter.*$)|(^id$)|(^kernel.*$)|(^memoryfree$)|(^memoryfree_mb$)|(^operating.*$)|(^osfamily$)|(^path$)|(^ps$)"
    "|(^ruby.*$)|(^selinux$)|(^ssh.*$)|(^swap.*$)|(^timezone$)|(^uniqueid$)|(^.*uptime.*$)|(.*json_str$)"
)

DEFAULTS: dict[str, dict[str, Json]] = {
    "hanlon": {
        "mk_checkin_interval": 60,
        "mk_checkin_skew": 5,
        "mk_log_level": "Logger::ERROR",
        "mk_gem_mirror": "http://localhost:2158/gem-mirror",
        "mk_gemlist_uri": "/gems/gem.list",
        "mk_tce_mirror": "http://localhost:2157/tinycorelinux",
        "mk_tce_install_list_uri": "/tce-install-list",
        "mk_kmod_install_list_uri": "/kmod-install-list",
        "mk_fact_excl_pattern": _HANLON_PATTERN,
    },
    "razor": {
        "mk_uri": "http://{base}",
        "mk_checkin_interval": 60,
        "mk_checkin_skew": 5,
        "mk_checkin_path": "/razor/api/node/checkin",
        "mk_register_path": "/razor/api/node/register",
        "mk_fact_excl_pattern": _RAZOR_PATTERN,
        "mk_log_level": "Logger::ERROR",
        "mk_tce_mirror_port": 2157,
        "mk_tce_mirror_uri": "http://localhost:2157/tinycorelinux",
        "mk_tce_install_list_uri": "http://localhost:2157/tinycorelinux/tce-install-list",
        "mk_kmod_install_list_uri": "http://localhost:2157/tinycorelinux/kmod-install-list",
        "mk_gem_mirror_uri": "http://localhost:2158/gem-mirror",
        "mk_gemlist_uri": "http://localhost:2158/gem-mirror/gems/gem.list",
    },
}

_MIRRORS = frozenset(
    key for defaults in DEFAULTS.values() for key in defaults if key.endswith(("_uri", "_mirror")) and key != "mk_uri"
)
"""Pushed keys in whose values {base} stands for this server as the node reaches it."""

SERVER_DEFAULTS: dict[str, Json] = {
    "register_timeout": 120,
    "node_expire_timeout": 300,
    "boot_kernel_args": "",
    "boot_debug_level": "",
    "boot_form": "",
}
"""The server's own settings (protocol 2.2); the first two hold for all nodes alone."""

GLOBAL_ONLY = ("register_timeout", "node_expire_timeout")

_RANGES: dict[str, tuple[int, int]] = {
    "mk_checkin_interval": (1, 3600),
    "mk_checkin_skew": (0, 300),
    "mk_tce_mirror_port": (1, 65535),
    "register_timeout": (1, 86_400),
    "node_expire_timeout": (1, 604_800),
}
_LEVELS = ("FATAL", "ERROR", "WARN", "INFO", "DEBUG")
_PUSHED_NAME = re.compile(r"mk_[A-Za-z0-9_]{1,120}\Z")


def build_client_config(dialect: str, base: str, values: Mapping[str, Json]) -> dict[str, Json]:
    """Make the `client_config` for one node: defaults, then what people set.

    base: HOST:PORT of the request, which stands for {base} in the addresses of mirrors and lists, and in the defaults.
    """
    own = {key: value for key, value in values.items() if key.startswith("mk_")}
    made = {**DEFAULTS[dialect], **own}
    filled = _MIRRORS | {"mk_uri"} - set(own)
    return {
        key: value.replace("{base}", base) if isinstance(value, str) and key in filled else value
        for key, value in made.items()
    }


def check_value(key: str, value: Json, *, force: bool = False) -> Json:
    """Return a value that may be stored under `key`.

    `force` stores a pushed key's value unchecked, to see how a microkernel refuses it. Raises BadInput.
    """
    if key not in SERVER_DEFAULTS and not _PUSHED_NAME.match(key):
        raise BadInput(f"{key}: not a setting; pushed keys start with mk_, the others are {', '.join(SERVER_DEFAULTS)}")
    if force and key.startswith("mk_"):
        return value
    if key in _RANGES:
        low, high = _RANGES[key]
        if not isinstance(value, int) or isinstance(value, bool) or not low <= value <= high:
            raise BadInput(f"{key}: must be a whole number from {low} to {high}")
    elif key == "mk_log_level":
        if value not in [f"Logger::{level}" for level in _LEVELS]:
            raise BadInput(f"{key}: must be one of {', '.join('Logger::' + level for level in _LEVELS)}")
    elif key == "boot_debug_level":
        if value not in ("", "quiet", "debug"):
            raise BadInput(f"{key}: must be quiet, debug or empty")
    elif key == "boot_form":
        if value not in ("", *BOOT_FORMS):
            raise BadInput(f"{key}: must be {', '.join(BOOT_FORMS)} or empty")
    elif key == "boot_kernel_args":
        check_kernel_args(value if isinstance(value, str) else "\n")
    elif any(key in defaults for defaults in DEFAULTS.values()) and not (isinstance(value, str) and value):
        raise BadInput(f"{key}: must be a text that is not empty")
    return value


def interval_of(client_config: Mapping[str, Json]) -> int:
    """Seconds between a node's checkins; the stock servers' where `force` stored what no node takes."""
    value = client_config["mk_checkin_interval"]
    low, high = _RANGES["mk_checkin_interval"]
    return value if isinstance(value, int) and not isinstance(value, bool) and low <= value <= high else 60


def parse_value(key: str, text: str) -> Json:
    """Read what a person typed for `key`: a number where the key is one, else the text itself."""
    known: dict[str, Any] = {**DEFAULTS["razor"], **DEFAULTS["hanlon"], **SERVER_DEFAULTS}
    wants_number = isinstance(known.get(key), int)
    stripped = text.strip()
    if wants_number and re.fullmatch(r"-?[0-9]{1,9}", stripped):
        return int(stripped)
    return stripped if wants_number else text
