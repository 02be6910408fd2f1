"""What mkctl remembers over its own restarts: first-checkin flag, dialect of each server, last registration.

Two files in /run/mkctl, of which mkctl is the only writer; they live as long as the boot (design: nothing in /tmp).
Both are written atomically and before the effect that depends on them: a kill at any moment loses nothing. A file
that is damaged is no reason to stop (protocol B16, a missing flag file stopped the checkins): it gives defaults that
make the node register once more, which every server takes, and one problem for the caller to report.

    state.json             {"version": 1, "first_checkin": false, "dialects": {"http://10.0.0.1:8026": "hanlon"},
                            "registered": {"digest": "9f86...", "server": "http://10.0.0.1:8026",
                                           "boottime_usec": 81230000}}
    registered-facts.json  {"server": "http://10.0.0.1:8026", "facts": {"hostname": "mk0123456789ab", ...}}
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Optional

from mkcore.errors import BadInput
from mkcore.files import read_object, write_json
from mkcore.jsonfields import Json, get_bool, get_int, get_object, get_str
from mkcore.paths import Paths

VERSION = 1
MODE = 0o640
FACTS_LIMIT_BYTES = 16 << 20
STATE_LIMIT_BYTES = 1 << 20
MAX_USEC = 2**63 - 1


@dataclass(frozen=True)
class Registration:
    """The last registration that a server took: digest of the facts, server's URI, CLOCK_BOOTTIME in microseconds."""

    digest: str
    server: str
    boottime_usec: int


@dataclass(frozen=True)
class Saved:
    """What state.json holds. `first_checkin` is true until the first acknowledged registration or `acknowledge` of
    this boot."""

    first_checkin: bool = True
    dialects: Mapping[str, str] = field(default_factory=dict[str, str])
    registered: Optional[Registration] = None

    def with_dialect(self, server: str, dialect: str) -> Saved:
        """The same state, with the dialect that was found to be spoken at `server`."""
        return replace(self, dialects={**self.dialects, server: dialect})


def parse_saved(body: dict[str, Json], where: str = "state.json") -> Saved:
    """Parse the content of state.json. Raises BadInput naming the key."""
    get_int(body, "version", where=where, low=VERSION, high=VERSION)
    dialects = get_object(body, "dialects", default={}, where=where)
    registered = get_object(body, "registered", default={}, where=where)
    return Saved(
        first_checkin=get_bool(body, "first_checkin", where=where),
        dialects={uri: get_str(dialects, uri, where=f"{where}: dialects") for uri in dialects},
        registered=_parse_registration(registered, f"{where}: registered") if registered else None,
    )


def _parse_registration(body: dict[str, Json], where: str) -> Registration:
    return Registration(
        digest=get_str(body, "digest", where=where),
        server=get_str(body, "server", where=where),
        boottime_usec=get_int(body, "boottime_usec", where=where, low=0, high=MAX_USEC),
    )


def build_saved(saved: Saved) -> dict[str, Json]:
    """Build the JSON value of state.json; the inverse of parse_saved."""
    body: dict[str, Json] = {"version": VERSION, "first_checkin": saved.first_checkin, "dialects": dict(saved.dialects)}
    if saved.registered is not None:
        body["registered"] = {
            "digest": saved.registered.digest,
            "server": saved.registered.server,
            "boottime_usec": saved.registered.boottime_usec,
        }
    return body


class Memory:
    """The two files in `paths.run_mkctl`, a directory that systemd makes; they come into being when first written."""

    def __init__(self, paths: Paths) -> None:
        self.paths = paths

    def load(self) -> tuple[Saved, str]:
        """Read state.json: (state, problem in one line or ""). Never raises for what the file holds."""
        path = self.paths.state
        try:
            return parse_saved(read_object(path, STATE_LIMIT_BYTES), str(path)), ""
        except FileNotFoundError:
            # Without any file this is the node's first start; with status.json there was one, and its state is lost.
            lost = self.paths.status.exists()
            return Saved(), f"{path}: the file is gone" if lost else ""
        except (BadInput, OSError) as error:
            return Saved(), _one_line(error, path)

    def store(self, saved: Saved) -> None:
        """Write state.json. Raises OSError."""
        write_json(self.paths.state, build_saved(saved), mode=MODE)

    def is_stored(self) -> bool:
        """Tell whether state.json is there; somebody may have deleted it under a running mkctl."""
        return self.paths.state.exists()

    def load_facts(self, server: str) -> tuple[dict[str, Json], str]:
        """Read the facts that `server` took last: (facts, problem or ""). Without a file, or for another server: no
        facts."""
        path = self.paths.registered_facts
        try:
            body = read_object(path, FACTS_LIMIT_BYTES)
            known = get_str(body, "server", where=str(path))
            facts = get_object(body, "facts", where=str(path))
        except FileNotFoundError:
            return {}, ""
        except (BadInput, OSError) as error:
            return {}, _one_line(error, path)
        return (facts if known == server else {}), ""

    def store_facts(self, server: str, facts: Mapping[str, Json]) -> None:
        """Write registered-facts.json. Raises OSError."""
        write_json(self.paths.registered_facts, {"server": server, "facts": dict(facts)}, mode=MODE)


def _one_line(error: Exception, path: Path) -> str:
    """An error as one line that names the file; OSError prints its own path, BadInput names where it was found."""
    text = str(error).replace("\n", " ")
    return text if str(path) in text else f"{path}: {text}"
