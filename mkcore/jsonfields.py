"""Typed access to JSON that somebody else wrote.

Parse, don't validate: a getter returns a value of the type it names or raises BadInput with the path of the key.
Unknown keys survive, wrong types fail, a missing key has the default that the caller states. Non-standard numbers
(NaN, Infinity) are refused; lone surrogates, which no UTF-8 file could hold, become U+FFFD.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import NoReturn, TypeVar, Union, cast

from mkcore.errors import BadInput

Json = Union[None, bool, int, float, str, list["Json"], dict[str, "Json"]]
T = TypeVar("T")
DEPTH_LIMIT = 100


class _Required:
    """Type of REQUIRED: no default, the key must be there."""


REQUIRED = _Required()
_TYPE_NAMES: dict[type, str] = {
    str: "a string",
    int: "an integer",
    bool: "true or false",
    dict: "an object",
    list: "a list",
}


def parse_json(data: Union[bytes, str], where: str) -> Json:
    """Parse one JSON document; raise BadInput naming `where` and, for a syntax error, line and column."""
    try:
        text = data if isinstance(data, str) else data.decode("utf-8-sig")
        return _clean(cast(Json, json.loads(text, parse_constant=_refuse_constant, parse_float=_finite)), DEPTH_LIMIT)
    except UnicodeDecodeError as error:
        raise BadInput(f"not UTF-8 at byte {error.start}", where) from None
    except json.JSONDecodeError as error:
        raise BadInput(f"not JSON: {error.msg} at line {error.lineno} column {error.colno}", where) from None
    except RecursionError:
        raise BadInput(f"JSON is nested too deeply (limit {DEPTH_LIMIT})", where) from None
    except ValueError as error:  # NaN; an integer with more digits than Python converts
        raise BadInput(f"not JSON: {error}", where) from None


def parse_object(data: Union[bytes, str], where: str) -> dict[str, Json]:
    """Parse a JSON document whose top is an object; raise BadInput otherwise."""
    value = parse_json(data, where)
    if not isinstance(value, dict):
        raise BadInput("a JSON object is wanted", where)
    return value


def _refuse_constant(name: str) -> NoReturn:
    raise ValueError(f"{name} is not a JSON number")


def _finite(text: str) -> float:
    """Refuse 1e999, which would be read as infinity and could never be written again."""
    number = float(text)
    if number in (float("inf"), float("-inf")):
        raise ValueError(f"{text[:20]} is out of range")
    return number


def _clean(value: Json, depth: int) -> Json:
    """Replace lone surrogates in strings and keys; refuse what later recursion (writing, comparing) might not bear."""
    if isinstance(value, str):
        return value if value.isascii() else value.encode("utf-16", "surrogatepass").decode("utf-16", "replace")
    if not isinstance(value, (list, dict)):
        return value
    if depth == 0:
        raise RecursionError
    if isinstance(value, list):
        return [_clean(item, depth - 1) for item in value]
    return {cast(str, _clean(key, depth)): _clean(item, depth - 1) for key, item in value.items()}


def _get(obj: Mapping[str, Json], key: str, wanted: type[T], default: Union[T, _Required], where: str) -> T:
    path = f"{where}.{key}" if where else key
    if key not in obj:
        if isinstance(default, _Required):
            raise BadInput("is missing", path)
        return default
    value = obj[key]
    if not _is_a(value, wanted):
        raise BadInput(f"must be {_TYPE_NAMES[wanted]}, not {show(value)}", path)
    return cast(T, value)


def _is_a(value: object, wanted: type[object]) -> bool:
    """Compare types as JSON has them: true is no integer there."""
    return isinstance(value, wanted) and not (wanted is int and isinstance(value, bool))


def show(value: object) -> str:
    """Write a value for a message: JSON, at most 60 characters."""
    try:
        text = json.dumps(value, ensure_ascii=True)
    except (TypeError, ValueError, RecursionError):
        text = f"a value of type {type(value).__name__}"
    return text if len(text) <= 60 else text[:57] + "..."


def get_str(obj: Mapping[str, Json], key: str, *, default: Union[str, _Required] = REQUIRED, where: str = "") -> str:
    """Return the string under `key`."""
    return _get(obj, key, str, default, where)


def get_bool(obj: Mapping[str, Json], key: str, *, default: Union[bool, _Required] = REQUIRED, where: str = "") -> bool:
    """Return the boolean under `key`; 0, 1 and "true" are not booleans."""
    return _get(obj, key, bool, default, where)


def get_int(
    obj: Mapping[str, Json],
    key: str,
    *,
    default: Union[int, _Required] = REQUIRED,
    where: str = "",
    low: int = -(1 << 63),
    high: int = (1 << 63) - 1,
) -> int:
    """Return the integer under `key`, which must lie in low..high."""
    value = _get(obj, key, int, default, where)
    if key in obj and not low <= value <= high:
        raise BadInput(f"{value} is not in {low}..{high}", f"{where}.{key}" if where else key)
    return value


def get_object(
    obj: Mapping[str, Json], key: str, *, default: Union[dict[str, Json], _Required] = REQUIRED, where: str = ""
) -> dict[str, Json]:
    """Return the object under `key`."""
    return _get(obj, key, dict, default, where)


def get_list(
    obj: Mapping[str, Json], key: str, *, default: Union[list[Json], _Required] = REQUIRED, where: str = ""
) -> list[Json]:
    """Return the list under `key`."""
    return _get(obj, key, list, default, where)


def get_strings(
    obj: Mapping[str, Json],
    key: str,
    *,
    default: Union[list[str], tuple[str, ...], _Required] = REQUIRED,
    where: str = "",
) -> list[str]:
    """Return the list under `key`, all of whose items must be strings."""
    if key not in obj and not isinstance(default, _Required):
        return list(default)
    found: list[str] = []
    for position, item in enumerate(get_list(obj, key, where=where)):
        if not isinstance(item, str):
            path = f"{where}.{key}" if where else key
            raise BadInput(f"must be a string, not {show(item)}", f"{path}[{position}]")
        found.append(item)
    return found


def canonical(value: object) -> bytes:
    """Write `value` in the one form that digests are made of: sorted keys, no blanks, UTF-8."""
    text = json.dumps(value, sort_keys=True, separators=(",", ":"), ensure_ascii=False, allow_nan=False)
    return text.encode("utf-8", "replace")


def digest(value: object) -> str:
    """Return the SHA-256 of the canonical form, as 64 hexadecimal digits."""
    import hashlib  # loads OpenSSL, for which mk-facts has no use

    return hashlib.sha256(canonical(value)).hexdigest()
