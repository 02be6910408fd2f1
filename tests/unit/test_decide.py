"""The table of decisions: rows 39, 40, 46 to 53, 56, 57, 59 to 61; B19 to B23.

Each row: what was remembered, what happened, the moment; then the actions less reports and waits, the events reported,
and what changed in the state. Waits have their own tests.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from random import Random
from typing import Any, Optional, TypeVar

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mkcore import events, jsonfields
from mkcore.errors import BadAnswer, BusFailed, NotAuthorized, ServerRefused, ToolFailed, Unreachable
from mkcore.events import Event
from mkctl import plan
from mkctl.decide import decide
from mkctl.dialects.model import Reply
from mkctl.plan import Decision, Facts, PostConfig, Probation, Settings, Situation, State, Verdict

SERVER = "http://192.0.2.1:8026"
Value = TypeVar("Value", State, Situation, Facts, Settings, Probation)


def replace(value: Value, **changes: Any) -> Value:
    return value._replace(**changes)


READY = Facts(present=True, complete=True, digest="d1", age_s=20, uevents_unchanged=True)
COLLECTING = Facts(present=True, complete=False, age_s=20)
ABSENT = Facts()
NOW = Situation(now_s=1000.0, server=SERVER, seed="node", facts=READY)
MOVING = replace(NOW, facts=replace(READY, uevents_unchanged=False))
FRESH = State(fetch_started=True)  # as all states but those of the rows about it
KNOWN = State(
    first_checkin=False, registered_digest="d1", registered_server=SERVER, in_contact=True, ever_in_contact=True,
    last_command="acknowledge", slot_s=990.0, fetch_started=True,
)  # fmt: skip
ORDERED = replace(KNOWN, registered_digest="", wanted="ordered", last_command="register")
CONFIG: dict[str, jsonfields.Json] = {"mk_checkin_interval": 30}
DIGEST = jsonfields.digest(CONFIG)
POST = PostConfig(CONFIG, ("mk_checkin_interval",))
POSTING = replace(KNOWN, pending_post=POST)
TRIED = Probation("p1", since_s=900.0)
UNFETCHED = replace(KNOWN, fetch_started=False)
FETCH = plan.FetchExtensions()
NO_RIGHT = NotAuthorized("not authorized", "org.freedesktop.DBus.Error.AccessDenied")


def says(command: str, *differing: str, config: Optional[dict[str, jsonfields.Json]] = None) -> plan.CheckedIn:
    return plan.CheckedIn(Reply(command, config or (CONFIG if differing else {})), differing)


PUSH = says("acknowledge", "mk_checkin_interval")
SAVE = plan.SaveState()
LOST = plan.CheckinFailed(Unreachable("192.0.2.1: connection refused"))


USUAL = Settings()
POWER = Settings(allow_power_orders=True)


@dataclass(frozen=True)
class Row:
    """One line of the table."""

    name: str
    state: State
    outcome: plan.Outcome
    actions: tuple[plan.Action, ...] = ()
    reports: tuple[Event, ...] = ()
    changes: dict[str, Any] = field(default_factory=dict)
    now: Situation = NOW
    settings: Settings = USUAL

ROWS = [
    # no server, no answer
    Row("no server known", FRESH, plan.NoServer("no route"), (), (events.WAITING,), {"failures": 1}),
    Row("still none", replace(FRESH, last_failure="no route"), plan.NoServer("no route"), (), (), {"failures": 1}),
    Row("never reached", FRESH, LOST, (), (events.WAITING,), {"failures": 1, "in_contact": False}),
    Row("server unreachable", KNOWN, LOST, (), (events.SERVER_LOST,), {"failures": 1, "in_contact": False,
        "slot_s": 990.0}),
    Row("still unreachable", replace(KNOWN, in_contact=False, failures=3, last_failure=f"Unreachable: {LOST.error}"),
        LOST,
        (), (), {"failures": 4}),
    Row("unreachable for another reason", replace(KNOWN, in_contact=False, failures=3, last_failure="Unreachable: x"),
        LOST, (), (events.SERVER_LOST,), {"failures": 4}),
    Row("errcode not 0", KNOWN, plan.CheckinFailed(ServerRefused("checkin refused: x", 400)), (),
        (events.CHECKIN_REFUSED,),
        {"first_checkin": False, "registered_digest": "d1"}),
    Row("no checkin answer", KNOWN, plan.CheckinFailed(BadAnswer("checkin: not JSON")), (), (events.BAD_ANSWER,)),
    Row("server back", replace(KNOWN, in_contact=False, failures=3, last_failure="x"), says("acknowledge"), (),
        (events.SERVER_BACK,), {"failures": 0, "last_failure": "", "in_contact": True}),
    # acknowledge
    Row("first acknowledge, nothing registered yet", FRESH, says("acknowledge"), (SAVE, plan.Register("new")),
        (events.SERVER_FOUND,), {"first_checkin": False, "registering": True}),
    Row("first acknowledge, facts being collected", FRESH, says("acknowledge"), (SAVE,), (events.SERVER_FOUND,),
        {"first_checkin": False, "registering": False}, replace(NOW, facts=COLLECTING)),
    Row("later acknowledge", KNOWN, says("acknowledge"), (), (), {"last_command": "acknowledge"}),
    Row("digest changed", replace(KNOWN, registered_digest="d0"), says("acknowledge"),
        (plan.Register("facts changed"),)),
    Row("digest changed, old facts will do", replace(KNOWN, registered_digest="d0"), says("acknowledge"),
        (plan.Register("facts changed"),), now=replace(NOW, facts=replace(READY, age_s=900))),
    Row("digest changed, the hardware too: it is collected first", replace(KNOWN, registered_digest="d0"),
        says("acknowledge"), changes={"changed_since_s": 1000.0}, now=MOVING),
    Row("hardware comes and goes for a minute", replace(KNOWN, registered_digest="d0", changed_since_s=941.0),
        says("acknowledge"), changes={"changed_since_s": 941.0}, now=MOVING),
    Row("hardware comes and goes for longer", replace(KNOWN, registered_digest="d0", changed_since_s=940.0),
        says("acknowledge"), (plan.Register("facts changed"),), changes={"changed_since_s": None}, now=MOVING),
    Row("hardware came and went", replace(KNOWN, changed_since_s=990.0), says("acknowledge"),
        changes={"changed_since_s": None}, now=MOVING),
    Row("other server", replace(KNOWN, registered_server="http://b"), says("acknowledge"),
        (plan.Register("other server"),)),
    Row("facts file gone, registered long ago", KNOWN, says("acknowledge"), now=replace(NOW, facts=ABSENT)),
    Row("facts file incomplete again, registered long ago", KNOWN, says("acknowledge"), now=replace(NOW,
        facts=COLLECTING)),
    # register
    Row("register, facts there", KNOWN, says("register"), (SAVE, plan.Register("ordered")), (events.COMMAND_RECEIVED,),
        {"registered_digest": "", "wanted": "ordered", "registering": True, "first_checkin": False}),
    Row("register keeps the first-checkin flag until it succeeded", FRESH, says("register"),
        (plan.Register("ordered"),),
        (events.SERVER_FOUND, events.COMMAND_RECEIVED), {"first_checkin": True}),
    Row("register again in the next minute: facts are reused (B23)", replace(KNOWN, last_command="register"),
        says("register"), (SAVE, plan.Register("ordered"))),
    Row("register, facts at the age limit", KNOWN, says("register"), (SAVE, plan.Register("ordered")),
        (events.COMMAND_RECEIVED,), now=replace(NOW, facts=replace(READY, age_s=300))),
    Row("register, facts too old", KNOWN, says("register"), (SAVE, plan.CollectFacts("they are 301 s old")),
        (events.COMMAND_RECEIVED,), {"registering": False, "wanted": "ordered"},
        replace(NOW, facts=replace(READY, age_s=301))),
    Row("register, hardware event since", KNOWN, says("register"), (SAVE, plan.CollectFacts("the hardware changed")),
        (events.COMMAND_RECEIVED,), now=replace(NOW, facts=replace(READY, uevents_unchanged=False))),
    Row("register, being collected", FRESH, says("register"), (), (events.SERVER_FOUND, events.COMMAND_RECEIVED),
        {"wanted": "ordered"}, replace(NOW, facts=COLLECTING)),
    Row("register, collection given up", ORDERED, says("register"), (plan.CollectFacts("they were left incomplete"),),
        now=replace(NOW, facts=replace(COLLECTING, age_s=200))),
    Row("register, facts absent", ORDERED, says("register"), (plan.CollectFacts("there are none"),),
        now=replace(NOW, facts=ABSENT)),
    Row("register, held back", ORDERED, says("register"), now=replace(NOW, hold_registration=True)),
    Row("hold released", ORDERED, plan.HoldReleased(), (plan.Register("ordered"),)),
    Row("hold released, nothing owed", KNOWN, plan.HoldReleased()),
    Row("hold released without contact", replace(ORDERED, in_contact=False), plan.HoldReleased()),
    Row("register while one is under way", replace(ORDERED, registering=True), says("register")),
    Row("the order stays owed over an acknowledge", ORDERED, says("acknowledge"), (plan.Register("ordered"),)),
    Row("a person asks", KNOWN, plan.RegisterAsked(), (plan.Register("asked"),), (), {"wanted": "asked"}),
    Row("a person asks before contact", FRESH, plan.RegisterAsked(), (plan.Register("asked"),)),
    Row("a person asks during a pause", replace(KNOWN, register_not_before_s=2000.0), plan.RegisterAsked(),
        (plan.Register("asked"),), (), {"register_not_before_s": 0.0}),
    # facts
    Row("facts arrive, registration owed", ORDERED, plan.FactsArrived(), (plan.Register("ordered"),),
        now=replace(NOW, facts=replace(READY, age_s=999, uevents_unchanged=False))),
    Row("facts arrive, incomplete", ORDERED, plan.FactsArrived(), now=replace(NOW, facts=COLLECTING)),
    Row("facts arrive, the same", KNOWN, plan.FactsArrived()),
    Row("facts arrive, changed", replace(KNOWN, registered_digest="d0"), plan.FactsArrived(),
        (plan.Register("facts changed"),)),
    Row("facts arrive, changed, and the hardware moved on", replace(KNOWN, registered_digest="d0"),
        plan.FactsArrived(), changes={"changed_since_s": 1000.0}, now=MOVING),
    Row("facts arrive, no server", replace(ORDERED, in_contact=False), plan.FactsArrived()),
    Row("facts arrive, held back", ORDERED, plan.FactsArrived(), now=replace(NOW, hold_registration=True)),
    Row("facts arrive while registering", replace(ORDERED, registering=True), plan.FactsArrived()),
    Row("facts arrive during a pause after a failure", replace(ORDERED, register_not_before_s=1010.0),
        plan.FactsArrived()),
    Row("collection failed, old facts there", ORDERED, plan.FactsFailed(ToolFailed("mk-facts failed")),
        (plan.Register("ordered"),), (events.COLLECTOR_FAILED,), {}, replace(NOW, facts=replace(READY, age_s=999))),
    Row("collection failed, none there", ORDERED, plan.FactsFailed(NO_RIGHT), (), (events.RIGHT_MISSING,),
        {"wanted": "ordered"}, replace(NOW, facts=ABSENT)),
    # results of a registration
    Row("registered", replace(ORDERED, first_checkin=True, registering=True, register_failures=2),
        plan.Registered(SERVER, "d1"),
        (SAVE,), (events.REGISTERED,), {"first_checkin": False, "registered_digest": "d1", "registered_server": SERVER,
        "wanted": "", "registering": False, "register_failures": 0}),
    Row("registered, then the configuration", replace(POSTING, registering=True), plan.Registered(SERVER, "d1"),
        (SAVE, SAVE, POST),
        (events.REGISTERED,), {"pending_post": POST}),
    Row("registration failed", replace(ORDERED, registering=True), plan.RegistrationFailed(ServerRefused("no", 500)),
        (),
        (events.REGISTRATION_FAILED,), {"registering": False, "wanted": "ordered", "registered_digest": "",
        "register_failures": 1}),
    Row("registration failed, then the configuration", replace(POSTING, registering=True),
        plan.RegistrationFailed(Unreachable("gone")), (SAVE, POST), (events.REGISTRATION_FAILED,)),
    Row("row 56: tried again at the next checkin", replace(ORDERED, register_failures=1, register_not_before_s=999.0),
        says("acknowledge"), (plan.Register("ordered"),)),
    Row("not before the server wants it again", replace(ORDERED, register_not_before_s=1001.0), says("register")),
    # power and unknown commands
    Row("reboot", KNOWN, says("reboot"), (SAVE, plan.Power("reboot")), (events.COMMAND_RECEIVED,
        events.POWER_ORDER_OBEYED),
        {"last_command": "reboot"}, settings=POWER),
    Row("poweroff", KNOWN, says("poweroff"), (SAVE, plan.Power("poweroff")),
        (events.COMMAND_RECEIVED, events.POWER_ORDER_OBEYED), settings=POWER),
    Row("poweroff again", replace(KNOWN, last_command="poweroff"), says("poweroff"), (SAVE, plan.Power("poweroff")),
        (events.POWER_ORDER_OBEYED,), settings=POWER),
    Row("no configuration on the way down", KNOWN, says("reboot", "mk_checkin_interval"), (SAVE, plan.Power("reboot")),
        (events.COMMAND_RECEIVED, events.POWER_ORDER_OBEYED), {"pending_post": None}, settings=POWER),
    Row("power order not allowed", KNOWN, says("poweroff"), (), (events.COMMAND_RECEIVED, events.POWER_ORDER_REFUSED),
        {"last_command": "poweroff"}),
    Row("not allowed, said once", replace(KNOWN, last_command="poweroff"), says("poweroff")),
    Row("not allowed, configuration still taken", replace(KNOWN, last_command="reboot"), says("reboot",
        "mk_checkin_interval"),
        (SAVE, POST)),
    Row("not allowed, the flag stays", replace(FRESH, last_command="reboot", ever_in_contact=True, in_contact=True),
        says("reboot"), (plan.Register("new"),), (), {"first_checkin": True}),
    Row("power order fails for want of a right", KNOWN, plan.PowerFailed("reboot", NO_RIGHT), (),
        (events.RIGHT_MISSING,)),
    Row("power order fails", KNOWN, plan.PowerFailed("reboot", BusFailed("no bus")), (), (events.POWER_ORDER_REFUSED,)),
    Row("unknown command, as acknowledge", replace(KNOWN, first_checkin=True), says("inventory"), (SAVE,),
        (events.COMMAND_RECEIVED, events.COMMAND_UNKNOWN), {"first_checkin": False}),
    Row("unknown command, said once", replace(KNOWN, last_command="inventory"), says("inventory")),
    # configuration
    Row("config same", KNOWN, plan.CheckedIn(Reply("acknowledge", CONFIG), ()), (), (), {"pending_post": None}),
    Row("no config sent", KNOWN, plan.CheckedIn(Reply("acknowledge", None), ("mk_checkin_interval",))),
    Row("config different", KNOWN, PUSH, (SAVE, POST), (), {"pending_post": POST}),
    Row("config different at the first acknowledge: flag stored, registered, then posted", FRESH, PUSH,
        (SAVE, plan.Register("new")), (events.SERVER_FOUND,), {"first_checkin": False, "pending_post": POST}),
    Row("config different, registration waits for facts: posted at once", FRESH, says("register",
        "mk_checkin_interval"),
        (SAVE, POST), (events.SERVER_FOUND, events.COMMAND_RECEIVED), {}, replace(NOW, facts=COLLECTING)),
    Row("config refused before", KNOWN, PUSH, (), (events.CONFIG_REFUSED,), {"settled_config": DIGEST},
        replace(NOW, refused_digests=frozenset({DIGEST}))),
    Row("config refused before, as merged", KNOWN, PUSH, (), (events.CONFIG_REFUSED,), {},
        replace(NOW, pushed={"mk_x": 1}, refused_digests=frozenset({jsonfields.digest({"mk_x": 1, **CONFIG})}))),
    Row("said once", replace(KNOWN, settled_config=DIGEST), PUSH, now=replace(NOW,
        refused_digests=frozenset({DIGEST}))),
    Row("changed since it was refused", replace(KNOWN, settled_config="other"), PUSH, (SAVE, POST)),
    Row("not before mkweb wants it again", replace(KNOWN, post_not_before_s=1001.0), PUSH),
    Row("stored: wait for the restart", POSTING, plan.ConfigStored(), (plan.AwaitRestart(10.0),), (),
        {"pending_post": None}),
    Row("unchanged: not posted again", POSTING, plan.ConfigUnchanged(), (), (), {"settled_config": DIGEST,
        "pending_post": None}),
    Row("refused: not posted again", POSTING, plan.ConfigNotTaken("422", final=True), (), (events.CONFIG_REFUSED,),
        {"settled_config": DIGEST, "pending_post": None, "post_not_before_s": 0.0}),
    Row("later", POSTING, plan.ConfigNotTaken("429", False, 45.0), (), (events.CONFIG_REFUSED,),
        {"settled_config": "", "post_not_before_s": 1045.0}),
    Row("later, said once", replace(POSTING, post_failure="409"), plan.ConfigNotTaken("409", False), (), (),
        {"post_not_before_s": 1060.0}),
    Row("no restart came", KNOWN, plan.NotRestarted(), (), (), {"post_not_before_s": 1060.0}),
    # probation
    Row("good checkin confirms", replace(KNOWN, probation=TRIED), says("acknowledge"), (plan.Confirm("p1"),), (),
        {"probation": replace(TRIED, verdict=Verdict.CONFIRM)}),
    Row("good checkin confirms before a further push", replace(KNOWN, probation=TRIED), PUSH, (plan.Confirm("p1"),)),
    Row("first failure", replace(KNOWN, probation=TRIED), LOST, (), (events.SERVER_LOST,),
        {"probation": replace(TRIED, failed_checkins=1)}),
    Row("third failure refuses", replace(KNOWN, in_contact=False, probation=replace(TRIED, failed_checkins=2)), LOST,
        (plan.Refuse("p1", "3 checkins failed with it: Unreachable: 192.0.2.1: connection refused"),),
        (events.SERVER_LOST,)),
    Row("five minutes refuse", replace(FRESH, probation=replace(TRIED, since_s=700.0)), LOST,
        (plan.Refuse("p1", "no good checkin within 300 s: Unreachable: 192.0.2.1: connection refused"),),
        (events.WAITING,)),
    Row("five minutes without a server", replace(FRESH, probation=replace(TRIED, since_s=700.0), last_failure="dhcp"),
        plan.NoServer("dhcp"), (plan.Refuse("p1", "no good checkin within 300 s: dhcp"),)),
    Row("not yet", replace(FRESH, probation=TRIED), LOST, (), (events.WAITING,)),
    Row("an undelivered verdict is told again", replace(KNOWN, probation=replace(TRIED,
        verdict=Verdict.CONFIRM)),
        LOST, (plan.Confirm("p1"),), (events.SERVER_LOST,)),
    Row("confirmed", replace(KNOWN, probation=replace(TRIED, verdict=Verdict.CONFIRM)), plan.VerdictDelivered(), (), (),
        {"probation": None}),
    Row("refused: mkweb rolls back", replace(KNOWN, probation=replace(TRIED, verdict=Verdict.REFUSE)),
        plan.VerdictDelivered(),
        (plan.AwaitRestart(10.0),), (), {"probation": None}),
    Row("mkweb silent", replace(KNOWN, probation=TRIED), plan.VerdictFailed(Unreachable("mkweb")), (), (),
        {"probation": TRIED}),
    Row("mkweb has no such apply", replace(KNOWN, probation=TRIED), plan.VerdictFailed(NO_RIGHT), (), (),
        {"probation": None}),
    # extensions
    Row("first good checkin of a start", UNFETCHED, says("acknowledge"), (FETCH,), (), {"fetch_started": True}),
    Row("later ones", replace(UNFETCHED, fetch_started=True), says("acknowledge")),
    Row("the registration goes first", replace(UNFETCHED, registered_digest=""), says("acknowledge"),
        (plan.Register("new"), FETCH)),
    Row("a registration that is held back holds up no fetching", replace(UNFETCHED, registered_digest=""),
        says("acknowledge"), (FETCH,), now=replace(NOW, hold_registration=True)),
    Row("no contact, no mirrors of the network", UNFETCHED, LOST, (), (events.SERVER_LOST,), {"fetch_started": False}),
    Row("not with a configuration that is being replaced", UNFETCHED, PUSH, (SAVE, POST), (),
        {"fetch_started": False}),
    Row("a configuration that mkweb does not take", replace(UNFETCHED, settled_config=DIGEST), PUSH, (FETCH,)),
    Row("the verdict on the configuration goes first", replace(UNFETCHED, probation=TRIED), says("acknowledge"),
        (plan.Confirm("p1"), FETCH)),
    Row("not on the way down", UNFETCHED, says("reboot"), (SAVE, plan.Power("reboot")),
        (events.COMMAND_RECEIVED, events.POWER_ORDER_OBEYED), {"fetch_started": False}, settings=POWER),
    Row("it cannot be started for want of a right", KNOWN, plan.FetchFailed(NO_RIGHT), (), (events.RIGHT_MISSING,),
        {"fetch_started": False, "fetch_failures": 1}),
    Row("it cannot be started", KNOWN, plan.FetchFailed(BusFailed("no bus")), (), (events.WAITING,)),
    Row("said once", replace(KNOWN, fetch_failures=1), plan.FetchFailed(BusFailed("no bus")), (), (),
        {"fetch_failures": 2}),
    Row("tried again after a pause", replace(UNFETCHED, fetch_failures=1, fetch_not_before_s=1000.0),
        says("acknowledge"), (FETCH,)),
    Row("not before its end", replace(UNFETCHED, fetch_failures=1, fetch_not_before_s=1001.0), says("acknowledge")),
]  # fmt: skip


def run(row: Row) -> Decision:
    return decide(row.state, row.outcome, row.now, row.settings)


@pytest.mark.parametrize("row", ROWS, ids=lambda row: row.name)
def test_row(row: Row) -> None:
    decision = run(row)
    quiet = tuple(each for each in decision.actions if not isinstance(each, (plan.Report, plan.Wait)))
    assert quiet == row.actions
    assert tuple(each.event for each in decision.actions if isinstance(each, plan.Report)) == row.reports
    assert {name: getattr(decision.state, name) for name in row.changes} == row.changes


def test_a_missing_right_names_the_unit() -> None:
    """As mkweb's does, so that one alert suits both."""
    decision = decide(KNOWN, plan.FetchFailed(NO_RIGHT), NOW, USUAL)
    (report,) = (each for each in decision.actions if isinstance(each, plan.Report))
    assert report.fields["unit"] == "mk-fetch.service"


