"""The worker over real files: whole applies, each moment at which mkweb can die, missing rights, ordered restarts.

The other side is a systemd with mkctl made of a few lines, declared as such: the bus and system tiers meet real ones.
"""

from __future__ import annotations

import json
import logging
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Optional

import pytest

from mkcore import events
from mkcore.errors import BusFailed, NotAuthorized
from mkcore.jsonfields import Json, digest
from mkweb.apply import Phase, Report
from mkweb.controller import Look
from mkweb.store import Store
from mkweb.worker import Refused, Worker

NEW: dict[str, Json] = {"mk_checkin_interval": 30}
OTHER: dict[str, Json] = {"mk_checkin_interval": 31}
EMPTY = digest({})


class Died(BaseException):
    """The moment at which kill -9 hits: nothing of mkweb runs after it."""


@dataclass
class Machine:
    """A systemd with one mkctl that reads its configuration at each start, as its clock and its rights allow."""

    directory: Path
    now: int = 1000 * 10**6
    active: str = "active"
    in_use: str = EMPTY
    config_error: str = ""
    jobs: list[str] = field(default_factory=list)
    """Results of the coming restarts; `done` when empty."""
    errors: list[BusFailed] = field(default_factory=list)
    """Failures of the coming calls, before any job."""
    falls_back: bool = False
    """mkctl starts, finds the configuration unusable and uses the one before."""
    restarts: int = 0
    dies: str = ""

    def now_usec(self) -> int:
        return self.now

    def restart(self) -> str:
        if self.dies == "before restart":
            raise Died
        if self.errors:
            raise self.errors.pop(0)
        self.restarts += 1
        job = self.jobs.pop(0) if self.jobs else "done"
        if job == "done":
            path = self.directory / "config.json"
            stored = json.loads(path.read_text()) if path.exists() else {}
            self.active, self.config_error, self.in_use = "active", "", digest(stored)
            if self.falls_back:
                self.in_use = digest(json.loads((self.directory / "config.prev.json").read_text()))
                self.config_error = "mk_checkin_interval is odd"
                self.falls_back = False
        elif job != "canceled":
            self.active, self.in_use = "activating", ""
        if self.dies == "after restart":
            raise Died
        return job

    def look(self) -> Look:
        if self.dies == "at the look":
            raise Died
        in_use = self.in_use if self.active == "active" else ""
        return Look(self.active, in_use=in_use, config_error=self.config_error if in_use else "")

    def last_words(self, look: Look) -> str:
        return "STATUS: Reading the configuration; journal: boom"


@pytest.fixture
def machine(tmp_path: Path) -> Machine:
    return Machine(tmp_path)


@pytest.fixture
def told() -> Iterator[list[str]]:
    """The names of the events written, in order."""
    names: list[str] = []

    class Keep(logging.Handler):
        def emit(self, record: logging.LogRecord) -> None:
            names.append(getattr(record, "journal_fields", {}).get("MK_EVENT", ""))

    handler = Keep()
    root = logging.getLogger()
    root.addHandler(handler)
    yield names
    root.removeHandler(handler)
    names[:] = [name for name in names if name]


def start(machine: Machine, spacing_s: int = 60) -> Worker:
    """What each start of mkweb does."""
    store = Store(machine.directory, "boot")
    return Worker(store, machine, min_spacing_s=lambda: spacing_s, rand=lambda: 1.0, now_usec=machine.now_usec)


def turn_until(worker: Worker, machine: Machine, done: Callable[[], bool], limit: int = 1000) -> None:
    """Let turns follow each other, with the clock moved on as the worker would have waited."""
    for _ in range(limit):
        if done():
            return
        machine.now += int(worker.turn() * 1e6)
    raise AssertionError(f"not reached: {worker.status()}")


def phase(worker: Worker) -> Optional[Phase]:
    apply = worker.state()[2]
    return None if apply is None else apply.phase


