"""The configuration in use: what the site says, what the server pushed on top, and the defaults below.

Order, the first that has the key wins: the pushed map (for keys that a push may set), the site's configuration, the
defaults of the dialect in use, the table's default. So an unconfigured node already uses what a stock server pushes,
and the push changes nothing (defects B19 to B22). A push is validated as a whole before it is stored, and again, key
by key, when it is read: a half-written file costs single keys, never the start. Source: protocol 2, 4.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, NamedTuple

from mkcore.errors import BadInput
from mkcore.jsonfields import Json, canonical, digest, show
from mkcore.keys import (
    BY_NAME,
    DIALECT_DEFAULTS,
    KEYS,
    NEVER_PUSHED,
    PROTECTED,
    PUSH,
    Key,
    Pushable,
    Value,
    parse_value,
)
from mkcore.site import Site, Source, parse_toml, read_site

__all__ = [
    "BY_NAME",
    "DIALECT_DEFAULTS",
    "KEYS",
    "PROTECTED",
    "PUSH",
    "Config",
    "Effective",
    "Key",
    "Push",
    "Pushable",
    "Site",
    "Source",
    "Value",
    "differs",
    "effective",
    "parse_toml",
    "parse_value",
    "read_site",
    "validate_push",
]

_PUSH_KEYS_LIMIT = 256
_PUSH_VALUE_LIMIT_BYTES = 16 << 10
_PUSH_DEPTH_LIMIT = 10  # the map is stored inside other documents, and their readers have a limit, too
ORIGIN_PUSH = "pushed by the server"
ORIGIN_DIALECT = "default of the dialect"
ORIGIN_DEFAULT = "default"


class Config(NamedTuple):
    """Every key of the table, as `section_key`; an empty string means not set. `log_level` is FATAL … DEBUG."""

    server_uri: str
    server_checkin_path: str
    server_register_path: str
    server_dialect: str
    server_ca: str
    server_fingerprint: str
    server_client_certificate: str
    server_client_key: str
    server_proxy: str
    discovery_order: str
    identity_interfaces: str
    identity_set_host_name: bool
    clock_from_server: bool
    checkin_interval_s: int
    checkin_skew_s: int
    checkin_retry_ceiling_s: int
    facts_sets: tuple[str, ...]
    facts_exclude: str
    facts_volatile: tuple[str, ...]
    facts_boot_nic_as_eth0: bool
    facts_snmp_community: bool
    facts_max_age_s: int
    log_level: str
    actions_allow_power_orders: bool
    actions_power_through: str
    apply_min_spacing_s: int
    apply_allow_push: tuple[str, ...]
    extensions_builtin_wait_s: int
    extensions_install: tuple[str, ...]
    extensions_modules: tuple[str, ...]
    extensions_packages: tuple[str, ...]
    extensions_allow: tuple[str, ...]
    extensions_verify: str
    extensions_staging_limit_mb: int
    extensions_proxy: str
    tce_release: str
    tce_build: str
    mirror_tce_mirror_port: int
    mirror_tce_mirror_uri: str
    mirror_tce_mirror: str
    mirror_tce_install_list_uri: str
    mirror_kmod_install_list_uri: str
    mirror_gem_mirror_uri: str
    mirror_gem_mirror: str
    mirror_gemlist_uri: str

    def value(self, name: str) -> Value:
        """Return the value of the key `name`, e.g. "checkin.interval_s"."""
        found: Value = getattr(self, BY_NAME[name].field)
        return found


@dataclass(frozen=True)
class Effective:
    """The configuration in use, where each value comes from, and the pushed map that is part of it."""

    config: Config
    origins: Mapping[str, str]
    pushed: Mapping[str, Json]
    problems: tuple[str, ...]

    @property
    def digest(self) -> str:
        """Names the pushed map, as ConfigDigest on the bus; that of an empty map when nothing was pushed."""
        return digest(self.pushed)


@dataclass(frozen=True)
class Push:
    """A validated push: everything that was sent, and which of its keys have no effect because they are protected."""

    stored: dict[str, Json]
    protected_ignored: tuple[str, ...]


def effective(site: Site, pushed: Mapping[str, Json], dialect_defaults: Mapping[str, Value]) -> Effective:
    """Lay the sources over each other.

    `pushed` is the stored map ({} for none), `dialect_defaults` one of DIALECT_DEFAULTS, or {} while the dialect is
    not known. Problems of the site and of single pushed keys are in the result; nothing is raised.
    """
    values: dict[str, Any] = {key.name: key.default for key in KEYS}
    origins = dict.fromkeys(values, ORIGIN_DEFAULT)
    values.update(dialect_defaults)
    origins.update(dict.fromkeys(dialect_defaults, ORIGIN_DIALECT))
    values.update(site.values)
    origins.update(site.origins)
    problems = list(site.problems)
    allowed = values["apply.allow_push"]
    for name, raw in pushed.items():
        pushable = PUSH.get(name)
        if pushable is None or (pushable.protected and name not in allowed):
            continue
        try:
            values[pushable.key.name] = parse_value(pushable.key, raw, pushed=True)
        except BadInput as error:
            problems.append(f"pushed configuration: {name}: {error}")
            continue
        origins[pushable.key.name] = ORIGIN_PUSH
    by_field = {BY_NAME[name].field: value for name, value in values.items()}
    config = Config(**{name: by_field[name] for name in Config._fields})
    return Effective(config, origins, dict(pushed), tuple(problems))


def validate_push(body: Mapping[str, Json], site: Site) -> Push:
    """Check a pushed map before it is stored; raise BadInput naming key, value and range at the first that is wrong.

    Unknown mk_* keys are kept, because servers send every attribute of theirs that starts so. A protected key that the
    site does not allow is kept without effect and reported; the mapping may hold 256 keys of 16 KiB, nested ten deep.
    """
    allowed = _allowed(site)
    ignored: list[str] = []
    if len(body) > _PUSH_KEYS_LIMIT:
        raise BadInput(f"{len(body)} keys are more than {_PUSH_KEYS_LIMIT}")
    for name, raw in body.items():
        if not name.startswith("mk_") or len(name) > 128 or not name.isidentifier():
            raise BadInput(f"{show(name)} is not the name of a mk_* key")
        if name in NEVER_PUSHED:
            raise BadInput("by what a server is known or reached is never taken from a server", name)
        pushable = PUSH.get(name)
        if pushable is not None and pushable.protected and name not in allowed:
            ignored.append(name)
        if len(canonical(raw)) > _PUSH_VALUE_LIMIT_BYTES:
            raise BadInput(f"the value is larger than {_PUSH_VALUE_LIMIT_BYTES} bytes", name)
        if not _nests_within(raw, _PUSH_DEPTH_LIMIT):
            raise BadInput(f"the value is nested deeper than {_PUSH_DEPTH_LIMIT}", name)
        if pushable is None or name in ignored:
            continue
        try:
            parse_value(pushable.key, raw, pushed=True)
        except BadInput as error:
            raise BadInput(str(error), name) from None
    return Push(dict(body), tuple(ignored))


def _nests_within(value: Json, depth: int) -> bool:
    if not isinstance(value, (list, dict)):
        return True
    items = value.values() if isinstance(value, dict) else value
    return depth > 0 and all(_nests_within(item, depth - 1) for item in items)


def differs(sent: Mapping[str, Json], current: Effective, server: str = "") -> list[str]:
    """Return the keys of a received map whose values are not in use already.

    Compared are only the keys that were sent, each in the form of its own type; protected ones are left out. A value
    that could not be used at all differs, so that it is posted once and refused with a reason. server: the URI of the
    server in use, which the kernel line, DHCP or DNS may have given instead of the configuration.
    """
    return [name for name, raw in sent.items() if _differs(name, raw, current, server)]


def _differs(name: str, raw: Json, current: Effective, server: str) -> bool:
    pushable = PUSH.get(name)
    if pushable is None:
        return name not in current.pushed or canonical(current.pushed[name]) != canonical(raw)
    if pushable.protected and name not in current.config.apply_allow_push:
        return False
    try:
        value = parse_value(pushable.key, raw, pushed=True)
    except BadInput:
        return True
    if pushable.key.name == "server.uri" and server:
        return value != server
    return value != current.config.value(pushable.key.name)


def _allowed(site: Site) -> tuple[str, ...]:
    allowed = site.values.get("apply.allow_push", ())
    return allowed if isinstance(allowed, tuple) else ()
