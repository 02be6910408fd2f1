"""The one password that guards page, API and command line; never the node routes, whose clients know none.

Kept as a scrypt hash (RFC 7914) in the data directory, mode 0600. Beside it lies a secret of the server's own, of which
the token of the local command line and the forms' tokens are made: who may read the data directory needs no password.
Without a password only this machine is let in, and only by a loopback name, so that no web page can reach the server by
pointing its own name at 127.0.0.1.
"""

from __future__ import annotations

import base64
import hashlib
import hmac
import ipaddress
import re
import secrets
import threading
import time
from pathlib import Path
from typing import Callable, Optional

from mkcore import files
from mkcore.errors import BadInput
from mkcore.jsonfields import get_int, get_str

_COST, _BLOCK, _PARALLEL = 1 << 15, 8, 1
_MEMORY_BYTES = 64 << 20
_FORM_AGE_S = 12 * 3600
_LOOPBACK_HOST = re.compile(r"(localhost|127\.0\.0\.1|\[::1\])(:[0-9]{1,5})?\Z", re.IGNORECASE)

PASSWORD_FILE = "password"
SECRET_FILE = "secret"


def is_loopback(address: str) -> bool:
    """Whether an address, as text, belongs to this machine alone; a name does not."""
    try:
        return ipaddress.ip_address(address.strip("[]")).is_loopback
    except ValueError:
        return address == "localhost"


def is_loopback_host(host: str) -> bool:
    """Whether a Host header names this machine by a loopback name."""
    return bool(_LOOPBACK_HOST.match(host))


def _hash(password: str, salt: bytes, cost: int) -> bytes:
    return hashlib.scrypt(password.encode(), salt=salt, n=cost, r=_BLOCK, p=_PARALLEL, maxmem=_MEMORY_BYTES, dklen=32)


def set_password(data: Path, password: str) -> None:
    """Write the hash of a password of at least 8 characters, readable by the directory's owner. Raises BadInput."""
    if len(password) < 8:
        raise BadInput("password: at least 8 characters are needed")
    salt = secrets.token_bytes(16)
    kept = {"cost": _COST, "salt": salt.hex(), "hash": _hash(password, salt, _COST).hex()}
    files.write_json(data / PASSWORD_FILE, kept, mode=0o600)
    files.give_to_owner_of(data, data / PASSWORD_FILE)


def remove_password(data: Path) -> None:
    """Go back to no password: loopback alone."""
    files.remove(data / PASSWORD_FILE)


def has_password(data: Path) -> bool:
    """Whether a password is set in this data directory."""
    return (data / PASSWORD_FILE).exists()


def read_secret(data: Path) -> bytes:
    """The server's own secret, made when it is not there yet."""
    path = data / SECRET_FILE
    try:
        return bytes.fromhex(files.read_bytes(path).decode("ascii", "replace").strip())
    except (FileNotFoundError, ValueError):
        made = secrets.token_bytes(32)
        files.write_atomic(path, made.hex().encode() + b"\n", mode=0o600)
        files.give_to_owner_of(data, path)
        return made


def local_token(secret: bytes) -> str:
    """What the command line shows instead of the password when it may read the data directory."""
    return hmac.new(secret, b"command line", hashlib.sha256).hexdigest()


class Gate:
    """Decides who is let in. Wrong passwords are counted for each address: ten in a minute, then it must wait."""

    def __init__(self, data: Path, clock: Callable[[], float] = time.time) -> None:
        self._data = data
        self._clock = clock
        self._secret = read_secret(data)
        self._known = ""
        self._failures: dict[str, list[float]] = {}
        self._lock = threading.Lock()

    @property
    def has_password(self) -> bool:
        """Whether a password is set now."""
        return has_password(self._data)

    def is_open_to(self, address: str, host: str) -> bool:
        """Whether somebody without any credentials is let in: no password set, same machine, loopback name."""
        return not self.has_password and is_loopback(address) and is_loopback_host(host)

    def must_wait(self, address: str) -> bool:
        """Whether this address gave too many wrong passwords in the last minute."""
        with self._lock:
            recent = [at for at in self._failures.get(address, []) if self._clock() - at < 60]
            return len(recent) >= 10

    def admits(self, authorization: str, address: str) -> bool:
        """Whether an Authorization header holds the password (Basic, any user name) or the local token (Bearer)."""
        scheme, _, rest = authorization.partition(" ")
        if scheme.lower() == "bearer":
            return hmac.compare_digest(rest.strip().encode(), local_token(self._secret).encode())
        if scheme.lower() != "basic" or not self.has_password:
            return False
        try:
            password = base64.b64decode(rest.strip(), validate=True).decode("utf-8").partition(":")[2]
        except (ValueError, UnicodeDecodeError):
            return False
        return self._check(password, address)

    def _check(self, password: str, address: str) -> bool:
        """Compare with the stored hash; a right password is remembered, keyed, so that polling costs nothing."""
        kept = files.read_object(self._data / PASSWORD_FILE, 4096)
        digest = get_str(kept, "hash")
        keyed = hmac.new(self._secret, f"{digest} {password}".encode(), hashlib.sha256).hexdigest()
        with self._lock:
            if self._known == keyed:
                return True
            salt = bytes.fromhex(get_str(kept, "salt"))
            right = hmac.compare_digest(_hash(password, salt, get_int(kept, "cost", low=2)).hex(), digest)
            if right:
                self._known = keyed
                return True
            recent = [at for at in self._failures.get(address, []) if self._clock() - at < 60]
            self._failures[address] = [*recent, self._clock()][-10:]
            if len(self._failures) > 1000:
                self._failures.pop(next(iter(self._failures)))
            return False

    def form_token(self, authorization: str, age: int = 0) -> str:
        """Token for a form shown to somebody with these credentials; valid for 12 to 24 hours."""
        window = int(self._clock() // _FORM_AGE_S) - age
        return hmac.new(self._secret, f"form {window} {authorization}".encode(), hashlib.sha256).hexdigest()

    def accepts_form(self, token: Optional[str], authorization: str) -> bool:
        """Whether a form's token was made here, not long ago, for the same credentials."""
        sent = (token or "").encode()
        return any(hmac.compare_digest(sent, self.form_token(authorization, age).encode()) for age in (0, 1))
