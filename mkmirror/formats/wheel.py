"""Python packages: names of wheels, lists of what to install, what a wheel needs, and the index that pip reads too.

The heir of the gem mirror. A list has `NAME [requirement]` in each line; at build time and at run time it is read by
this one parser, with comments and blank lines (defect B32). Requirements may be written as Ruby's gems wrote them
(`~> 1.2`) or as Python's packages do (`>=1.2,<2`).

Source: protocol 5.5; the specifications of the Python Packaging Authority: binary distribution format (PEP 427), core
metadata, simple repository API (PEP 503, 592, 658), version specifiers (PEP 440), dependency specifiers (PEP 508).
"""

from __future__ import annotations

import html
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from email.parser import HeaderParser
from html.parser import HTMLParser
from typing import Optional
from urllib.parse import unquote, urldefrag

from packaging.requirements import InvalidRequirement, Requirement
from packaging.specifiers import InvalidSpecifier, SpecifierSet
from packaging.tags import Tag
from packaging.utils import InvalidWheelFilename, canonicalize_name, parse_wheel_filename
from packaging.version import InvalidVersion, Version

from mkcore.errors import BadInput
from mkmirror.lists import lines_of
from mkmirror.names import is_name, show

SUFFIX = ".whl"
METADATA_SUFFIX = ".whl.metadata"
FOLDER = "wheels"
"""Folder of the wheels below a package mirror's base, `gem-mirror/`; its SHA256SUMS is the installer's index."""
SIMPLE = "simple"
MAX_FIELD = 2000
"""Characters of a requirement or version."""
LIST = "gems/gem.list"

_ENTRY = re.compile(r"([A-Za-z0-9][A-Za-z0-9._-]*)(?:\[([A-Za-z0-9 ,._-]*)\])?(?:[ \t]+|(?=[<>=!~(]))?(.*)")
_PART = re.compile(r"(~>|>=|<=|!=|==|===|~=|=|<|>)?[ \t]*([0-9A-Za-z][0-9A-Za-z.!+*_-]*)")


@dataclass(frozen=True)
class Wanted:
    """A package that is wanted: its canonical name (`json-pure`), the versions that will do, and with which extras."""

    name: str
    versions: SpecifierSet
    extras: tuple[str, ...] = ()

    def __str__(self) -> str:
        extras = f"[{','.join(self.extras)}]" if self.extras else ""
        return f"{self.name}{extras} {self.versions}".rstrip()

    def also(self, other: Wanted) -> Wanted:
        """Return it in versions and with extras that satisfy another one's wish for the same package, too."""
        return Wanted(self.name, self.versions & other.versions, tuple(sorted({*self.extras, *other.extras})))


@dataclass(frozen=True)
class Wheel:
    """A wheel by its file name. `tags` are the interpreters and platforms that it is for, e.g. `py3-none-any`."""

    file: str
    name: str
    version: Version
    tags: frozenset[Tag]


@dataclass(frozen=True)
class Metadata:
    """What of a wheel's METADATA an installation needs: canonical name, version, what it requires, Requires-Python,
    and the extras that it has.
    """

    name: str
    version: Version
    requires: tuple[Requirement, ...]
    python: SpecifierSet
    extras: tuple[str, ...] = ()


@dataclass(frozen=True)
class Link:
    """A file that a page of the simple API offers. `url` is as written there; `sha256` and `metadata` "" if absent."""

    file: str
    url: str
    sha256: str
    metadata: str
    yanked: bool


def parse_wheel(file: str, where: str = "wheel") -> Wheel:
    """Take a wheel's file name apart, e.g. `foo-1.0-py3-none-any.whl`; raise BadInput for what is none."""
    if not is_name(file.replace("!", "")):
        raise BadInput(f"{show(file)} is not the name of a wheel", where)
    try:
        name, version, _, tags = parse_wheel_filename(file)
    except (InvalidWheelFilename, InvalidVersion) as error:
        raise BadInput(str(error), where) from None
    return Wheel(file, str(name), version, tags)


