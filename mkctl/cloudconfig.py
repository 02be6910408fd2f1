"""The cloud-config of a Hanlon 3 server: where its nodes get their configuration from. Pure.

That server names no address on the kernel line, only `rancher.cloud_init.datasources=['url:http://…/cloud-config']`;
what it answers there writes files, among them `mk_conf.yaml` (address, paths, and what it pushes at the first checkin
anyway) and `mk-version.yaml`. Nothing else of it is looked at: its scripts and passwords are for its own system.

Read is the part of YAML that such a file is written in: blocks by indentation, `|` texts, plain and quoted values. A
library would read all of it, and cost every image and start for one file of a known form; what is of another form is
refused with the number of its line. Source: protocol 1.1, 1.6, 2.1, 9.3; YAML 1.2, 8.1 (block scalars).
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass

from mkcore.errors import BadInput
from mkcore.keys import PUSH, parse_value
from mkctl.addresses import parse_uri
from mkctl.cmdline import Token, values

DATASOURCES = "rancher.cloud_init.datasources"
LIMIT_BYTES = 256_000
_SOURCE = re.compile(r"url:(https?://[^'\"\s,\]]+)")
_SETTING = re.compile(r"(?P<key>[A-Za-z_][\w.-]*):(?:[ ]+(?P<value>.*))?")  # matches one way alone: time is linear
_BLOCK = re.compile(r"\|[+-]?")


@dataclass(frozen=True)
class CloudConfig:
    """What counts of it: the server as `http://192.0.2.1:8026`, both paths, the version of its image ("" for none)."""

    uri: str
    checkin_path: str = ""
    register_path: str = ""
    version: str = ""


def find_sources(tokens: Sequence[Token]) -> tuple[str, ...]:
    """Return the addresses that the kernel line names, in order."""
    return tuple(uri for value in values(tokens, DATASOURCES) for uri in _SOURCE.findall(value))


def parse_cloud_config(text: str) -> CloudConfig:
    """Take the server out of a cloud-config. Raises BadInput with the line, or the key, that is wrong."""
    files = _parse_files(text)
    by_name = {path.rpartition("/")[2]: content for path, content in files.items()}
    if "mk_conf.yaml" not in by_name:
        raise BadInput("it writes no mk_conf.yaml")
    settings = _parse_settings(by_name["mk_conf.yaml"], "mk_conf.yaml")
    for name, value in settings.items():
        if name in PUSH:
            try:
                parse_value(PUSH[name].key, value, pushed=True)
            except BadInput as error:
                raise BadInput(str(error), f"mk_conf.yaml: {name}") from None
    if not settings.get("mk_uri"):
        raise BadInput("mk_conf.yaml: there is no mk_uri")
    uri, base = parse_uri(settings["mk_uri"])
    checkin, register = (settings.get(f"mk_{name}_path", "") for name in ("checkin", "register"))
    version = _parse_settings(by_name.get("mk-version.yaml", ""), "mk-version.yaml").get("mk_version", "")
    return CloudConfig(uri, checkin and base + checkin, register and base + register, version[:100])


def _parse_files(text: str) -> dict[str, str]:
    lines = text.splitlines()
    if not lines or lines[0].rstrip() != "#cloud-config":
        raise BadInput(f"line 1: {lines[0][:40] if lines else ''!r} is not #cloud-config")
    found: dict[str, str] = {}
    for entry in _entries(lines, _section(lines)):
        if "path" in entry:
            found[entry["path"]] = entry.get("content", "")
    return found


def _section(lines: Sequence[str]) -> range:
    """Return which lines belong to write_files; none where there is no such section."""
    starts = [n for n, line in enumerate(lines) if re.fullmatch(r"write_files:\s*", line)]
    if not starts:
        raise BadInput("there is no write_files")
    start = starts[0] + 1
    end = next((n for n in range(start, len(lines)) if re.match(r"[^\s#-]", lines[n])), len(lines))
    return range(start, end)


def _entries(lines: Sequence[str], section: Iterable[int]) -> Iterator[Mapping[str, str]]:
    """Yield what stands in each item of the list."""
    entry: dict[str, str] = {}
    numbers = iter(_significant(lines, section))
    block_end = 0
    for number in numbers:
        if number < block_end:
            continue
        line = lines[number]
        item = re.fullmatch(r"([ ]*)(-[ ]+)?(.*)", line)
        setting = _SETTING.fullmatch(item[3]) if item else None
        if item is None or setting is None or (item[2] is None and not entry):
            raise BadInput(f"line {number + 1}: {line.strip()[:40]!r} is not what a cloud-config has there")
        if item[2]:
            if entry:
                yield entry
            entry = {}
        value = (setting["value"] or "").rstrip(" ")
        if _BLOCK.fullmatch(value):
            value, block_end = _block(lines, number + 1, len(item[1]) + len(item[2] or ""))
        entry[setting["key"]] = value if block_end > number else _scalar(value, f"line {number + 1}")
    if entry:
        yield entry


def _significant(lines: Sequence[str], section: Iterable[int]) -> Iterator[int]:
    return (n for n in section if lines[n].strip() and not lines[n].lstrip().startswith("#"))


def _block(lines: Sequence[str], start: int, outer: int) -> tuple[str, int]:
    """Return the text that stands deeper than `outer` from line `start` on, without its indentation, and its end."""
    end = start
    while end < len(lines) and (not lines[end].strip() or _depth(lines[end]) > outer):
        end += 1
    inner = min((_depth(line) for line in lines[start:end] if line.strip()), default=0)
    return "".join(f"{line[inner:]}\n" for line in lines[start:end]), end


def _depth(line: str) -> int:
    return len(line) - len(line.lstrip(" "))


def _parse_settings(text: str, where: str) -> dict[str, str]:
    """Read a flat map, `key: value` a line."""
    found: dict[str, str] = {}
    for number, line in enumerate(text.splitlines(), 1):
        if not line.strip() or line.startswith("#") or line.rstrip() == "---":
            continue
        setting = _SETTING.fullmatch(line)
        if setting is None:
            raise BadInput(f"line {number}: {line.strip()[:40]!r} is no setting", where)
        found[setting["key"]] = _scalar((setting["value"] or "").rstrip(" "), f"{where}: line {number}")
    return found


def _scalar(text: str, where: str) -> str:
    """Return what a value says, without its quotes. Raises BadInput for lists, maps and the like."""
    if text.startswith('"'):
        try:
            value = json.loads(text)
        except ValueError:
            raise BadInput(f"{text[:40]!r} is not one quoted text", where) from None
        return str(value)
    if text.startswith("'"):
        if len(text) < 2 or not text.endswith("'"):
            raise BadInput(f"{text[:40]!r} is not one quoted text", where)
        return text[1:-1].replace("''", "'")
    if text[:1] in ("[", "{", "&", "*", "!", "|", ">", "@", "`", "%"):
        raise BadInput(f"{text[:40]!r} is not a plain value", where)
    return text
