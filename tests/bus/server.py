"""The server of the bus tests: a WireServer with the originals' envelopes, whose answers are changed while it runs."""

from __future__ import annotations

import json
from typing import Any, Optional
from urllib.parse import parse_qs, urlsplit

from tests.fakes import Play, Recorded, WireServer, json_answer, parse_request

HANLON = "/hanlon/api/v1/node"
RAZOR = "/razor/api/node"


def answer(body: Any, status: str = "200 OK", *headers: str) -> bytes:
    """A JSON answer."""
    return json_answer(json.dumps(body).encode(), status, headers)


class Server:
    """Answers as a Hanlon or Razor server; `command`, `config` and `play` are what it says from now on.

    `play`, when set, answers every checkin instead (garbage, silence, ...); `refusals` are answers for registrations.
    """

    def __init__(self, dialect: str = "hanlon") -> None:
        self.dialect = dialect
        self.base = ""
        """Path up to `/node` where it is not the dialect's own."""
        self.command = "acknowledge"
        self.commands: list[str] = []
        self.config: Optional[dict[str, Any]] = {"mk_checkin_interval": 3600, "mk_checkin_skew": 0}
        self.play: Optional[Play] = None
        self.refusals: list[Play] = []
        self.wire = WireServer(self._script)

    def __enter__(self) -> Server:
        self.wire.__enter__()
        return self

    def __exit__(self, *_: object) -> None:
        self.wire.__exit__(None, None, None)

    @property
    def uri(self) -> str:
        """Scheme, host and port."""
        return self.wire.uri

    def _script(self, raw: bytes) -> Play:
        request = parse_request(raw)
        prefix = f"{self.base}/node" if self.base else HANLON if self.dialect == "hanlon" else RAZOR
        if not request.target.startswith(prefix):
            return answer({}, "404 Not Found")
        if request.method == "POST":
            return self.refusals.pop(0) if self.refusals else self._taken()
        if "last_state" not in request.target:
            return self._missing()
        if self.play is not None:
            return self.play
        command = self.commands.pop(0) if self.commands else self.command
        body: dict[str, Any] = {"errcode": 0, "response": {"command_name": command, "command_param": {}}}
        if self.config is not None:
            body["client_config"] = self.config
        return answer(body)

    def _taken(self) -> bytes:
        return answer({"errcode": 0, "response": {"@uuid": "63XAZ7brS9gXUoL6PSz2wk"}}, "201 Created")

    def _missing(self) -> bytes:
        if self.dialect == "razor":
            return answer({"std_err_code": 114, "result": "Must Provide Hardware IDs[hw_id]"}, "400 Bad Request")
        result = {"code": 400, "type": "ProjectHanlon::Error::Slice::MissingArgument", "description": "missing"}
        return answer({"response": {"result": result}}, "400 Bad Request")

    def requests(self) -> list[Recorded]:
        """Every request so far."""
        return [parse_request(raw) for raw in list(self.wire.requests)]

    def checkins(self) -> list[dict[str, list[str]]]:
        """The query of every checkin so far."""
        found = [each.target for each in self.requests() if each.method == "GET" and "last_state" in each.target]
        return [parse_qs(urlsplit(target).query, keep_blank_values=True) for target in found]

    def registrations(self) -> list[Recorded]:
        """Every registration so far."""
        return [each for each in self.requests() if each.method == "POST"]

    def registered_facts(self, number: int = -1) -> dict[str, Any]:
        """The facts of one registration of Hanlon's form."""
        return dict(json.loads(self.registrations()[number].body)["attributes_hash"])