def parse_wanted(text: str, where: str) -> Wanted:
    """Parse `NAME [requirement]`, e.g. `json_pure  >= 1.7.7`, `foo ~> 1.2`, `foo[extra]>=1,<2`; raise BadInput."""
    match = _ENTRY.fullmatch(text.strip()) if len(text) <= MAX_FIELD else None
    if match is None or not is_name(match[1]):
        raise BadInput(f"not of the form NAME [requirement]: {show(text.strip())}", where)
    wanted: list[str] = []
    for part in filter(None, (each.strip() for each in match[3].strip("() \t").split(","))):
        found = _PART.fullmatch(part)
        if found is None:
            raise BadInput(f"{show(part)} is not a requirement of a version", where)
        wanted += _specifiers(found[1] or "=", found[2], where)
    try:
        extras = sorted(set(filter(None, (each.strip() for each in (match[2] or "").split(",")))))
        return Wanted(str(canonicalize_name(match[1])), SpecifierSet(",".join(wanted)), tuple(extras))
    except InvalidSpecifier as error:
        raise BadInput(str(error), where) from None


def parse_wanted_list(text: str, where: str) -> tuple[Wanted, ...]:
    """Parse a list of `NAME [requirement]`, one a line, with comments and blank lines. Raises BadInput naming the line.

    A name that comes twice is wanted in versions that satisfy both.
    """
    found: dict[str, Wanted] = {}
    for line, place in lines_of(text, where):
        wanted = parse_wanted(line, place)
        before = found.get(wanted.name)
        found[wanted.name] = before.also(wanted) if before else wanted
    return tuple(found.values())


def _specifiers(operator: str, version: str, where: str) -> list[str]:
    """Write one requirement, Ruby's or Python's, as Python's."""
    try:
        release = list(Version(version[:-2] if version.endswith(".*") else version).release)
    except InvalidVersion:
        raise BadInput(f"{show(version)} is not a version", where) from None
    if operator == "=":
        return [f"=={version}"]
    if operator != "~>":
        return [f"{operator}{version}"]
    upper = release[:-1] if len(release) > 1 else release
    upper[-1] += 1
    return [f">={version}", f"<{'.'.join(map(str, upper))}"]


def choose(wheels: Iterable[Wheel], wanted: Wanted, tags: Sequence[Tag]) -> Optional[Wheel]:
    """Return the newest of `wheels` that is wanted and runs here, the most specific one of several; None without one.

    tags: what runs here, best first (packaging.tags.sys_tags). A version before a release counts only where nothing
    else is there or the requirement names one.
    """
    rank = {tag: -place for place, tag in enumerate(tags)}
    usable: dict[Version, list[tuple[int, str, Wheel]]] = {}
    for wheel in wheels:
        ranks = [rank[tag] for tag in wheel.tags if tag in rank]
        if wheel.name == wanted.name and ranks:
            usable.setdefault(wheel.version, []).append((max(ranks), wheel.file, wheel))
    allowed = list(wanted.versions.filter(usable))
    return max(usable[max(allowed)])[2] if allowed else None


def parse_metadata(text: str, where: str) -> Metadata:
    """Parse a wheel's METADATA; raise BadInput for one without name or version, or with other broken fields."""
    message = HeaderParser().parsestr(text)

    def field(name: str) -> str:
        """Return one field, "" for one that is not there; raise BadInput for a long one."""
        return _short(str(message.get(name, "")), name, where)

    try:
        return Metadata(
            str(canonicalize_name(field("Name"))) or _missing("Name"),
            Version(field("Version")),
            tuple(Requirement(_short(str(each), "", where)) for each in message.get_all("Requires-Dist", [])),
            SpecifierSet(field("Requires-Python")),
            tuple(_short(str(each), "Provides-Extra", where) for each in message.get_all("Provides-Extra", [])),
        )
    except (InvalidVersion, InvalidRequirement, InvalidSpecifier) as error:
        raise BadInput(str(error), where) from None
    except RecursionError:
        raise BadInput("has a condition that is nested too deeply", where) from None


