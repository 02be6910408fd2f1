"""The one table of configuration keys: type, range, default, and which pushed mk_* key means the same.

Everything else is derived from it: the Config dataclass, what a push may set, the manual page and the commented file
that is shipped (tests hold them equal). Values are parsed into the one form in which they are compared, so that 60
equals "60" and `Logger::ERROR` equals `error`. Source: protocol 2.1 to 2.4.
"""

from __future__ import annotations

import enum
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Union, cast

from mkcore import journal
from mkcore.errors import BadInput
from mkcore.jsonfields import show
from mkcore.rubyregex import compile_ruby

Value = Union[bool, int, str, tuple[str, ...]]
TEXT_LIMIT = 2048

RAZOR_EXCLUDE = (
    "(^facter.*$)|(^id$)|(^kernel.*$)|(^memoryfree$)|(^operating.*$)|(^osfamily$)|(^path$)|(^ps$)|(^ruby.*$)"
    "|(^selinux$)|(^ssh.*$)|(^swap.*$)|(^timezone$)|(^uniqueid$)|(^uptime.*$)|(.*json_str$)"
)
HANLON_EXCLUDE = (
    "(^facter.*$)|(^id$)|(^kernel.*$)|(^memoryfree$)|(^memoryfree_mb$)|(^operating.*$)|(^osfamily$)|(^path$)|(^ps$)"
    "|(^ruby.*$)|(^selinux$)|(^ssh.*$)|(^swap.*$)|(^timezone$)|(^uniqueid$)|(^.*uptime.*$)|(.*json_str$)"
)
# The sets of facts; the first six, with the names and flat values of the originals, are sent by default.
FACT_SETS = ("facter", "hardware", "ipmi", "lldp", "json", "custom", "structured", "inventory")
VOLATILE = (
    "mk_server_source",
    "memoryfree_mb",
    r"/^(memory|swap)free$/",
    "swapfree_mb",
    "load_averages",
    "processors.speed",
    r"/^memory\..*\.(available|capacity|used)(_bytes)?$/",
    r"/^mountpoints\..*\.(available|capacity|used)(_bytes)?$/",
    r"/^networking\.interfaces\..*\.flags$/",
    "mk_hw_lscpu_CPU_MHz",
    r"/^mk_hw_lscpu_.*MHz$/",
    r"/^mk_hw_lscpu_BogoMIPS$/",
    r"/^mk_hw_cpu\d+_size$/",
    r"/^mk_hw_nic\d+_(configuration|size)$/",
    r"/^mk_hw_(lscpu|proc|nw)_.*_json_str$/",
    r"/uptime/",
)


class Kind(enum.Enum):
    """How the value of a key is written."""

    INTEGER = "integer"
    BOOLEAN = "true or false"
    CHOICE = "one of"
    LEVEL = "log level"
    URI = "http:// or https:// URI"
    PATH = "path that starts with /"
    LOCATION = "URI or path"
    PATTERN = "regular expression"
    NAMES = "list of names and /patterns/"
    WORD = "word of letters, digits, dot and underscore"
    PROTECTED = "list of protected pushed keys"
    SETS = "list of sets of facts"
    FINGERPRINT = "SHA-256 of 64 hexadecimal digits"
    PROXY = "proxy's address, http://HOST:PORT with neither user nor path"


@dataclass(frozen=True)
class Key:
    """One key. `low`..`high` for integers; `empty_port` is what `http://host:/` means in a location (defect B17)."""

    name: str
    kind: Kind
    default: Value
    low: int = 0
    high: int = 0
    choices: tuple[str, ...] = ()
    empty_port: int = 0

    @property
    def field(self) -> str:
        """The name of the key in Config: `checkin.interval_s` is checkin_interval_s."""
        return self.name.replace(".", "_")

    @property
    def range(self) -> str:
        """The range or the form, in words for a message: "1..3600"."""
        if self.kind is Kind.INTEGER:
            return f"{self.low}..{self.high}"
        return f"one of {', '.join(self.choices)}" if self.kind is Kind.CHOICE else f"a {self.kind.value}"


