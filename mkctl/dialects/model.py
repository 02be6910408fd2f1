"""What a dialect is: the words that one kind of server speaks, as data in and data out.

The controller knows requests and replies; how they look on the wire is the dialect's business alone. A dialect neither
opens connections nor keeps state, so each one is tested against recorded bytes (protocol sections 3.2 to 3.9).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Callable, Optional

if TYPE_CHECKING:  # mkcore.http brings requests in; the verbs for people must start without it
    from mkcore.http import Answer
    from mkcore.jsonfields import Json
    from mkctl.identity import Identity


@dataclass(frozen=True)
class Request:
    """One HTTP request, ready for `mkcore.http.exchange(method, uri, headers=headers, body=body)`."""

    method: str
    uri: str
    headers: Mapping[str, str] = field(default_factory=dict[str, str])
    body: Optional[bytes] = None


@dataclass(frozen=True)
class Reply:
    """The answer to a checkin whose `errcode` was 0.

    `command` is the server's word, 1 to 64 printable characters, known to us or not. `config` is `client_config` as
    sent (None when the answer carried none); its values are not validated here.
    """

    command: str
    config: Optional[dict[str, Json]] = None


@dataclass(frozen=True)
class Registration:
    """An accepted registration (any 2xx, protocol 3.5).

    `node` is the server's id of the node, "" where the answer names none. `remark` is "" or one line about an answer
    that is not the usual envelope; the registration counts nevertheless.
    """

    node: str = ""
    remark: str = ""


@dataclass(frozen=True)
class Routes:
    """Absolute URIs of the two calls at one server, e.g. `http://192.0.2.1:8026/razor/api/node/checkin`."""

    checkin: str
    register: str


@dataclass(frozen=True)
class Dialect:
    """One kind of server. All functions are pure.

    `build_checkin(checkin_uri, identity, first_checkin, last_state) -> Request`; last_state is `idle` for every server.
    `parse_checkin(answer) -> Reply` raises ServerRefused (the server's own words) or BadAnswer (what is wrong, where).
    `build_registration(register_uri, identity, facts, last_state) -> Request`; facts as `mkctl.registration` made them.
    `parse_registration(answer) -> Registration` raises ServerRefused.
    """

    name: str
    base_path: str
    build_checkin: Callable[[str, Identity, bool, str], Request]
    parse_checkin: Callable[[Answer], Reply]
    build_registration: Callable[[str, Identity, Mapping[str, Json], str], Request]
    parse_registration: Callable[[Answer], Registration]

    @property
    def checkin_path(self) -> str:
        """Path of the checkin at a stock server, e.g. `/razor/api/node/checkin`."""
        return self.base_path + "/node/checkin"

    @property
    def register_path(self) -> str:
        """Path of the registration at a stock server."""
        return self.base_path + "/node/register"
