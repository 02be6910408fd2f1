"""Lists of what to install, as the originals served and stored them.

Two kinds. A list of extensions or kernel modules is a JSON array on the wire and YAML in the tree; of YAML exactly one
form is read, a block sequence of plain or quoted strings, because a full YAML parser in the image would be the largest
dependency of the smallest service. A plain list (onboot.lst, .dep) has one name in each line.

Source: protocol 5.1, 5.2.
"""

from __future__ import annotations

import re
from collections.abc import Iterator

from mkcore.errors import BadInput
from mkcore.jsonfields import parse_json
from mkmirror.names import require_name_or_path, show

MAX_ENTRIES = 10_000

_ITEM = re.compile(r"-[ \t]+(?:\"([^\"\\]*)\"|'([^']*)'|([^\s\"'#]\S*))(?:[ \t]+#.*)?")


def decode(data: bytes, where: str) -> str:
    """Return a list's bytes as text, without a byte order mark; raise BadInput for what is not UTF-8."""
    try:
        return data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise BadInput(f"not UTF-8 at byte {error.start}", where) from None


def parse_list(data: bytes, where: str) -> list[str]:
    """Parse a list of names: a JSON array of strings, or lines `- name` with comments, blank lines and a `---`
    before them.

    Raises BadInput naming `where` and the line: not UTF-8, another form of YAML, a name that could not be the name
    of anything, more than MAX_ENTRIES of them.
    """
    text = decode(data, where)
    if text.lstrip().startswith(("[", "{")):
        return parse_json_list(text, where)
    names: list[str] = []
    for number, line in enumerate(text.split("\n"), 1):
        line = line.rstrip()
        if not line or line.lstrip().startswith("#") or (line == "---" and not names):
            continue
        match = _ITEM.fullmatch(line.lstrip(" "))
        if match is None:
            raise BadInput(f"not of the form '- name': {show(line.strip())}", f"{where}:{number}")
        item = next(group for group in match.groups() if group is not None)
        names.append(require_name_or_path(item, f"{where}:{number}"))
        _require_few(names, where)
    return names


def parse_json_list(text: str, where: str) -> list[str]:
    """Parse a list as it is on the wire, a JSON array of names; raise BadInput naming `where` and the entry."""
    value = parse_json(text, where)
    if not isinstance(value, list):
        raise BadInput("must be a list of names", where)
    names: list[str] = []
    for position, item in enumerate(value):
        if not isinstance(item, str):
            raise BadInput("must be a name in quotation marks", f"{where}[{position}]")
        names.append(require_name_or_path(item, f"{where}[{position}]"))
        _require_few(names, where)
    return names


def lines_of(text: str, where: str) -> Iterator[tuple[str, str]]:
    """Yield each line of a plain list with its place (`where:7`), without comments, blanks around and blank lines.

    A `#` begins a comment at the start of a line or behind a blank. Raises BadInput after MAX_ENTRIES lines.
    """
    found = 0
    for number, line in enumerate(text.split("\n"), 1):
        content = re.split(r"(?:^|[ \t])#", line.strip(" \t\r\ufeff"), maxsplit=1)[0].strip(" \t")
        if content:
            found += 1
            if found > MAX_ENTRIES:
                raise BadInput(f"more than {MAX_ENTRIES} entries", where)
            yield content, f"{where}:{number}"


def _require_few(names: list[str], where: str) -> None:
    if len(names) > MAX_ENTRIES:
        raise BadInput(f"more than {MAX_ENTRIES} entries", where)