@pytest.mark.parametrize("row", ROWS, ids=lambda row: row.name)
def test_laws_of_every_row(row: Row) -> None:
    decision = run(row)
    waits = [each for each in decision.actions if isinstance(each, plan.Wait)]
    assert len(waits) <= 1
    assert not waits or decision.actions[-1] is waits[0]
    if isinstance(row.outcome, (plan.CheckedIn, plan.CheckinFailed, plan.NoServer)):
        assert waits and row.now.now_s <= waits[0].until_s <= row.now.now_s + 99, "the next checkin is always planned"
    for each in decision.actions:
        if isinstance(each, plan.Report):
            assert each.message and "\n" not in each.message
        if isinstance(each, PostConfig):
            assert decision.actions[decision.actions.index(each) - 1] == SAVE, "the flag is stored before a post"


def test_every_outcome_has_a_row() -> None:
    covered = {type(row.outcome) for row in ROWS}
    assert covered == set(plan.Outcome.__args__)  # type: ignore[attr-defined]


def wait_of(decision: Decision) -> plan.Wait:
    (wait,) = [each for each in decision.actions if isinstance(each, plan.Wait)]
    return wait


def test_rows_39_40_first_contact_chooses_the_nodes_own_slot_and_keeps_the_rate() -> None:
    first = decide(FRESH, says("acknowledge"), NOW, Settings())
    slot = wait_of(first).until_s
    assert 1000.0 < slot <= 1060.0
    again = decide(FRESH, says("acknowledge"), replace(NOW, seed="another node"), Settings())
    assert wait_of(again).until_s != slot
    at_slot = decide(first.state, says("acknowledge"), replace(NOW, now_s=slot + 0.3), Settings())
    assert wait_of(at_slot).until_s == pytest.approx(slot + 60)
    between = decide(first.state, says("acknowledge"), replace(NOW, now_s=slot - 0.1), Settings())
    assert wait_of(between).until_s == slot
    late = decide(first.state, says("acknowledge"), replace(NOW, now_s=slot + 150), Settings())
    assert wait_of(late).until_s == pytest.approx(slot + 180)