def _short(value: str, field: str, where: str) -> str:
    """Return a field that a number of digits cannot make expensive to read."""
    if len(value) > MAX_FIELD:
        raise BadInput(f"{field or 'Requires-Dist'} has {len(value)} characters, more than {MAX_FIELD}", where)
    return value


def _missing(field: str) -> str:
    raise InvalidRequirement(f"METADATA has no {field}")


def needs(metadata: Metadata, environment: Mapping[str, str], extras: Iterable[str] = ()) -> tuple[Wanted, ...]:
    """Return what a package needs in this environment (packaging.markers.default_environment) and with these extras.

    One that is to come from an address of its own is wanted from the mirror like any other. Raises BadInput for a
    condition that cannot be evaluated.
    """
    names = ("", *extras)
    return tuple(
        Wanted(str(canonicalize_name(each.name)), each.specifier, tuple(sorted(each.extras)))
        for each in metadata.requires
        if any(_applies(each, {**environment, "extra": name}, metadata.name) for name in names)
    )


def _applies(requirement: Requirement, environment: dict[str, str], owner: str) -> bool:
    try:
        return requirement.marker is None or requirement.marker.evaluate(environment)
    except (KeyError, ValueError, RecursionError):  # nothing that is compared is a variable, or not with that operator
        raise BadInput(
            f"nobody can tell whether it needs {requirement.name}: {show(str(requirement))}", owner
        ) from None


def build_root(names: Iterable[str]) -> str:
    """Build the first page of the simple API: a link to each package's own page."""
    links = "".join(f'<a href="{name}/">{name}</a><br>\n' for name in sorted(set(names)))
    head = '<!DOCTYPE html>\n<html><head><meta name="pypi:repository-version" content="1.0"></head><body>'
    return f"{head}\n{links}</body></html>\n"


def build_page(name: str, files: Mapping[str, tuple[str, str]], base: str = f"../../{FOLDER}/") -> str:
    """Build a package's page. files: wheel's file name -> (its SHA-256, that of its metadata file or "")."""
    links = "".join(_anchor(base, file, *sums) for file, sums in sorted(files.items()))
    return (
        '<!DOCTYPE html>\n<html><head><meta name="pypi:repository-version" content="1.0">'
        f"<title>{html.escape(name)}</title></head><body>\n{links}</body></html>\n"
    )


def _anchor(base: str, file: str, sha256: str, metadata: str) -> str:
    shown = html.escape(file)
    core = f' data-core-metadata="sha256={metadata}" data-dist-info-metadata="sha256={metadata}"' if metadata else ""
    return f'<a href="{base}{shown}#sha256={sha256}"{core}>{shown}</a><br>\n'


class _Links(HTMLParser):
    def __init__(self) -> None:
        super().__init__()
        self.found: list[Link] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, Optional[str]]]) -> None:
        """Take note of a link to a file."""
        values = dict(attrs)
        if tag != "a" or not values.get("href"):
            return
        url, fragment = urldefrag(values["href"] or "")
        file = unquote(url.split("?", 1)[0].rsplit("/", 1)[-1])
        if is_name(file.replace("!", "")):
            core = values.get("data-core-metadata") or values.get("data-dist-info-metadata") or ""
            self.found.append(Link(file, url, _sha256(fragment), _sha256(core), "data-yanked" in values))


def _sha256(text: str) -> str:
    match = re.fullmatch(r"sha256=([0-9a-fA-F]{64})", text)
    return match[1].lower() if match else ""


def parse_page(text: str) -> tuple[Link, ...]:
    """Parse a page of the simple API; links to what cannot be a file's name are left out."""
    parser = _Links()
    parser.feed(text)
    parser.close()
    return tuple(parser.found)