_TCE = 2157
_GEM = 2158
KEYS: tuple[Key, ...] = (
    Key("server.uri", Kind.URI, ""),
    Key("server.checkin_path", Kind.PATH, ""),
    Key("server.register_path", Kind.PATH, ""),
    Key("server.dialect", Kind.CHOICE, "auto", choices=("auto", "razor", "hanlon")),
    Key("server.ca", Kind.PATH, ""),
    Key("server.fingerprint", Kind.FINGERPRINT, ""),
    Key("server.client_certificate", Kind.PATH, ""),
    Key("server.client_key", Kind.PATH, ""),
    Key("server.proxy", Kind.PROXY, ""),
    Key("discovery.order", Kind.CHOICE, "explicit", choices=("explicit", "originals")),
    Key("identity.interfaces", Kind.PATTERN, ""),
    Key("identity.set_host_name", Kind.BOOLEAN, False),
    Key("clock.from_server", Kind.BOOLEAN, False),
    Key("checkin.interval_s", Kind.INTEGER, 60, low=1, high=3600),
    Key("checkin.skew_s", Kind.INTEGER, 5, low=0, high=300),
    Key("checkin.retry_ceiling_s", Kind.INTEGER, 90, low=1, high=99),
    Key("facts.sets", Kind.SETS, FACT_SETS[:6]),
    Key("facts.exclude", Kind.PATTERN, HANLON_EXCLUDE),
    Key("facts.volatile", Kind.NAMES, VOLATILE),
    Key("facts.boot_nic_as_eth0", Kind.BOOLEAN, True),
    Key("facts.snmp_community", Kind.BOOLEAN, False),
    Key("facts.max_age_s", Kind.INTEGER, 300, low=0, high=86_400),
    Key("log.level", Kind.LEVEL, "ERROR"),
    Key("actions.allow_power_orders", Kind.BOOLEAN, False),
    Key("actions.power_through", Kind.PATH, ""),
    Key("apply.min_spacing_s", Kind.INTEGER, 60, low=0, high=3600),
    Key("apply.allow_push", Kind.PROTECTED, ()),
    Key("extensions.builtin_wait_s", Kind.INTEGER, 10, low=0, high=600),
    Key("extensions.install", Kind.NAMES, ()),
    Key("extensions.modules", Kind.NAMES, ()),
    Key("extensions.packages", Kind.NAMES, ()),
    Key("extensions.allow", Kind.NAMES, ("/.*/",)),
    Key("extensions.verify", Kind.CHOICE, "signature", choices=("signature", "checksum")),
    Key("extensions.staging_limit_mb", Kind.INTEGER, 512, low=1, high=65_536),
    Key("extensions.proxy", Kind.PROXY, ""),
    Key("tce.release", Kind.WORD, "15.x"),
    Key("tce.build", Kind.WORD, ""),
    Key("mirror.tce_mirror_port", Kind.INTEGER, _TCE, low=1, high=65_535),
    Key("mirror.tce_mirror_uri", Kind.LOCATION, "http://localhost:2157/tinycorelinux", empty_port=_TCE),
    Key("mirror.tce_mirror", Kind.LOCATION, "http://localhost:2157/tinycorelinux", empty_port=_TCE),
    Key("mirror.tce_install_list_uri", Kind.LOCATION, "/tce-install-list", empty_port=_TCE),
    Key("mirror.kmod_install_list_uri", Kind.LOCATION, "/kmod-install-list", empty_port=_TCE),
    Key("mirror.gem_mirror_uri", Kind.LOCATION, "http://localhost:2158/gem-mirror", empty_port=_GEM),
    Key("mirror.gem_mirror", Kind.LOCATION, "http://localhost:2158/gem-mirror", empty_port=_GEM),
    Key("mirror.gemlist_uri", Kind.LOCATION, "/gems/gem.list", empty_port=_GEM),
)
BY_NAME: Mapping[str, Key] = {key.name: key for key in KEYS}


@dataclass(frozen=True)
class Pushable:
    """What a pushed mk_* key sets. A protected one counts only where the site's apply.allow_push names it."""

    key: Key
    protected: bool = False