def push(worker: Worker, config: dict[str, Json] = NEW) -> str:
    apply = worker.push(config)
    worker.answered()
    return apply.digest


def on_disk(machine: Machine, name: str) -> Any:
    return json.loads((machine.directory / name).read_text())


def events_of(told: list[str]) -> list[str]:
    return [name for name in told if name]


def settle(worker: Worker, machine: Machine) -> None:
    turn_until(worker, machine, lambda: not worker.busy())


def test_a_good_configuration_is_confirmed(machine: Machine, told: list[str]) -> None:
    worker = start(machine)
    wanted = push(worker)
    turn_until(worker, machine, lambda: phase(worker) is Phase.PROBATION)
    assert on_disk(machine, "config.json") == NEW
    assert on_disk(machine, "config.prev.json") == {}
    assert on_disk(machine, "apply.json")["phase"] == "probation"
    assert worker.report(wanted, Report.CONFIRMED) == "probation"
    settle(worker, machine)
    assert (phase(worker), machine.restarts) == (Phase.CONFIRMED, 1)
    assert on_disk(machine, "apply.json")["phase"] == "confirmed"
    assert events_of(told) == ["CONFIG_STORED", "CONFIG_CONFIRMED"]
    assert worker.report(wanted, Report.CONFIRMED) == "confirmed"


def test_nothing_happens_before_the_answer_is_out(machine: Machine) -> None:
    worker = start(machine)
    worker.push(NEW)
    assert worker.turn() > 0
    assert (phase(worker), machine.restarts) == (Phase.STORED, 0)
    worker.answered()
    turn_until(worker, machine, lambda: machine.restarts == 1)


def test_an_answer_that_nobody_took_delays_for_seconds_only(machine: Machine) -> None:
    worker = start(machine)
    worker.push(NEW)
    machine.now += int(worker.turn() * 1e6)
    turn_until(worker, machine, lambda: machine.restarts == 1)


def test_a_confirmation_that_comes_early_counts_once_verdict_one_is_in(machine: Machine) -> None:
    worker = start(machine)
    wanted = push(worker)
    assert worker.report(wanted, Report.CONFIRMED) == "stored"
    settle(worker, machine)
    assert (phase(worker), machine.restarts) == (Phase.CONFIRMED, 1)


def failed_start(machine: Machine) -> None:
    machine.jobs = ["failed"]


def fell_back(machine: Machine) -> None:
    machine.falls_back = True


def timed_out(machine: Machine) -> None:
    machine.jobs = ["timeout"]


@pytest.mark.parametrize(
    ("prepare", "why"),
    [(failed_start, "journal: boom"), (fell_back, "mk_checkin_interval is odd"), (timed_out, "job timeout")],
)
def test_a_configuration_without_verdict_one_is_rolled_back(
    machine: Machine, told: list[str], prepare: Callable[[Machine], None], why: str
) -> None:
    worker = start(machine)
    prepare(machine)
    wanted = push(worker)
    settle(worker, machine)
    apply = worker.state()[2]
    assert apply is not None
    assert (apply.phase, apply.rolled_back, apply.spacing_s) == (Phase.REFUSED, True, 120)
    assert why in apply.verdict
    assert worker.state()[0] == on_disk(machine, "config.json") == {}
    assert (machine.in_use, machine.active, machine.restarts) == (EMPTY, "active", 2)
    assert events_of(told) == ["CONFIG_STORED", "CONFIG_ROLLED_BACK"]
    machine.now += 3600 * 10**6
    with pytest.raises(Refused, match="rolled back before") as refused:
        worker.push(NEW)
    assert refused.value.status == 422
    assert digest(NEW) == wanted


