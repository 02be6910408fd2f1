"""Text from hardware, made fit for JSON, a terminal and a web page.

Serial numbers, models and strings of the firmware hold whatever was burnt into the part: bytes that are not UTF-8, NUL
and 0xFF padding, line breaks, escape sequences. One function cleans them all, so that the same part reads the same
wherever it shows up. Source: SMBIOS (DSP0134) section 6.1.3, which asks for UTF-8 without control characters.
"""

from __future__ import annotations

from typing import Union


def clean_text(value: Union[bytes, str]) -> str:
    r"""Return `value` as one printable line: b" PM981\0\0\xff " -> "PM981�", "WD\t40\x1b[2J" -> "WD 40[2J".

    Bytes are read as UTF-8; what is none, and each lone surrogate, becomes U+FFFD. White space of every kind becomes a
    space, other characters that are not printable are removed, spaces at both ends too. Raises nothing.
    """
    text = value.decode("utf-8", "replace") if isinstance(value, bytes) else value
    if not text.isprintable():
        text = "".join(map(_printable, text))
    return text.strip()


def _printable(character: str) -> str:
    if character.isprintable():
        return character
    if character.isspace():
        return " "
    return "\ufffd" if "\ud800" <= character <= "\udfff" else ""
