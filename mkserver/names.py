"""Names the server makes: object ids in base 62 as the originals had them (protocol 3.5), at most 22 characters."""

from __future__ import annotations

import secrets

_DIGITS = "0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz"


def to_base62(number: int) -> str:
    """Write a number below 2**128 in base 62, padded to 22 characters."""
    text = ""
    while number:
        number, digit = divmod(number, 62)
        text = _DIGITS[digit] + text
    return text.rjust(22, "0")


def new_id() -> str:
    """Make an id that nobody else has: 128 random bits."""
    return to_base62(secrets.randbits(128))