def test_mkctl_refuses_in_probation(machine: Machine, told: list[str]) -> None:
    worker = start(machine)
    wanted = push(worker)
    turn_until(worker, machine, lambda: phase(worker) is Phase.PROBATION)
    worker.report(wanted, Report.REFUSED, "3 checkins failed")
    settle(worker, machine)
    apply = worker.state()[2]
    assert apply is not None
    assert "3 checkins failed" in apply.verdict
    assert (machine.in_use, machine.restarts) == (EMPTY, 2)
    assert events_of(told)[-1] == "CONFIG_ROLLED_BACK"
    assert worker.report(wanted, Report.REFUSED) == "refused"  # told twice, since the first answer was lost
    with pytest.raises(Refused):
        worker.report(wanted, Report.CONFIRMED)


def test_a_hanging_mkctl_is_taken_back_after_the_safety_deadline(machine: Machine) -> None:
    worker = start(machine)
    push(worker)
    turn_until(worker, machine, lambda: phase(worker) is Phase.PROBATION)
    before = machine.now
    settle(worker, machine)
    apply = worker.state()[2]
    assert apply is not None
    assert "no verdict" in apply.verdict
    assert 360 <= (machine.now - before) / 1e6 < 400


def test_a_second_good_configuration_goes_back_to_the_first_when_it_fails(machine: Machine) -> None:
    worker = start(machine)
    first = push(worker)
    worker.report(first, Report.CONFIRMED)
    settle(worker, machine)
    machine.now += 61 * 10**6
    machine.jobs = ["failed"]
    push(worker, OTHER)
    settle(worker, machine)
    assert on_disk(machine, "config.json") == NEW
    assert machine.in_use == first


def test_one_at_a_time_and_not_too_often(machine: Machine) -> None:
    worker = start(machine)
    first = push(worker)
    with pytest.raises(Refused, match="an apply is open") as open_one:
        worker.push(OTHER)
    assert open_one.value.status == 409
    worker.report(first, Report.CONFIRMED)
    settle(worker, machine)
    with pytest.raises(Refused) as early:
        worker.push(OTHER)
    assert early.value.status == 429
    assert 0 < early.value.retry_after_s <= 60
    machine.now += int(early.value.retry_after_s * 1e6)
    push(worker, OTHER)


def test_verdicts_about_other_digests_are_refused(machine: Machine) -> None:
    worker = start(machine)
    assert worker.report(EMPTY, Report.CONFIRMED) == "confirmed"  # nothing was pushed, and that is what mkctl uses
    push(worker)
    for about in (EMPTY, digest(OTHER), ""):
        for report in (Report.CONFIRMED, Report.REFUSED):
            with pytest.raises(Refused) as refused:
                worker.report(about, report)
            assert refused.value.status == 409


def test_a_missing_right_is_one_event_and_is_tried_again(machine: Machine, told: list[str]) -> None:
    worker = start(machine)
    machine.errors = [NotAuthorized("RestartUnit failed: interactive authentication required") for _ in range(9)]
    wanted = push(worker)
    turn_until(worker, machine, lambda: not machine.errors)
    assert machine.in_use == EMPTY  # the old one stays in use
    assert (phase(worker), machine.restarts, worker.busy()) == (Phase.RESTARTING, 0, True)
    turn_until(worker, machine, lambda: phase(worker) is Phase.PROBATION)
    worker.report(wanted, Report.CONFIRMED)
    settle(worker, machine)
    assert events_of(told) == ["CONFIG_STORED", "RIGHT_MISSING", "CONFIG_CONFIRMED"]


def test_a_bus_that_is_away_is_tried_again_with_growing_waits(machine: Machine) -> None:
    worker = start(machine)
    machine.errors = [BusFailed("no connection") for _ in range(10)]
    push(worker)
    waits: list[float] = []
    while machine.restarts == 0:
        wait_s = worker.turn()
        machine.now += int(wait_s * 1e6)
        if wait_s:
            waits.append(round(wait_s))
    assert waits == [2, 4, 8, 16, 32, 60, 60, 60, 60, 60]