PUSH: Mapping[str, Pushable] = {
    "mk_checkin_interval": Pushable(BY_NAME["checkin.interval_s"]),
    "mk_checkin_skew": Pushable(BY_NAME["checkin.skew_s"]),
    "mk_fact_excl_pattern": Pushable(BY_NAME["facts.exclude"]),
    "mk_log_level": Pushable(BY_NAME["log.level"]),
    "mk_tce_mirror_port": Pushable(BY_NAME["mirror.tce_mirror_port"]),
    "mk_tce_mirror_uri": Pushable(BY_NAME["mirror.tce_mirror_uri"]),
    "mk_tce_mirror": Pushable(BY_NAME["mirror.tce_mirror"]),
    "mk_tce_install_list_uri": Pushable(BY_NAME["mirror.tce_install_list_uri"]),
    "mk_kmod_install_list_uri": Pushable(BY_NAME["mirror.kmod_install_list_uri"]),
    "mk_gem_mirror_uri": Pushable(BY_NAME["mirror.gem_mirror_uri"]),
    "mk_gem_mirror": Pushable(BY_NAME["mirror.gem_mirror"]),
    "mk_gemlist_uri": Pushable(BY_NAME["mirror.gemlist_uri"]),
    "mk_uri": Pushable(BY_NAME["server.uri"], protected=True),
    "mk_checkin_path": Pushable(BY_NAME["server.checkin_path"], protected=True),
    "mk_register_path": Pushable(BY_NAME["server.register_path"], protected=True),
}
PROTECTED: tuple[str, ...] = tuple(name for name, pushable in PUSH.items() if pushable.protected)
# By what the server is known and reached, under every name that somebody might try: who can push must not choose it.
NEVER_PUSHED = frozenset(
    f"mk_{prefix}{name}"
    for prefix in ("", "server_")
    for name in (
        *("ca", "fingerprint", "certificate", "key", "client_certificate", "client_key"),
        *("insecure", "verify", "proxy"),
    )
) | {"mk_extensions_proxy"}

# What a stock server of the dialect pushes, so that its push changes nothing (defects B19, B20).
DIALECT_DEFAULTS: Mapping[str, Mapping[str, Value]] = {
    "razor": {
        "server.checkin_path": "/razor/api/node/checkin",
        "server.register_path": "/razor/api/node/register",
        "facts.exclude": RAZOR_EXCLUDE,
        "mirror.tce_install_list_uri": "http://localhost:2157/tinycorelinux/tce-install-list",
        "mirror.kmod_install_list_uri": "http://localhost:2157/tinycorelinux/kmod-install-list",
        "mirror.gemlist_uri": "http://localhost:2158/gem-mirror/gems/gem.list",
    },
    "hanlon": {
        "server.checkin_path": "/hanlon/api/v1/node/checkin",
        "server.register_path": "/hanlon/api/v1/node/register",
        "facts.exclude": HANLON_EXCLUDE,
    },
}

_ALLOWED: Mapping[Kind, tuple[str, ...]] = {Kind.PROTECTED: PROTECTED, Kind.SETS: FACT_SETS}
_URI = re.compile(r"(https?)://(\[[0-9a-f:.]+\]|[a-z0-9_.\-]+)(?::([0-9]*))?(/[^\s\x00-\x1f\x7f]*)?", re.IGNORECASE)
_PATH = re.compile(r"/[^\s\x00-\x1f\x7f]*")
_WORD = re.compile(r"[A-Za-z0-9_][A-Za-z0-9._]{0,63}")
_FINGERPRINT = re.compile(r"(?:(?:sha256 )?fingerprint=)?([0-9a-f]{2}(?::?[0-9a-f]{2}){31})", re.IGNORECASE)
_STANDARD_PORTS = {"http": 80, "https": 443}


