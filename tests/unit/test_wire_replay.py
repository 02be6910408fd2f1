"""A real Hanlon server's 62 answers, replayed byte for byte, through our client and dialect (rows 49 to 53, 60).

Each numbered answer of the transcript is served as it was recorded; the reader is that of a checkin, or of a
registration where the transcript registered. What is no answer to either is an error with the reason, never a command.
"""

from __future__ import annotations

from typing import Union

import pytest

from mkcore.errors import BadAnswer, ServerRefused
from mkcore.http import exchange
from mkctl.dialects import HANLON, Registration, Reply, recognise
from tests.fakes import WIRE, WireServer, in_turn, parse_request, read_wire

NOT_JSON = (BadAnswer, "checkin: not JSON")
NO_COMMAND = (BadAnswer, "checkin: response.command_name: is missing")
NO_RESPONSE = (BadAnswer, "checkin: response: must be an object")
NO_IDENTITY = (ServerRefused, "At least one of the optional arguments (uuid or mac_id) must be specified (HTTP 400)")
NO_ROUTE = (ServerRefused, "checkin refused: 404 Not Found (HTTP 404)")
CLIENT_CONFIG = {
    "mk_checkin_interval": 60,
    "mk_checkin_skew": 5,
    "mk_log_level": "Logger::ERROR",
    "mk_gem_mirror": "http://localhost:2158/gem-mirror",
    "mk_gemlist_uri": "/gems/gem.list",
    "mk_tce_mirror": "http://localhost:2157/tinycorelinux",
    "mk_tce_install_list_uri": "/tce-install-list",
    "mk_kmod_install_list_uri": "/kmod-install-list",
    "mk_fact_excl_pattern": "(^facter.*$)|(^id$)|(^kernel.*$)|(^memoryfree$)|(^memoryfree_mb$)|(^operating.*$)"
    "|(^osfamily$)|(^path$)|(^ps$)|(^ruby.*$)|(^selinux$)|(^ssh.*$)|(^swap.*$)|(^timezone$)|(^uniqueid$)"
    "|(^.*uptime.*$)|(.*json_str$)",
}

# number -> a command, the node's id of a registration, or the error and its words
OUTCOMES: dict[str, Union[str, Registration, tuple[type[Exception], str]]] = {
    "01": (BadAnswer, "the answer ends before its end"),
    "02": NOT_JSON,
    "03": (ServerRefused, "undefined method `uuid' for nil:NilClass image_svc_uri"),
    "04": NO_COMMAND,
    "05": NOT_JSON,
    "05b": NOT_JSON,
    "06": NO_IDENTITY,
    "07": (ServerRefused, "dhcp_mac is missing (HTTP 500)"),
    "08": "register",
    "09": "register",
    "10": (ServerRefused, "last_state is missing (HTTP 500)"),
    "11": NO_IDENTITY,
    "12": (ServerRefused, "use with the mac_id parameter is not allowed (HTTP 400)"),
    "13": (ServerRefused, "Must Provide Last State[last_state] (HTTP 400)"),
    "14": (ServerRefused, "registration refused: attributes_hash is missing (HTTP 500)"),
    "15": (ServerRefused, "registration refused: Must Provide Attributes Hash[attributes_hash] (HTTP 400)"),
    "16": (ServerRefused, "Problem: message body does not match declared format Resolution: when"),
    "17": NO_IDENTITY,
    "18": Registration("1GkZcxXNIB8Ox2ZAnyriu4"),
    "19": "acknowledge",
    "20": "register",
    "21": "register",
    "22": Registration("1GpDg9vJRzguA2EgHCZzwq"),
    "23": "acknowledge",
    "24": "acknowledge",
    "25": Registration("1GkZcxXNIB8Ox2ZAnyriu4"),
    "26": NO_RESPONSE,
    "27": NO_COMMAND,
    "28": (ServerRefused, "Cannot Find Node with Hardware ID: [00000000-0000-0000-0000-000000000000] (HTTP 400)"),
    "29": NO_COMMAND,
    "30": NO_COMMAND,
    "31": NO_COMMAND,
    "32": (ServerRefused, "unrecognized fieldname 'nope' (HTTP 400)"),
    "33": (ServerRefused, "power state cannot be determined (HTTP 500)"),
    "34": NO_RESPONSE,
    "35": NO_COMMAND,
    "36": NO_COMMAND,
    "37": NO_RESPONSE,
    "38": NO_COMMAND,
    "39": NO_COMMAND,
    "40": NOT_JSON,
    "41": NO_COMMAND,
    "42": NO_COMMAND,
    "43": "acknowledge",
    "44": "poweroff",
    "45": NO_RESPONSE,
    "46": NO_COMMAND,
    "47": NO_COMMAND,
    "48": NO_COMMAND,
    "49": "acknowledge",
    "50": "reboot",
    "51": NOT_JSON,
    "52": "acknowledge",
    "53": NO_ROUTE,
    "54": NO_ROUTE,
    "55": (ServerRefused, "405 Not Allowed (HTTP 500)"),
    "56": Registration("2dRRJ4YP0vLsii4IAMgU1s"),
    "57": NO_COMMAND,
    "58": "register",
    "59": "acknowledge",
    "60": "reboot",
    "61": NO_RESPONSE,
    "62": "register",
}