def test_mkctl_that_takes_it_by_itself_needs_no_restart(machine: Machine) -> None:
    worker = start(machine)
    machine.errors = [NotAuthorized("no")]
    wanted = push(worker)
    turn_until(worker, machine, lambda: not machine.errors)
    machine.in_use = wanted  # it crashed and came back
    turn_until(worker, machine, lambda: phase(worker) is Phase.PROBATION)
    assert machine.restarts == 0


def test_someone_else_stops_mkctl_meanwhile(machine: Machine) -> None:
    worker = start(machine)
    machine.jobs = ["canceled"]
    push(worker)
    machine.active = "inactive"
    settle(worker, machine)
    apply = worker.state()[2]
    assert apply is not None
    assert "stopped before" in apply.verdict
    assert (machine.active, machine.restarts) == ("inactive", 1)  # it is left stopped
    assert on_disk(machine, "config.json") == {}


MOMENTS = ["before restart", "after restart", "at the look"]


@pytest.mark.parametrize("moment", MOMENTS)
@pytest.mark.parametrize("good", [True, False], ids=["good", "bad"])
def test_killed_while_it_restarts_the_next_start_finishes(machine: Machine, moment: str, good: bool) -> None:
    worker = start(machine)
    machine.dies = moment
    machine.falls_back = not good
    wanted = push(worker)
    with pytest.raises(Died):
        turn_until(worker, machine, lambda: False)
    machine.dies = ""
    again = start(machine)
    assert again.busy()
    if good:
        turn_until(again, machine, lambda: phase(again) is Phase.PROBATION)
        again.report(wanted, Report.CONFIRMED)
    settle(again, machine)
    assert phase(again) is (Phase.CONFIRMED if good else Phase.REFUSED)
    assert on_disk(machine, "config.json") == (NEW if good else {})
    assert machine.in_use == (wanted if good else EMPTY)
    assert machine.restarts <= 3


def reach(machine: Machine, wanted_phase: str) -> str:
    """Bring an apply into a phase, and let mkweb die there."""
    worker = start(machine)
    wanted = push(worker)
    if wanted_phase == "stored":
        return wanted
    if wanted_phase == "refused":
        machine.falls_back = True
    turn_until(worker, machine, lambda: on_disk(machine, "apply.json")["phase"] == wanted_phase)
    return wanted


@pytest.mark.parametrize("at", ["stored", "restarting", "probation", "refused"])
@pytest.mark.parametrize("lost", ["", "config.json", "config.prev.json", "both"])
def test_killed_in_each_phase_with_files_lost_the_next_start_finishes(machine: Machine, at: str, lost: str) -> None:
    wanted = reach(machine, at)
    for name in ("config.json", "config.prev.json"):
        if lost in (name, "both"):
            (machine.directory / name).write_text('{"half')
    again = start(machine)
    assert phase(again) is Phase(at)
    assert again.busy()
    if at != "refused":
        again.report(wanted, Report.CONFIRMED)
    settle(again, machine)
    assert phase(again) is (Phase.REFUSED if at == "refused" else Phase.CONFIRMED)
    assert on_disk(machine, "config.json") == ({} if at == "refused" else NEW)
    assert on_disk(machine, "config.prev.json") == {}
    assert machine.in_use == digest(on_disk(machine, "config.json"))


def test_the_report_survives_a_kill(machine: Machine) -> None:
    wanted = reach(machine, "probation")
    start(machine).report(wanted, Report.REFUSED, "no route")
    again = start(machine)
    settle(again, machine)
    apply = again.state()[2]
    assert apply is not None
    assert "no route" in apply.verdict


def test_a_broken_apply_file_costs_one_event_and_the_stored_configuration_stays(
    machine: Machine, told: list[str]
) -> None:
    reach(machine, "probation")
    (machine.directory / "apply.json").write_text('{"version": 1, "phase": "stor')
    again = start(machine)
    assert (again.busy(), again.state()[0]) == (False, NEW)
    assert "STATE_RECOVERED" in told
    assert again.report(digest(NEW), Report.CONFIRMED) == "confirmed"


