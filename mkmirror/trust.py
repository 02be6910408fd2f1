"""What vouches for content: SHA256SUMS, its detached signature, and the keys that this machine trusts.

The layout is the one that systemd-sysupdate and importd read: in the folder of the files a `SHA256SUMS` as sha256sum
writes it, beside it `SHA256SUMS.gpg`. gpgv checks the signature. What it says is read from its status lines, never from
its text or its exit status: it ends with 0 for a signature by an expired key, and with 2 for a good signature beside
one that nobody knows.

Source: sha256sum(1), gpgv(1), GnuPG's doc/DETAILS for the status lines; RFC 9580 section 6 for ASCII armor;
systemd-sysupdate(8).
"""

from __future__ import annotations

import base64
import binascii
import enum
import hashlib
import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO, Optional
from urllib.parse import unquote

from mkcore import files, proc
from mkcore.errors import BadInput, ToolFailed, Untrusted
from mkmirror.names import is_name, show

SUMS = "SHA256SUMS"
SIGNATURE = "SHA256SUMS.gpg"
SUMS_LIMIT_BYTES = 4 << 20
SIGNATURE_LIMIT_BYTES = 64 << 10
KEY_LIMIT_BYTES = 1 << 20
KEY_FOLDERS = ("/usr/lib/mk/trust.d", "/etc/mk/trust.d")
KEY_ENDINGS = (".gpg", ".pgp", ".asc")
CREDENTIAL = "mk.trust"
GPGV_TIMEOUT_S = 30.0
FOLDER_NOTATION = "folder@mksuite.org"
"""In a signature: which folder below a mirror's base the sums are for, so that they count for no other one."""

_CHUNK_BYTES = 1 << 20
_LINE = re.compile(r"\\?([0-9A-Fa-f]{64}) [ *](.+)")
_ARMOR = re.compile(
    r"-----BEGIN PGP PUBLIC KEY BLOCK-----\s*\n(?:[!-9;-~]+: .*\n)*\s*\n(.*?)(?:\n=[A-Za-z0-9+/]{4})?\s*\n"
    r"-----END PGP PUBLIC KEY BLOCK-----",
    re.DOTALL,
)


class Verify(enum.Enum):
    """How much must vouch for content before it is used."""

    SIGNATURE = "signature"
    CHECKSUM = "checksum"


@dataclass(frozen=True)
class Signed:
    """A good signature: fingerprint of the primary key, its user id as the key has it, when it was made (Unix time).

    folders: what its notations say which folder below a mirror it is for, e.g. `sysext/x86_64`; none for any.
    """

    fingerprint: str
    user: str
    made_s: int
    folders: tuple[str, ...] = ()

    def require_for(self, path: str, where: str) -> None:
        """Raise Untrusted when the signature was made for another folder below a mirror than `path`."""
        if set(self.folders) - {path}:
            raise Untrusted(f"{where}: its sums were signed for the folder {show(self.folders[0])}")


def use_of(signed: Signed, path: str) -> str:
    """Return what a signature was used for, e.g. `FINGERPRINT sysext/x86_64`: the key and the folder below a mirror.

    The mirror's address is no part of it: one mirror has many spellings, and whoever replays old sums chooses one.
    """
    return f"{signed.fingerprint} {path}"


class _Block:
    """What gpgv said of one signature."""

    def __init__(self) -> None:
        self.words: dict[str, list[str]] = {}
        self.notations: list[list[str]] = []

    def take(self, word: str, rest: list[str]) -> None:
        """Take one status line; a word counts as it came first."""
        self.words.setdefault(word, rest)
        if word == "NOTATION_NAME":
            self.notations.append([" ".join(rest), ""])
        elif word == "NOTATION_DATA" and self.notations:
            self.notations[-1][1] += unquote(" ".join(rest))

    def signed(self) -> Optional[Signed]:
        """Return the signature when it is good and its key neither expired nor revoked."""
        valid = self.words.get("VALIDSIG", [])
        if "GOODSIG" not in self.words or self.problem() or len(valid) < 10:
            return None
        user = " ".join(self.words["GOODSIG"][1:])
        folders = tuple(value for name, value in self.notations if name == FOLDER_NOTATION)
        return Signed(valid[9], user, int(valid[2]) if re.fullmatch(r"[0-9]{1,11}", valid[2]) else 0, folders)

    def problem(self) -> str:
        """Say what is wrong with the signature in a few words; "" for nothing."""
        for word, text in (
            ("BADSIG", "the signature does not fit the content (key {})"),
            ("REVKEYSIG", "the key {} is revoked"),
            ("EXPKEYSIG", "the key {} has expired"),
            ("EXPSIG", "the signature has expired (key {})"),
            ("NO_PUBKEY", "the key {} is not trusted here"),
            ("ERRSIG", "the signature of the key {} cannot be checked"),
        ):
            if word in self.words:
                return text.format(show((self.words[word] or ["?"])[0]).strip("'"))
        return ""