def test_row_59_failures_back_off_with_jitter_below_the_ceiling() -> None:
    state, longest = KNOWN, []
    for _ in range(12):
        decision = decide(state, LOST, replace(NOW, rand=0.999), Settings())
        longest.append(wait_of(decision).until_s - 1000.0)
        state = decision.state
    assert longest[0] <= 2.0
    assert longest == sorted(longest)
    assert 85.0 < longest[-1] <= 90.0
    assert wait_of(decide(state, LOST, replace(NOW, rand=0.0), Settings())).until_s == 1000.0


def test_a_servers_retry_after_counts_up_to_the_ceiling() -> None:
    def delay(retry_after_s: float) -> float:
        outcome = plan.CheckinFailed(ServerRefused("busy", 503, retry_after_s))
        return wait_of(decide(KNOWN, outcome, NOW, Settings())).until_s - 1000.0

    assert 30.0 <= delay(30.0) <= 32.0
    assert delay(86_400.0) <= 90.0


def test_on_probation_checkins_are_at_most_60_and_failed_ones_at_least_15_seconds_apart() -> None:
    hourly = Settings(interval_s=3600.0)
    state = replace(KNOWN, probation=TRIED, slot_s=None)
    assert wait_of(decide(state, says("acknowledge"), NOW, hourly)).until_s == 1060.0
    assert wait_of(decide(state, LOST, replace(NOW, rand=0.0), hourly)).until_s == 1015.0
    failed = replace(state, failures=9)
    assert wait_of(decide(failed, LOST, replace(NOW, rand=0.999), hourly)).until_s == 1060.0


