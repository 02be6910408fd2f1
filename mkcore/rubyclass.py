"""Bracket expressions and character escapes of Ruby's regular expressions, in terms of Python's.

Apart from rubyregex because a bracket is a language of its own: POSIX names, ranges, escapes that mean something else
outside. Sets are ASCII, complements reach to U+10FFFF. Source: Onigmo doc/RE, sections 2, 3 and 6.
"""

from __future__ import annotations

import re

from mkcore.errors import BadInput

_POSIX = {
    "alnum": "a-zA-Z0-9",
    "alpha": "a-zA-Z",
    "ascii": r"\x00-\x7f",
    "blank": r" \t",
    "cntrl": r"\x00-\x1f\x7f",
    "digit": "0-9",
    "graph": r"\x21-\x7e",
    "lower": "a-z",
    "print": r"\x20-\x7e",
    "punct": r"\x21-\x2f\x3a-\x40\x5b-\x60\x7b-\x7e",
    "space": r" \t\n\r\f\v",
    "upper": "A-Z",
    "word": r"\w",
    "xdigit": "0-9a-fA-F",
}
_CONTROLS = {"t": r"\t", "n": r"\n", "r": r"\r", "f": r"\f", "v": r"\v", "a": r"\a", "e": r"\x1b"}
_SETS = {"d": r"\d", "D": r"\D", "w": r"\w", "W": r"\W", "s": r"\s", "S": r"\S"}
_CODE = re.compile(
    r"\\(?:x([0-9A-Fa-f]{1,2})|u([0-9A-Fa-f]{4})|u\{([0-9A-Fa-f]{1,6})\}|([0-3][0-7]{2}|[0-7]{2}|0)|c([@-_a-z]))"
)
_POSIX_ITEM = re.compile(r"\[:(\^?)([a-z]+):\]")
_LINE_BREAK = r"(?:\r\n|[\n-\r\x85\u2028\u2029])"


def _error(text: str, at: int) -> BadInput:
    return BadInput(f"{text}, at character {at + 1} of the pattern")


def _literal(code: int, at: int) -> str:
    if code > 0x10FFFF or 0xD800 <= code <= 0xDFFF:
        raise _error("a character number that does not exist", at)
    return f"\\U{code:08x}"


def simple_escape(pattern: str, at: int, *, in_class: bool) -> tuple[str, int]:
    """Translate the escape at `at`, a character or a set; return Python text and the place after it."""
    char = pattern[at + 1 : at + 2]
    if not char:
        raise _error("a backslash at the end", at)
    if char in _SETS:
        return _SETS[char], at + 2
    if char in _CONTROLS:
        return _CONTROLS[char], at + 2
    if char == "b" and in_class:
        return r"\x08", at + 2
    if char == "h":
        return ("0-9a-fA-F" if in_class else "[0-9a-fA-F]"), at + 2
    if char == "H":
        return (_complement("0-9a-fA-F") if in_class else "[^0-9a-fA-F]"), at + 2
    if char == "R" and not in_class:
        return _LINE_BREAK, at + 2
    match = _CODE.match(pattern, at)
    if match:
        return _code(match, at), match.end()
    if char.isalnum():
        raise _error(f"the escape \\{char} cannot be translated", at)
    return re.escape(char), at + 2


def _code(match: re.Match[str], at: int) -> str:
    short, four, braces, octal, control = match.groups()
    if octal is not None:
        return _literal(int(octal, 8), at)
    if control is not None:
        return _literal(ord(control.upper()) & 0x1F, at)
    return _literal(int(short or four or braces, 16), at)


def _complement(ranges: str) -> str:
    """Return the ranges of all characters that `ranges` does not hold, for use inside a bracket."""
    inside = re.compile(f"[{ranges}]", re.ASCII)
    parts: list[str] = []
    start = -1
    for code in range(129):  # all sets here lie in ASCII, so 128 stands for everything above
        outside = code == 128 or not inside.match(chr(code))
        if outside and start < 0:
            start = code
        if not outside and start >= 0:
            parts.append(f"\\x{start:02x}-\\x{code - 1:02x}")
            start = -1
    return "".join(parts) + f"\\x{start:02x}-\\U0010ffff"


def parse_bracket(pattern: str, at: int) -> tuple[str, int]:
    """Translate the bracket expression at `at`; return Python text and the place after it.

    Raises BadInput for nested brackets, intersections (&&) and what is no set at all.
    """
    position = at + 1
    negated = pattern.startswith("^", position)
    position += negated
    parts: list[str] = []
    first = position
    while position < len(pattern):
        char = pattern[position]
        if char == "]" and position > first:
            return f"[{'^' if negated else ''}{''.join(parts)}]", position + 1
        text, position = _item(pattern, position, char)
        parts.append(text)
    raise _error("a bracket without an end", at)


def _item(pattern: str, at: int, char: str) -> tuple[str, int]:
    posix = _POSIX_ITEM.match(pattern, at)
    if posix:
        ranges = _POSIX.get(posix.group(2))
        if ranges is None:
            raise _error(f"no POSIX class of the name {posix.group(2)}", at)
        return (_complement(ranges) if posix.group(1) else ranges), posix.end()
    if char == "[":
        raise _error("a set inside a set cannot be translated", at)
    if pattern.startswith("&&", at):
        raise _error("an intersection of sets (&&) cannot be translated", at)
    if char == "\\":
        return simple_escape(pattern, at, in_class=True)
    if char == "-":
        return "-", at + 1
    return re.escape(char), at + 1
