"""The kernel command line as the kernel itself splits it, with anchored names (B04).

Blanks separate parameters unless double quotes enclose them; the quotes around a whole parameter or around its value do
not belong to it. What follows `--` goes to init, but counts here as it did with the originals, which searched the whole
line. Source: the kernel's lib/cmdline.c (next_arg), bootparam(7); protocol 1.2.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from mkcore.files import read_line


@dataclass(frozen=True)
class Token:
    """One parameter: `name`, or `name=value` with `has_value`."""

    name: str
    value: str = ""
    has_value: bool = False


def parse_cmdline(text: str) -> tuple[Token, ...]:
    """Split /proc/cmdline into its parameters, in order."""
    return tuple(_token(word) for word in _split(text))


def read_cmdline(proc_root: Path, credentials: Path = Path()) -> tuple[Token, ...]:
    """Read the kernel line's parameters; none where it cannot be read.

    credentials: the service's, an empty path for none. What `mk.bootif` there says stands before them as a BOOTIF=, so
    one on the line itself counts more.
    """
    tokens = parse_cmdline(read_line(proc_root / "cmdline"))
    card = read_line(credentials / "mk.bootif") if credentials != Path() else ""
    return (Token("BOOTIF", card, True), *tokens) if card else tokens


def _split(text: str) -> list[str]:
    words: list[str] = []
    word, quoted = "", False
    for character in text:
        if character == '"':
            quoted = not quoted
        if character.isspace() and not quoted:
            if word:
                words.append(word)
            word = ""
        else:
            word += character
    return [*words, word] if word else words


def _token(word: str) -> Token:
    if word.startswith('"'):  # "name=a value"
        word = word[1:-1] if len(word) > 1 and word.endswith('"') else word[1:]
    name, equals, value = word.partition("=")
    if value.startswith('"'):  # name="a value"
        value = value[1:-1] if len(value) > 1 and value.endswith('"') else value[1:]
    return Token(name, value, bool(equals))


def values(tokens: Sequence[Token], name: str) -> tuple[str, ...]:
    """Return the values given to exactly this name, in order."""
    return tuple(token.value for token in tokens if token.name == name and token.has_value)


def last_value(tokens: Sequence[Token], name: str) -> str:
    """Return the rightmost value of this name, "" when there is none: later parameters override earlier ones."""
    found = values(tokens, name)
    return found[-1] if found else ""


def only_value(tokens: Sequence[Token], name: str) -> tuple[str, str]:
    """Return (value, "") of a parameter that counts only when it is given exactly once, else ("", reason or "")."""
    found = values(tokens, name)
    if len(found) > 1:
        return "", f"{name}= is given {len(found)} times on the kernel line: none of them is used"
    return (found[0] if found else ""), ""