def test_a_failed_registration_is_tried_before_the_next_slot_only_if_its_pause_is_over() -> None:
    state = replace(ORDERED, registering=True, slot_s=1050.0)
    soon = decide(state, plan.RegistrationFailed(Unreachable("gone")), NOW, Settings())
    assert 1000.0 <= wait_of(soon).until_s <= 1005.0
    later = decide(state, plan.RegistrationFailed(ServerRefused("busy", 503, 80.0)), NOW, Settings())
    assert wait_of(later).until_s == 1050.0
    assert later.state.register_not_before_s >= 1080.0


def test_the_whole_life_of_a_node() -> None:
    """Boot, order while facts are collected, a push, restart, a hardware change, a forgetful server, poweroff."""
    state, now = State(), replace(NOW, facts=COLLECTING)
    settings = Settings(allow_power_orders=True)

    def step(outcome: plan.Outcome) -> tuple[plan.Action, ...]:
        nonlocal state
        decision = decide(state, outcome, now, settings)
        state = decision.state
        return tuple(each for each in decision.actions if not isinstance(each, (plan.Report, plan.Wait)))

    assert step(plan.NoServer("no route")) == ()
    assert step(says("register", "mk_checkin_interval")) == (SAVE, POST)
    assert step(plan.ConfigStored()) == (plan.AwaitRestart(10.0),)

    # SIGTERM; the next process starts with what was stored
    assert not state.fetch_started, "a configuration was on its way"
    state = State(first_checkin=state.first_checkin, registered_digest=state.registered_digest, probation=TRIED)
    now = replace(NOW, pushed=CONFIG)
    assert state.first_checkin
    assert step(says("register")) == (plan.Confirm("p1"), plan.Register("ordered"), FETCH)
    assert step(plan.VerdictDelivered()) == ()
    assert step(plan.Registered(SERVER, "d1")) == (SAVE,)
    assert not state.first_checkin
    for _ in range(10):
        assert step(plan.CheckedIn(Reply("acknowledge", CONFIG), ())) == ()

    now = replace(now, facts=replace(READY, digest="d2"))
    assert step(plan.FactsArrived()) == (plan.Register("facts changed"),)
    assert step(plan.RegistrationFailed(Unreachable("gone"))) == ()
    assert step(LOST) == ()
    now = replace(now, now_s=1100.0)
    assert step(says("acknowledge")) == (plan.Register("facts changed"),)
    assert step(plan.Registered(SERVER, "d2")) == (SAVE,)

    assert step(says("register")) == (SAVE, plan.Register("ordered"))
    assert step(plan.Registered(SERVER, "d2")) == (SAVE,)
    assert step(says("poweroff")) == (SAVE, plan.Power("poweroff"))


def test_an_order_survives_a_restart_before_it_was_fulfilled() -> None:
    ordered = decide(KNOWN, says("register"), replace(NOW, facts=COLLECTING), Settings())
    assert SAVE in ordered.actions
    restarted = State(first_checkin=False, registered_digest=ordered.state.registered_digest, registered_server=SERVER)
    assert plan.Register("new") in decide(restarted, says("acknowledge"), NOW, Settings()).actions


@given(st.lists(st.sampled_from(ROWS), max_size=30), st.randoms(use_true_random=False))
def test_no_sequence_of_outcomes_breaks_a_law(rows: list[Row], random: Random) -> None:
    state, now_s = replace(FRESH, probation=TRIED), 1000.0
    for row in rows:
        now_s += random.random() * 100
        before = state
        decision = decide(state, row.outcome, replace(row.now, now_s=now_s, rand=random.random()), row.settings)
        state = decision.state
        assert before.first_checkin or not state.first_checkin, "the flag never comes back"
        registers = any(isinstance(each, plan.Register) for each in decision.actions)
        assert not (registers and before.registering), "one registration at a time"
        if any(isinstance(each, plan.Power) for each in decision.actions):
            assert row.settings.allow_power_orders