def parse_status(text: str) -> Signed:
    """Read gpgv's status lines; return the first good signature by a valid key.

    A further signature by an unknown key is no harm (keys are changed so), one that does not fit the content is.
    Raises Untrusted with one line that says why nothing vouches for the content.
    """
    blocks: list[_Block] = []
    for line in text.splitlines():
        words = line.split(" ")
        if len(words) < 2 or words[0] != "[GNUPG:]":
            continue
        if words[1] == "NEWSIG" or not blocks:
            blocks.append(_Block())
        blocks[-1].take(words[1], words[2:])
    problems = [problem for problem in (block.problem() for block in blocks) if problem]
    good = [signed for signed in (block.signed() for block in blocks) if signed]
    if any("BADSIG" in block.words for block in blocks) or not good:
        raise Untrusted(problems[0] if problems else "it is no detached signature")
    return good[0]


def parse_sums(text: str, where: str = SUMS) -> dict[str, str]:
    """Parse a SHA256SUMS: file name -> 64 digits in lower case. Raises BadInput naming the line.

    Names have no folders; a name that comes twice with different sums is an error.
    """
    found: dict[str, str] = {}
    for number, line in enumerate(text.split("\n"), 1):
        line = line.rstrip("\r")
        if not line or line.startswith("#"):
            continue
        match = _LINE.fullmatch(line)
        name = match[2][2:] if match and match[2].startswith("./") else match[2] if match else ""
        if match is None or not is_sum_name(name):
            raise BadInput(f"not of the form 'SHA256  NAME': {show(line)}", f"{where}:{number}")
        if found.setdefault(name, match[1].lower()) != match[1].lower():
            raise BadInput(f"{name} has two different sums", f"{where}:{number}")
    return found


def is_sum_name(name: str) -> bool:
    """Tell whether a file of this name can stand in a SHA256SUMS; the epoch of a wheel's version has a `!`."""
    return is_name(name.replace("!", "")) and name not in (SUMS, SIGNATURE)


def build_sums(sums: Mapping[str, str]) -> str:
    """Build a SHA256SUMS, sorted by name, as `sha256sum --binary` writes it."""
    return "".join(f"{sums[name]} *{name}\n" for name in sorted(sums))


def digest_file(path: files.StrPath, algorithm: str = "sha256", moved: Optional[Callable[[int], None]] = None) -> str:
    """Return the digest of a file's content in hexadecimal; `moved` is told of the bytes as they are read.

    Raises OSError as open(2) does.
    """
    with open(path, "rb") as stream:
        return digest_stream(stream, algorithm, moved)


def digest_stream(stream: BinaryIO, algorithm: str = "sha256", moved: Optional[Callable[[int], None]] = None) -> str:
    """Return the digest of what is left of a stream, so that what was checked is what is used afterwards."""
    state = hashlib.new(algorithm, usedforsecurity=False)
    while True:
        data = stream.read(_CHUNK_BYTES)
        if not data:
            return state.hexdigest()
        state.update(data)
        if moved is not None:
            moved(len(data))


def digest_bytes(data: bytes) -> str:
    """Return the SHA-256 of `data` in hexadecimal."""
    return hashlib.sha256(data).hexdigest()


def require_sum(path: files.StrPath, name: str, sums: Mapping[str, str]) -> None:
    """Raise Untrusted when `sums` has no sum for `name` or another one than the file at `path`; OSError as open(2)."""
    wanted = sums.get(name)
    if wanted is None:
        raise Untrusted(f"{name}: {SUMS} has no sum for it")
    found = digest_file(path)
    if found != wanted:
        raise Untrusted(f"{name}: its SHA-256 is {found[:16]}…, {SUMS} says {wanted[:16]}…")


def key_files(folders: Iterable[files.StrPath], credentials: Optional[Path] = None) -> list[Path]:
    """Return the files with trusted keys: *.gpg, *.pgp and *.asc of the folders, sorted, and credentials `mk.trust*`.

    A folder that is not there has none. As in other folders of configuration a later file of the same name replaces
    an earlier one, and an empty one or a link to /dev/null takes a key away.
    """
    found: dict[str, Path] = {}
    for folder in map(Path, folders):
        if folder.is_dir():
            found.update({path.name: path for path in sorted(folder.iterdir()) if path.suffix in KEY_ENDINGS})
    if credentials is not None and credentials.parts and credentials.is_dir():
        found.update({f"{path}": path for path in sorted(credentials.glob(f"{CREDENTIAL}*"))})
    return [path for _, path in sorted(found.items()) if path.is_file() and path.stat().st_size]