def parse_value(key: Key, raw: object, *, pushed: bool = False) -> Value:
    """Return `raw` in the form in which values of `key` are used and compared.

    `raw` comes from TOML or, with `pushed`, from JSON of a server, where an integer may also be written as a string of
    digits. Raises BadInput with value and range.
    """
    if key.kind is Kind.INTEGER:
        return _integer(key, raw, pushed)
    if key.kind is Kind.BOOLEAN and isinstance(raw, bool):
        return raw
    if key.kind in _ALLOWED or key.kind is Kind.NAMES:
        return _names(key, raw)
    if not isinstance(raw, str) or len(raw) > (10_000 if key.kind is Kind.PATTERN else TEXT_LIMIT):
        raise _wrong(key, raw)
    return _text(key, raw)


def _wrong(key: Key, raw: object) -> BadInput:
    if "://" in str(raw) and "@" in str(raw):  # not shown: what stands before the @ is somebody's password
        return BadInput(f"what is written there is not {key.range}")
    return BadInput(f"{show(raw)} is not {'in ' if key.kind is Kind.INTEGER else ''}{key.range}")


def _integer(key: Key, raw: object, pushed: bool) -> int:
    number: object = raw
    if pushed and isinstance(raw, str) and re.fullmatch(r"\s*-?[0-9]{1,9}\s*", raw):
        number = int(raw)
    if pushed and isinstance(raw, float) and raw.is_integer():
        number = int(raw)
    if not isinstance(number, int) or isinstance(number, bool) or not key.low <= number <= key.high:
        raise _wrong(key, raw)
    return number


def _names(key: Key, raw: object) -> tuple[str, ...]:
    if not isinstance(raw, (list, tuple)):
        raise _wrong(key, raw)
    allowed = _ALLOWED.get(key.kind)
    names: list[str] = []
    for item in cast("Sequence[object]", raw):
        if not isinstance(item, str) or (allowed and item not in allowed):
            only = f": only {', '.join(allowed)}" if allowed else ""
            raise BadInput(f"{show(item)} cannot stand in this list{only}")
        if is_pattern(item):
            compile_ruby(item[1:-1])
        names.append(item)
    return tuple(names)


def is_pattern(item: str) -> bool:
    """Tell whether an item of a list of names is a `/pattern/`."""
    return len(item) > 2 and item.startswith("/") and item.endswith("/")


def _text(key: Key, raw: str) -> str:
    if key.kind is Kind.PATTERN:
        compile_ruby(raw)
        return raw
    if key.kind is Kind.LEVEL:
        try:
            return journal.parse_level(raw)
        except BadInput:
            raise BadInput(f"{show(raw)} is not one of Logger::FATAL, ERROR, WARN, INFO, DEBUG") from None
    text = raw.strip()
    if key.kind is Kind.CHOICE and text in key.choices:
        return text
    if text == "" and key.kind is not Kind.CHOICE:
        return ""
    if key.kind in (Kind.PATH, Kind.LOCATION) and _PATH.fullmatch(text):
        return text
    if key.kind is Kind.WORD and _WORD.fullmatch(text):
        return text
    if key.kind is Kind.FINGERPRINT and (sum_ := _FINGERPRINT.fullmatch(text)):  # with what openssl says before it
        return sum_.group(1).replace(":", "").lower()
    match = _URI.fullmatch(text)
    if match is None or key.kind not in (Kind.URI, Kind.LOCATION, Kind.PROXY):
        raise _wrong(key, raw)
    if key.kind is Kind.PROXY and (match.group(1).lower() != "http" or match.group(4) not in (None, "/")):
        raise _wrong(key, raw)
    return _normal_uri(key, match)


def _normal_uri(key: Key, match: re.Match[str]) -> str:
    """Write scheme and host small, leave out a port that is the scheme's own, fill in one that was left empty."""
    scheme, host, port_text, path = match.group(1).lower(), match.group(2).lower(), match.group(3), match.group(4) or ""
    port = key.empty_port if port_text == "" else int(port_text or 0)
    if not 0 <= port <= 65_535:
        raise _wrong(key, match.group())
    shown = f":{port}" if port not in (0, _STANDARD_PORTS[scheme]) else ""
    return f"{scheme}://{host}{shown}{path if key.kind is Kind.LOCATION else path.rstrip('/')}"