def test_broken_files_without_an_apply(machine: Machine) -> None:
    (machine.directory / "config.json").write_text("garbage")
    (machine.directory / "config.prev.json").write_text(json.dumps(NEW))
    assert start(machine).state()[0] == NEW
    (machine.directory / "config.prev.json").write_text("[]")
    assert start(machine).state()[0] == {}


def test_nothing_is_taken_that_cannot_be_stored(machine: Machine) -> None:
    worker = start(machine)
    gone = machine.directory.rename(machine.directory.with_name("gone"))
    with pytest.raises(OSError, match="No such file"):
        worker.push(NEW)
    assert (worker.state(), worker.busy()) == (({}, {}, None), False)
    gone.rename(machine.directory)
    push(worker)


def test_a_step_that_cannot_be_written_is_tried_again(machine: Machine) -> None:
    worker = start(machine)
    wanted = push(worker)
    gone = machine.directory.rename(machine.directory.with_name("gone"))
    for _ in range(3):
        assert worker.turn() > 0
    assert machine.restarts == 0
    gone.rename(machine.directory)
    worker.report(wanted, Report.CONFIRMED)
    settle(worker, machine)
    assert phase(worker) is Phase.CONFIRMED


def test_ordered_restart_once_a_minute(machine: Machine, told: list[str]) -> None:
    worker = start(machine)
    worker.order_restart()
    worker.answered()
    assert worker.busy()
    settle(worker, machine)
    assert machine.restarts == 1
    with pytest.raises(Refused) as refused:
        start(machine).order_restart()  # the minute outlives the process
    assert refused.value.status == 429
    machine.now += 60 * 10**6
    worker.order_restart()
    settle(worker, machine)
    assert machine.restarts == 2
    assert events_of(told) == ["RESTART_ORDERED", "RESTART_ORDERED"]


def test_an_owed_restart_survives_a_kill(machine: Machine) -> None:
    start(machine).order_restart()
    again = start(machine)
    assert again.busy()
    settle(again, machine)
    assert machine.restarts == 1
    assert not start(machine).busy()


def test_an_ordered_restart_that_is_never_allowed_is_given_up(machine: Machine, told: list[str]) -> None:
    machine.errors = [NotAuthorized("no") for _ in range(1000)]
    worker = start(machine)
    worker.order_restart()
    before = machine.now
    settle(worker, machine)
    assert (machine.now - before) / 1e6 < 130
    assert events_of(told) == ["RESTART_ORDERED", "RIGHT_MISSING"]


def test_no_ordered_restart_within_an_apply(machine: Machine) -> None:
    worker = start(machine)
    push(worker)
    with pytest.raises(Refused) as refused:
        worker.order_restart()
    assert refused.value.status == 409


def test_an_apply_takes_over_an_owed_restart(machine: Machine) -> None:
    worker = start(machine)
    worker.order_restart()
    wanted = push(worker)
    worker.report(wanted, Report.CONFIRMED)
    settle(worker, machine)
    assert machine.restarts == 1


def test_status_is_one_sentence(machine: Machine) -> None:
    worker = start(machine)
    seen = [worker.status()]
    push(worker)
    seen.append(worker.status())
    turn_until(worker, machine, lambda: phase(worker) is Phase.PROBATION)
    seen.append(worker.status())
    settle(worker, machine)
    seen.append(worker.status())
    assert all(text.endswith(".") and "\n" not in text for text in seen)
    assert len(set(seen)) == 4


def test_the_events_used_here_exist() -> None:
    names = {each.name for each in events.EVENTS}
    assert {"CONFIG_STORED", "CONFIG_CONFIRMED", "CONFIG_ROLLED_BACK", "RIGHT_MISSING", "RESTART_ORDERED"} <= names