def usable_keys(keys: Iterable[Path], complain: Callable[[str], None]) -> list[Path]:
    """Return the files whose keys can be used; `complain` hears in one line of each that cannot be read or is none.

    One such file shall not keep the other keys from counting.
    """
    found: list[Path] = []
    for key in keys:
        problem = _key_problem(key)
        if problem:
            complain(f"{problem}; the keys in it do not count")
        else:
            found.append(key)
    return found


def _key_problem(key: Path) -> str:
    try:
        dearmor(files.read_bytes(key, KEY_LIMIT_BYTES), str(key))
    except BadInput as error:
        return str(error)
    except OSError as error:
        return f"{key}: {error.strerror}"
    return ""


def dearmor(data: bytes, where: str) -> bytes:
    """Return keys in binary form, which is the only one that gpgv reads; raise BadInput for what is no key."""
    if not data.lstrip().startswith(b"-----BEGIN"):
        if not data or not (data[0] & 0x80 or data[8:12] == b"KBXf"):
            raise BadInput("is no OpenPGP key", where)
        return data
    text = data.decode("utf-8", "replace").replace("\r", "")
    blocks = [match[1] for match in _ARMOR.finditer(text)]
    try:
        keys = b"".join(base64.b64decode("".join(block.split()), validate=True) for block in blocks)
    except (binascii.Error, ValueError):
        raise BadInput("is a damaged OpenPGP key", where) from None
    if not keys:
        raise BadInput("has no OpenPGP public key", where)
    return keys


def verify_signature(sums: Path, signature: Path, keys: Sequence[Path], work: Path) -> Signed:
    """Check a detached signature with gpgv; return who signed.

    work: a folder of this process, where keys are put in the form that gpgv reads. Raises Untrusted naming the file
    and the reason (no key here, no signature, not by a trusted key, expired, changed content), BadInput for a damaged
    key, ToolFailed when gpgv cannot be run.
    """
    if not keys:
        raise Untrusted(f"{sums.name}: no key is trusted here; put one into {KEY_FOLDERS[1]}")
    if not signature.is_file():
        raise Untrusted(f"{sums.name}: it is not signed")
    command = ["gpgv", "--status-fd", "1", "--homedir", str(work.absolute())]
    made: list[Path] = []
    try:
        for number, key in enumerate(keys):
            ring = work.absolute() / f"trusted-{number}.gpg"
            files.write_atomic(ring, dearmor(files.read_bytes(key, KEY_LIMIT_BYTES), str(key)), mode=0o600)
            made.append(ring)
            command += ["--keyring", str(ring)]
        finished = proc.run([*command, str(signature), str(sums)], timeout_s=GPGV_TIMEOUT_S)
    finally:
        for ring in made:
            files.remove(ring)
    if finished.outcome not in (proc.Outcome.OK, proc.Outcome.FAILED):
        raise ToolFailed(finished.describe())
    try:
        return parse_status(finished.stdout.decode("utf-8", "replace"))
    except Untrusted as error:
        raise Untrusted(f"{signature.name}: {error}") from None


def read_sums(folder: Path, mode: Verify, keys: Sequence[Path], work: Path) -> tuple[dict[str, str], Optional[Signed]]:
    """Return the sums of a folder once its signature vouches for them, and who signed (None for CHECKSUM).

    Raises Untrusted when there are no sums or nothing vouches for them, BadInput for damaged ones, OSError.
    """
    sums = folder / SUMS
    try:
        data = files.read_bytes(sums, SUMS_LIMIT_BYTES)
    except FileNotFoundError:
        raise Untrusted(f"{folder} has no {SUMS}") from None
    if mode is Verify.CHECKSUM:
        return parse_sums(data.decode("utf-8", "replace"), str(sums)), None
    copy = work / SUMS  # what is checked is what is read, whoever changes the folder meanwhile
    try:
        files.write_atomic(copy, data, mode=0o600)
        signed = verify_signature(copy, folder / SIGNATURE, keys, work)
    except Untrusted as error:
        raise Untrusted(f"{folder}: {error}") from None
    finally:
        files.remove(copy)
    return parse_sums(data.decode("utf-8", "replace"), str(sums)), signed
