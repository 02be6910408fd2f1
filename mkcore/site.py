"""The site's own configuration: TOML files and credentials, read without ever failing.

Later beats earlier: /usr/lib/mk/mk.toml, /etc/mk/mk.toml, /etc/mk/mk.toml.d/*.toml by name, the credential `mk.toml`
(the same language), the credential `mk.server` (the server's address alone, which HOST and HOST:PORT are, too). What
cannot be used is left out, one line per problem with file and line, and the rest counts: a bad configuration never
stops a service (defect B56).
"""

from __future__ import annotations

import enum
import re
import sys
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import cast

from mkcore import files
from mkcore.errors import BadInput
from mkcore.keys import BY_NAME, KEYS, Value, parse_value
from mkcore.paths import Paths

SERVER_PORT = 8026
"""The port of a server that is named without one, as the historic servers have it (protocol 1.2)."""
_LIMIT_BYTES = 256 << 10
_SECTIONS = frozenset(key.name.split(".")[0] for key in KEYS)


class Source(enum.IntEnum):
    """Where a value of the site comes from; a higher one beats a lower one."""

    SHIPPED = 1
    ADMIN = 2
    CREDENTIAL = 3


@dataclass
class Site:
    """What the site configures: per key its value, file and source; and what could not be used.

    unusable: keys whose last word was refused, with what was wrong, for whom silence would be another setting.
    """

    values: dict[str, Value] = field(default_factory=dict[str, Value])
    origins: dict[str, str] = field(default_factory=dict[str, str])
    sources: dict[str, Source] = field(default_factory=dict[str, Source])
    problems: list[str] = field(default_factory=list[str])
    unusable: dict[str, str] = field(default_factory=dict[str, str])


def read_site(paths: Paths) -> Site:
    """Read the site's configuration; problems are in the result, nothing is raised."""
    site = Site()
    _take_file(site, paths.lib / "mk.toml", Source.SHIPPED)
    _take_file(site, paths.etc / "mk.toml", Source.ADMIN)
    for path in _drop_ins(site, paths.etc / "mk.toml.d"):
        _take_file(site, path, Source.ADMIN)
    if paths.credentials != Path():
        _take_file(site, paths.credentials / "mk.toml", Source.CREDENTIAL)
        _take_server_credential(site, paths.credentials / "mk.server")
    return site


def _drop_ins(site: Site, directory: Path) -> list[Path]:
    try:
        return sorted(path for path in directory.iterdir() if path.name.endswith(".toml") and path.name[0] != ".")
    except FileNotFoundError:
        return []
    except OSError as error:
        site.problems.append(f"{directory}: {error.strerror}")
        return []


def _read(site: Site, path: Path) -> str:
    """Return the text of a file, "" when there is none or it cannot be read (which is a problem, unlike absence)."""
    try:
        return files.read_bytes(path, _LIMIT_BYTES).decode("utf-8")
    except FileNotFoundError:
        return ""
    except UnicodeDecodeError as error:
        site.problems.append(f"{path}: not UTF-8 at byte {error.start}; the file is left out")
    except OSError as error:
        site.problems.append(f"{path}: {error.strerror}")
    except BadInput as error:
        site.problems.append(str(error))
    return ""


def _take_file(site: Site, path: Path, source: Source) -> None:
    text = _read(site, path)
    try:
        document = parse_toml(text)
    except BadInput as error:
        site.problems.append(f"{path}: {error}; the file is left out")
        return
    for section, table in document.items():
        if section not in _SECTIONS or not isinstance(table, dict):
            site.problems.append(f"{path}: line {_line(text, section, '')}: there is no section [{section}]")
            continue
        for name, raw in cast("dict[str, object]", table).items():
            _take_value(site, path, source, text, f"{section}.{name}", raw)


def _take_value(site: Site, path: Path, source: Source, text: str, name: str, raw: object) -> None:
    section, leaf = name.split(".", 1)
    key = BY_NAME.get(name)
    try:
        if key is None:
            raise BadInput("there is no such key")
        value = parse_value(key, raw)
    except BadInput as error:
        problem = f"{path}: line {_line(text, section, leaf)}: {name}: {error}"
        site.problems.append(problem)
        site.unusable[name] = problem
        return
    _set(site, name, value, f"credential {path.name}" if source is Source.CREDENTIAL else str(path), source)


def _set(site: Site, name: str, value: Value, origin: str, source: Source) -> None:
    site.unusable.pop(name, None)
    site.values[name] = value
    site.origins[name] = origin
    site.sources[name] = source


def _take_server_credential(site: Site, path: Path) -> None:
    text = _read(site, path).strip()
    if not text:
        return
    if "://" not in text:  # `192.0.2.1`, `mk.example:8080`, `2001:db8::1`
        text = f"[{text}]" if text.count(":") > 1 and "[" not in text else text
        text = f"http://{text}" if re.search(r"[^:]:[0-9]+$|/", text) else f"http://{text}:{SERVER_PORT}"
    try:
        value = parse_value(BY_NAME["server.uri"], text)
    except BadInput as error:
        site.problems.append(f"credential {path.name}: {error}")
        site.unusable["server.uri"] = site.problems[-1]
        return
    _set(site, "server.uri", value, f"credential {path.name}", Source.CREDENTIAL)


def parse_toml(text: str) -> Mapping[str, object]:
    """Parse TOML; raise BadInput that names line and column."""
    if sys.version_info >= (3, 11):  # only while a file is read: most starts have none
        import tomllib as toml
    else:
        import tomli as toml
    try:
        return toml.loads(text)
    except toml.TOMLDecodeError as error:
        match = re.search(r"(.*?) \(at (?:line (\d+), column (\d+)|end of document)\)", str(error))
        if match is None:
            raise BadInput(f"not TOML: {error}") from None
        line = match.group(2) or str(text.count("\n") + 1)
        raise BadInput(f"line {line}: not TOML: {match.group(1)}") from None
    except RecursionError:
        raise BadInput("line 1: not TOML: nested too deeply") from None


def _line(text: str, section: str, leaf: str) -> int:
    """Find the line on which a key is set, for a message; the first line when the file writes it in another way."""
    current, heading = "", 1
    for number, line in enumerate(text.splitlines(), 1):
        opened = re.match(r"\s*\[\s*([A-Za-z0-9_\-\"]+)\s*\]", line)
        if opened:
            current = opened.group(1).strip('"')
            heading = number if current == section else heading
            if current == section and not leaf:
                return number
        elif re.match(rf"\s*(?:{re.escape(section)}\s*\.\s*)?\"?{re.escape(leaf or section)}\"?\s*[=.]", line) and (
            current in (section, "") or not leaf
        ):
            return number
    return heading
