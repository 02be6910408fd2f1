"""Asking the server what time it is, where its certificate is not valid yet by this machine's clock.

Done only where the site allows it (clock.from_server), until it worked once. The server must be the one that it always
must be, by CA and name or by its pinned certificate; its dates alone are not looked at in this one request, which says
nothing of the machine, unless the site wants a certificate shown, and whose answer counts for its Date alone.
mk-clock.service judges the time and steps the clock.

Source: RFC 9110 section 6.6.1 (Date).
"""

from __future__ import annotations

from dataclasses import replace
from email.utils import parsedate_to_datetime

from mkcore.errors import BadAnswer
from mkcore.files import write_json
from mkcore.http import exchange
from mkcore.paths import Paths
from mkcore.trust import Trust

UNIT = "mk-clock.service"
TIMEOUT_S = 30.0
DEADLINE_S = 10.0


def ask_time(uri: str, trust: Trust, paths: Paths, proxy: str = "") -> int:
    """Leave what `uri` says for mk-clock, and return it in seconds since 1970.

    Raises Unreachable, BadAnswer, or OSError when the file cannot be written.
    """
    timeless = replace(trust, any_time=True)
    answer = exchange("HEAD", uri, trust=timeless, deadline_s=DEADLINE_S, component="mkctl", proxy=proxy)
    text = answer.headers.get("date", "")
    try:
        moment = parsedate_to_datetime(text)
        seconds = int(moment.timestamp())
    except (TypeError, ValueError, IndexError, OverflowError):
        raise BadAnswer(f"{uri}: the answer's Date, {text[:40]!r}, is no time") from None
    write_json(paths.clock, {"time_s": seconds, "server": uri}, mode=0o640)
    return seconds