def play(number: str) -> Union[Reply, Registration]:
    """Send the transcript's own request and read its answer, as a checkin or as a registration."""
    request = parse_request(read_wire(f"hanlon/{number}-request.http"))
    with WireServer(read_wire(f"hanlon/{number}-answer.http")) as server:
        answer = exchange(request.method, server.uri + request.target, body=request.body or None)
    if request.method == "POST" and request.target.endswith("/node/register"):
        return HANLON.parse_registration(answer)
    return HANLON.parse_checkin(answer)


def test_the_table_has_every_recorded_answer() -> None:
    recorded = {path.name.partition("-")[0] for path in (WIRE / "hanlon").glob("*-answer.http")}
    assert recorded == set(OUTCOMES)
    assert {number.rstrip("b") for number in OUTCOMES} == {f"{number:02}" for number in range(1, 63)}


@pytest.mark.parametrize("number", OUTCOMES)
def test_answer(number: str) -> None:
    outcome = OUTCOMES[number]
    if isinstance(outcome, tuple):
        kind, words = outcome
        with pytest.raises(kind) as caught:
            play(number)
        assert words in str(caught.value)
        assert str(caught.value).isprintable()
    elif isinstance(outcome, Registration):
        assert play(number) == outcome
    else:
        assert play(number) == Reply(outcome, CLIENT_CONFIG)


def test_a_checkin_without_parameters_tells_the_dialect() -> None:
    """Two requests: the transcript's refusal of a checkin without last_state, and its words for an unknown route."""
    plays = in_turn(read_wire("hanlon/53-answer.http"), read_wire("hanlon/10-answer.http"))
    with WireServer(plays) as server:
        unknown = exchange("GET", server.uri + "/razor/api/node/checkin")
        known = exchange("GET", server.uri + "/hanlon/api/v1/node/checkin")
    assert recognise(unknown) is None
    assert recognise(known) is HANLON


def test_a_whole_morning_in_turn() -> None:
    """Unknown node, registration, acknowledge, policy bound, poweroff: the order of the transcript."""
    numbers = ("08", "18", "19", "43", "44")
    seen: list[str] = []
    with WireServer(in_turn(*(read_wire(f"hanlon/{number}-answer.http") for number in numbers))) as server:
        for number in numbers:
            request = parse_request(read_wire(f"hanlon/{number}-request.http"))
            answer = exchange(request.method, server.uri + request.target, body=request.body or None)
            if request.method == "POST":
                seen.append(HANLON.parse_registration(answer).node)
            else:
                seen.append(HANLON.parse_checkin(answer).command)
    assert seen == ["register", "1GkZcxXNIB8Ox2ZAnyriu4", "acknowledge", "acknowledge", "poweroff"]
