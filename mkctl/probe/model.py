"""The facts file: what mk-facts writes and every other process reads.

The file is the probe's whole interface. The probe runs as root and must not be reachable from the network side, so
there is no bus name, no socket, no reply: mkctl reads this file and starts the unit when it wants it younger. The
module imports nothing heavy, because the commands for people read the file too.

    {"version": 1, "generation": 3, "complete": true, "boottime_usec": 81230000, "udev_nsec": 0, "uevent_seqnum": 1840,
     "collectors": {"lshw": {"status": "ok", "duration_ms": 912, "error": "", "facts": ["mk_hw_nic_count", ...],
                             "structured": {}, "inventory": {"bmc": {...}}}},
     "facts": {"hostname": "mk0123456789ab", "is_virtual": false, "processorcount": 4, "mk_hw_nic_count": "2"}}

Fact values have the types of Facter 2.4 (protocol 6.8); the flat `mk_hw_*` facts are strings (protocol 6.6). Dialects
convert them. Structured facts (Facter 4) and the inventory stand with the collector that brought them; `structured` and
`inventory` of FactsFile join them. Clock: CLOCK_BOOTTIME, which goes on during suspend and never jumps when NTP sets
the wall clock.
"""

from __future__ import annotations

import enum
from collections.abc import Collection, Iterable, Mapping
from typing import Any, NamedTuple

from mkcore.errors import BadInput
from mkcore.jsonfields import Json, get_bool, get_int, get_object, get_str, get_strings, parse_object

VERSION = 1
INVENTORY_VERSION = 1
CUSTOM = "custom"
FILE_NAME = "facts.json"
LIMIT_BYTES = 16 << 20
MAX_COUNT = 2**63 - 1


class Status(enum.Enum):
    """How the last run of one collector went; before the first of this boot `PENDING`, during it `RUNNING`."""

    PENDING = "pending"
    RUNNING = "running"
    OK = "ok"
    FAILED = "failed"
    TIMED_OUT = "timed_out"
    MISSING = "missing"


class CollectorState(NamedTuple):
    """One collector: last status, duration, one line of error, and the names of the facts that came from it.

    error: "" when all is well; together with `OK` a remark (what had to be left out). After a run that failed, `facts`
    still names those of the last good run of this boot, which stay in the file; structured and inventory likewise.
    """

    status: Status
    duration_ms: int = 0
    error: str = ""
    facts: tuple[str, ...] = ()
    structured: Mapping[str, Json] = {}
    inventory: Mapping[str, Json] = {}


class FactsFile(NamedTuple):
    """The content of facts.json.

    generation: number of finished collections of this boot; 0 while the first is under way. What is not awaited (the
        LLDP listener) makes one more when it brought something new.
    complete: every awaited collector has ended once since boot, well or not; registration needs it. Never goes back to
        false.
    boottime_usec: CLOCK_BOOTTIME when the last finished collection ended, 0 before.
    uevent_seqnum: the kernel's uevent number that the facts belong to: read before that collection began. A larger
        number in /sys/kernel/uevent_seqnum may mean that hardware came or went since (`uevents.is_newer`).
    udev_nsec: when udev's database had changed last before that collection, ns since the epoch; 0 without udev.
    listened: what is not awaited has run in this boot, or has begun to.
    """

    generation: int = 0
    complete: bool = False
    boottime_usec: int = 0
    uevent_seqnum: int = 0
    udev_nsec: int = 0
    collectors: Mapping[str, CollectorState] = {}
    facts: Mapping[str, Json] = {}
    listened: bool = False

    @property
    def structured(self) -> dict[str, Json]:
        """Facter 4's structured facts of all collectors."""
        return join_trees(state.structured for state in self.collectors.values())

    @property
    def inventory(self) -> dict[str, Json]:
        """The inventory document of all collectors, of the form that `mkctl facts --schema` prints."""
        document: dict[str, Json] = {"schema_version": INVENTORY_VERSION}
        document.update(join_trees(state.inventory for state in self.collectors.values()))
        return document

    def without(self, parts: Collection[str]) -> FactsFile:
        """The same with empty `parts` ("structured", "inventory") of each collector, for who needs memory more."""
        empty: dict[str, Any] = {part: {} for part in parts}
        slim = {name: state._replace(**empty) for name, state in self.collectors.items()}
        return self._replace(collectors=slim) if empty else self

    @property
    def custom_names(self) -> set[str]:
        """Names of the facts that the site's own files and programs gave."""
        named = (state.facts for name, state in self.collectors.items() if name.split(":")[0] == CUSTOM)
        return {name for names in named for name in names}


def join_trees(parts: Iterable[Mapping[str, Json]]) -> dict[str, Json]:
    """Join JSON objects key by key, objects in objects too; of two other values the later one wins."""
    joined: dict[str, Json] = {}
    for part in parts:
        for key, value in part.items():
            before = joined.get(key)
            if isinstance(before, dict) and isinstance(value, dict):
                joined[key] = join_trees((before, value))
            else:
                joined[key] = value
    return joined


def parse_facts_file(data: bytes, where: str = FILE_NAME) -> FactsFile:
    """Parse the content of facts.json. Raises BadInput naming the key; a version other than 1 is bad input too."""
    body = parse_object(data, where)
    get_int(body, "version", where=where, low=VERSION, high=VERSION)
    states = get_object(body, "collectors", where=where)
    collectors = {name: _parse_state(states, name, f"{where}: collectors") for name in states}
    return FactsFile(
        generation=get_int(body, "generation", where=where, low=0, high=MAX_COUNT),
        complete=get_bool(body, "complete", where=where),
        boottime_usec=get_int(body, "boottime_usec", where=where, low=0, high=MAX_COUNT),
        uevent_seqnum=get_int(body, "uevent_seqnum", where=where, low=0, high=MAX_COUNT),
        udev_nsec=get_int(body, "udev_nsec", default=0, where=where, low=0, high=MAX_COUNT),
        listened=get_bool(body, "listened", default=False, where=where),
        collectors=collectors,
        facts=get_object(body, "facts", where=where),
    )


def _parse_state(states: dict[str, Json], name: str, where: str) -> CollectorState:
    state = get_object(states, name, where=where)
    where = f"{where}.{name}"
    text = get_str(state, "status", where=where)
    if text not in {status.value for status in Status}:
        raise BadInput(f"{text!r} is not a status of a collector", f"{where}.status")
    return CollectorState(
        status=Status(text),
        duration_ms=get_int(state, "duration_ms", default=0, where=where, low=0, high=MAX_COUNT),
        error=get_str(state, "error", default="", where=where),
        facts=tuple(get_strings(state, "facts", default=[], where=where)),
        structured=get_object(state, "structured", default={}, where=where),
        inventory=get_object(state, "inventory", default={}, where=where),
    )


def build_facts_file(content: FactsFile) -> dict[str, Json]:
    """Build the JSON value of facts.json; the inverse of parse_facts_file."""
    collectors: dict[str, Json] = {}
    for name, state in content.collectors.items():
        collectors[name] = {
            "status": state.status.value,
            "duration_ms": state.duration_ms,
            "error": state.error,
            "facts": list(state.facts),
            "structured": dict(state.structured),
            "inventory": dict(state.inventory),
        }
    return {
        "version": VERSION,
        "generation": content.generation,
        "complete": content.complete,
        "boottime_usec": content.boottime_usec,
        "uevent_seqnum": content.uevent_seqnum,
        "udev_nsec": content.udev_nsec,
        "listened": content.listened,
        "collectors": collectors,
        "facts": dict(content.facts),
    }
