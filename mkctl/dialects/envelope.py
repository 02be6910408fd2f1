"""The envelope both servers put around their answers, and the two forms of their errors.

    {"errcode": 0, "response": {"command_name": "acknowledge", "command_param": {}}, "client_config": {...}}
    Razor's error:  {"std_err_code": 114, "err_class": "...", "result": "Must Provide Hardware IDs[hw_id]", ...}
    Hanlon's error: {"response": {"result": {"code": 400, "type": "...", "description": "..."}}}

Only the body of a checkin's answer is looked at, as the originals did (protocol 3.2); a status of 200 alone proves
nothing. Either error form is understood whichever dialect was spoken: a server behind the wrong path still says what it
dislikes.
Source: protocol 3.3, 3.5, 3.9.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, NoReturn, Optional

from mkcore.errors import BadAnswer, BadInput, ServerRefused, one_line
from mkcore.jsonfields import REQUIRED, Json, get_int, get_object, get_str, parse_object
from mkctl.dialects.model import Registration, Reply

if TYPE_CHECKING:
    from mkcore.http import Answer

WORDS_LIMIT = 300
COMMAND = re.compile(r"[!-~]{1,64}")


def parse_checkin(answer: Answer) -> Reply:
    """Parse the answer to a checkin.

    Raises ServerRefused for an error in either form, for an errcode other than 0 and for an HTTP error without the
    envelope; BadAnswer for everything that is not the envelope.
    """
    body = _body(answer, "checkin")
    try:
        _accepted(body, answer, "checkin")
        command = get_str(get_object(body, "response"), "command_name", where="response")
        config = None if body.get("client_config") is None else get_object(body, "client_config")
    except BadInput as error:
        if answer.status >= 400:
            refuse(answer, "checkin", body)
        raise BadAnswer(f"checkin: {error}") from error
    if not COMMAND.fullmatch(command):
        raise BadAnswer(f"checkin: response.command_name: no command: {clean(command, 40)}")
    return Reply(command, config)


def parse_registration(answer: Answer) -> Registration:
    """Parse the answer to a registration: any 2xx that does not say otherwise is a success (protocol 3.5, 9.1).

    Raises ServerRefused for any other status, for an error in either form and for an errcode other than 0.
    """
    if not 200 <= answer.status < 300:
        refuse(answer, "registration", _lenient_body(answer))
    body = _lenient_body(answer)
    if body is None:
        return Registration(remark="the answer is not JSON" if answer.body.strip() else "the answer is empty")
    if error_words(body) or body.get("errcode", 0) != 0:
        refuse(answer, "registration", body)
    node = body.get("response")
    uuid = node.get("@uuid") if isinstance(node, dict) else None
    if not isinstance(uuid, str):
        return Registration(remark="the answer names no node")
    return Registration(node=clean(uuid, 64))


def error_words(body: dict[str, Json]) -> str:
    """Return what an error of either form says, "" for a body that is none."""
    if "std_err_code" in body:
        return clean(_text(body.get("result")) or f"error {_text(body['std_err_code'])}")
    response = body.get("response")
    result = response.get("result") if isinstance(response, dict) else None
    if isinstance(result, dict) and "type" in result:
        return clean(_text(result.get("description")) or _text(result["type"]) or "error without a description")
    return ""


def refuse(answer: Answer, what: str, body: Optional[dict[str, Json]]) -> NoReturn:
    """Raise ServerRefused with the server's own words and its Retry-After."""
    words = _plain(answer.body) if body is None else error_words(body)
    if not words and body is not None and "errcode" in body:
        errcode, result = clean(_text(body["errcode"]), 20), clean(_text(body.get("result")))
        words = f"errcode {errcode}, {result}" if result else f"errcode {errcode}"
    from mkcore.http import retry_after_s  # who has an answer has loaded it; the verbs for people never come here

    text = f"{what} refused: {words or 'no reason given'} (HTTP {answer.status})"
    raise ServerRefused(text, answer.status, retry_after_s(answer))


def clean(text: str, limit: int = WORDS_LIMIT) -> str:
    """Make a stranger's text fit for one line of a log: no control characters, single blanks, cut to `limit`."""
    line = one_line(text[: limit * 4])
    return line if len(line) <= limit else line[: limit - 1] + "…"


def _plain(data: bytes) -> str:
    """Return a text error's own words; a page of HTML says nothing worth a line."""
    text = data[:400].decode("utf-8", "replace").strip()
    return "" if text.startswith(("<", "{", "[")) else clean(text, 100)


def _accepted(body: dict[str, Json], answer: Answer, what: str) -> None:
    if error_words(body):
        refuse(answer, what, body)
    errcode = get_int(body, "errcode", default=REQUIRED)
    if errcode != 0:
        refuse(answer, what, body)


def _body(answer: Answer, what: str) -> dict[str, Json]:
    try:
        return parse_object(answer.body, what)
    except BadInput as error:
        if answer.status >= 400:
            refuse(answer, what, None)
        raise BadAnswer(str(error)) from error


def _lenient_body(answer: Answer) -> Optional[dict[str, Json]]:
    try:
        return parse_object(answer.body, "registration")
    except BadInput:
        return None


def _text(value: Json) -> str:
    return value if isinstance(value, str) else "" if value is None else str(value)[:WORDS_LIMIT]
