"""What stock servers push to an unconfigured node changes nothing, ten checkins long (B19 to B22; rows 60 to 62)."""

from __future__ import annotations

import json
from pathlib import Path
from typing import cast

import pytest

from mkcore import config
from mkcore.config import Effective, Site
from mkcore.http import Answer
from mkcore.jsonfields import Json
from mkcore.paths import Paths
from mkctl import plan
from mkctl.decide import decide
from mkctl.dialects import DIALECTS, Reply
from mkctl.plan import Facts, Settings, Situation, State
from tests.fakes import parse_request, read_wire

SERVER = "http://192.168.2.1:8026"


def pushed(name: str) -> dict[str, Json]:
    data = read_wire(name)
    body = data if name.endswith(".json") else data.partition(b"\r\n\r\n")[2]
    found = json.loads(body)
    return cast("dict[str, Json]", found.get("client_config", found))


RAZOR_13 = pushed("protocol/2.1-razor-client-config.json")
HANLON_2 = pushed("hanlon/08-answer.http")
HANLON_3_KEYS = ("mk_checkin_interval", "mk_checkin_skew", "mk_log_level", "mk_fact_excl_pattern")
HANLON_3 = {key: HANLON_2[key] for key in HANLON_3_KEYS}
MULTI_HOMED = {**RAZOR_13, "mk_uri": "http://10.99.99.99:8026", "mk_checkin_path": "/elsewhere"}
NO_PORT = {**RAZOR_13, "mk_tce_mirror_uri": "http://localhost:/tinycorelinux"}


def unconfigured(tmp_path: Path, dialect: str, stored: dict[str, Json]) -> Effective:
    paths = Paths(etc=tmp_path / "etc", lib=tmp_path / "lib", credentials=tmp_path / "credentials")
    site: Site = config.read_site(paths)
    return config.effective(site, stored, config.DIALECT_DEFAULTS[dialect])


@pytest.mark.parametrize(
    ("dialect", "sent", "stored"),
    [
        ("razor", RAZOR_13, {}),
        ("hanlon", HANLON_2, {}),
        ("hanlon", HANLON_3, {}),
        pytest.param("hanlon", HANLON_3, {**HANLON_2, "mk_unknown": "kept"}, id="B20 a stored key that is not sent"),
        pytest.param("razor", MULTI_HOMED, {}, id="B21 a wrong address of the server's own"),
        pytest.param("razor", NO_PORT, {}, id="B17 a mirror without a port"),
        pytest.param("razor", {**RAZOR_13, "mk_checkin_interval": "60"}, {}, id="a number as text"),
    ],
)
def test_ten_checkins_without_a_post(
    tmp_path: Path, dialect: str, sent: dict[str, Json], stored: dict[str, Json]
) -> None:
    effective = unconfigured(tmp_path, dialect, stored)
    state = State(first_checkin=False, registered_digest="d", registered_server=SERVER)
    facts = Facts(present=True, complete=True, digest="d", age_s=1.0, uevents_unchanged=True)
    for minute in range(10):
        situation = Situation(1000.0 + 60 * minute, SERVER, "node", facts, pushed=stored)
        reply = DIALECTS[dialect].parse_checkin(answer_with(sent))
        outcome = plan.CheckedIn(reply, tuple(config.differs(reply.config or {}, effective)))
        decision = decide(state, outcome, situation, Settings())
        state = decision.state
        assert not [each for each in decision.actions if isinstance(each, (plan.PostConfig, plan.Register))]


def answer_with(sent: dict[str, Json]) -> Answer:
    body = {"errcode": 0, "response": {"command_name": "acknowledge"}, "client_config": sent}
    return Answer(200, {}, json.dumps(body).encode())


def test_b22_a_push_without_address_and_paths_leaves_them(tmp_path: Path) -> None:
    effective = unconfigured(tmp_path, "hanlon", HANLON_2)
    assert effective.config.server_checkin_path == "/hanlon/api/v1/node/checkin"
    assert effective.config.server_register_path == "/hanlon/api/v1/node/register"


def test_a_changed_interval_is_posted_once_with_its_key(tmp_path: Path) -> None:
    effective = unconfigured(tmp_path, "hanlon", {})
    reply = Reply("acknowledge", {**HANLON_2, "mk_checkin_interval": 10})
    outcome = plan.CheckedIn(reply, tuple(config.differs(reply.config or {}, effective)))
    situation = Situation(1000.0, SERVER, "node", Facts())
    state = State(first_checkin=False, registered_digest="d", registered_server=SERVER)
    decision = decide(state, outcome, situation, Settings())
    assert [each for each in decision.actions if isinstance(each, plan.PostConfig)] == [
        plan.PostConfig(cast("dict[str, Json]", reply.config), ("mk_checkin_interval",))
    ]


def test_the_recorded_push_of_the_razor_controller_is_plain_json_once_decoded() -> None:
    request = parse_request(read_wire("protocol/4-razor-setmkconfig.http"))
    assert request.target == "/setMkConfig"
    assert request.body.endswith(b"=")
