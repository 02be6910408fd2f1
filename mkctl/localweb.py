"""What mkctl says to mkweb: here is a configuration, this one works, this one does not.

mkweb listens on the loopback address of this machine and answers within milliseconds, or after a start of its own
(socket activation). Nothing it answers can end mkctl: each answer is one of the outcomes that `mkctl.decide` knows.
Source: protocol 4 with its PORT paragraph.
"""

from __future__ import annotations

from typing import Union

from mkcore.errors import BadAnswer, BadInput, MkError
from mkcore.http import Answer, exchange, retry_after_s
from mkcore.jsonfields import Json, canonical, get_str, parse_object
from mkctl.plan import ConfigNotTaken, ConfigStored, ConfigUnchanged

BASE_URI = "http://127.0.0.1:2156"
DEADLINE_S = 20.0  # mkweb may have to start first, on a machine that is busy booting
FINAL_STATUSES = frozenset({400, 413, 422})
"""The same content is refused again: undecodable, too large, invalid."""

Posted = Union[ConfigStored, ConfigUnchanged, ConfigNotTaken]


def _post(base_uri: str, path: str, body: Json) -> Answer:
    headers = {"Content-Type": "application/json"}
    return exchange(
        "POST", base_uri + path, headers=headers, body=canonical(body), deadline_s=DEADLINE_S, component="mkctl"
    )


def error_text(answer: Answer) -> str:
    """The one line with which mkweb explains an error; its status where the body explains nothing."""
    try:
        return get_str(parse_object(answer.body, "answer"), "error", where="answer").replace("\n", " ")
    except BadInput:
        return f"status {answer.status}"


def parse_posted(answer: Answer) -> Posted:
    """What the answer to POST /setMkConfig means."""
    if answer.status == 200:
        is_text = answer.headers.get("content-type", "").startswith("text/plain")
        return ConfigStored() if is_text else ConfigUnchanged()
    return ConfigNotTaken(error_text(answer), answer.status in FINAL_STATUSES, retry_after_s(answer))


def post_config(config: dict[str, Json], base_uri: str = BASE_URI) -> Posted:
    """Post a pushed configuration. An mkweb that does not answer is a ConfigNotTaken that may be tried again."""
    try:
        return parse_posted(_post(base_uri, "/setMkConfig", config))
    except MkError as error:
        return ConfigNotTaken(f"mkweb: {error}", False)


def deliver_verdict(digest: str, reason: str, base_uri: str = BASE_URI) -> None:
    """Confirm the configuration `digest`, or refuse it when there is a reason.

    Raises Unreachable or BadAnswer, after which trying again can help, and BadInput when mkweb waits for no such
    verdict.
    """
    path = "/refuse" if reason else "/confirm"
    body: dict[str, Json] = {"digest": digest, "reason": reason} if reason else {"digest": digest}
    answer = _post(base_uri, path, body)
    if answer.status >= 500:
        raise BadAnswer(f"mkweb{path}: {error_text(answer)}")
    if answer.status >= 300:
        raise BadInput(f"mkweb{path}: {error_text(answer)}")
