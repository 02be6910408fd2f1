"""The command line's side of the JSON API: one request, its JSON answer or one clear error."""

from __future__ import annotations

import base64
import getpass
import json
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Optional
from urllib.parse import quote, urlencode, urlsplit

from mkcore import files
from mkcore.errors import BadAnswer, BadInput, ServerRefused, Unreachable
from mkcore.http import Answer, exchange, user_agent
from mkcore.jsonfields import Json, get_str, parse_object

from .auth import SECRET_FILE, is_loopback, local_token

_LIMIT_BYTES = 512 << 20


@dataclass(frozen=True)
class Client:
    """Where the server is and how to be let in: a password file, else the data directory's secret, else a question."""

    server: str
    data: Path
    password_file: Optional[Path] = None

    def get(self, path: str, query: Optional[Mapping[str, str]] = None) -> dict[str, Json]:
        """GET a JSON object; `path` begins with /api. Raises Unreachable, BadAnswer, ServerRefused."""
        return self.send("GET", path + (f"?{urlencode(query)}" if query else ""))

    def send(self, method: str, path: str, body: Optional[Mapping[str, Json]] = None) -> dict[str, Json]:
        """Send a request with a JSON body and return the JSON object that comes back."""
        answer = self._exchange(method, path, body, self._credentials())
        if answer.status == 401 and self.password_file is None and sys.stdin.isatty():
            answer = self._exchange(method, path, body, _basic(getpass.getpass(f"Password of {self.server}: ")))
        if answer.status == 401:
            raise ServerRefused(f"{self.server}: wants its password, give --password-file", 401)
        try:
            made = parse_object(answer.body, self.server)
        except BadInput as error:
            raise BadAnswer(f"{self.server}: is that an mkserver? {error}") from error
        if answer.status == 400:
            raise BadInput(get_str(made, "error", default="refused"))
        if answer.status >= 400:
            raise ServerRefused(get_str(made, "error", default=f"status {answer.status}"), answer.status)
        return made

    def _exchange(self, method: str, path: str, body: Optional[Mapping[str, Json]], authorization: str) -> Answer:
        headers = {"User-Agent": user_agent("mkserver"), "Accept": "application/json"}
        if authorization:
            headers["Authorization"] = authorization
        data = None
        if body is not None:
            headers["Content-Type"] = "application/json"
            data = json.dumps(body).encode()
        uri = self.server.rstrip("/") + path
        try:
            return exchange(method, uri, headers=headers, body=data, deadline_s=60.0, limit_bytes=_LIMIT_BYTES)
        except Unreachable as error:
            raise Unreachable(f"{error}; does mkserver run there? (--server URL names another)") from error

    def _credentials(self) -> str:
        """An Authorization header, empty when there is nothing to show; the secret never goes to another machine."""
        if self.password_file is not None:
            return _basic(files.read_text(self.password_file, 4096).rstrip("\r\n"))
        if not is_loopback(urlsplit(self.server).hostname or ""):
            return ""
        try:
            secret = bytes.fromhex(files.read_text(self.data / SECRET_FILE, 4096).strip())
        except (OSError, ValueError):
            return ""
        return f"Bearer {local_token(secret)}"


def _basic(password: str) -> str:
    return "Basic " + base64.b64encode(f"mkserver:{password}".encode()).decode()


def node_path(name: str) -> str:
    """API path of a node that a person named."""
    return "/api/nodes/" + quote(name, safe="")
