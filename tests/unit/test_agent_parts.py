"""The small parts of the agent, each alone: watchdog, threads, callers, hold, reports, probation, patterns of facts."""

from __future__ import annotations

import asyncio
import json
import logging
import time
from pathlib import Path
from typing import Any

import pytest

from mkcore import events, systemd1
from mkcore.errors import BadInput, BusFailed, NotAuthorized, NotReady, Unreachable
from mkcore.events import Event
from mkcore.http import Answer
from mkcore.keys import VOLATILE
from mkctl import hostname
from mkctl.callers import Callers
from mkctl.factsview import compile_volatile
from mkctl.hold import Hold
from mkctl.localweb import parse_posted
from mkctl.plan import ConfigNotTaken, ConfigStored, ConfigUnchanged
from mkctl.probation import Apply, ApplyPhase, parse_apply, read_apply
from mkctl.progress import Progress
from mkctl.reports import Reporter
from mkctl.waiting import Wakeup
from mkctl.worker import BrokenCall, in_thread

# A thread that fails on purpose; pytest tells of it in whichever test comes next.
pytestmark = pytest.mark.filterwarnings("ignore::pytest.PytestUnhandledThreadExceptionWarning")


class Clock:
    """A clock that the test moves."""

    def __init__(self) -> None:
        self.now_s = 100.0

    def __call__(self) -> float:
        return self.now_s


def test_the_watchdog_beats_within_the_step_s_limit_only() -> None:
    async def run() -> tuple[int, int]:
        beats: list[int] = []
        clock = Clock()
        progress = Progress(lambda: beats.append(1), 0.001, clock)
        progress.step("exchange", 20.0)
        task = asyncio.ensure_future(progress.run())
        while len(beats) < 3:
            await asyncio.sleep(0.001)
        clock.now_s += 20.1
        assert progress.is_overdue()
        silent = len(beats)
        await asyncio.sleep(0.02)
        late = len(beats)
        progress.step("waiting", 75.0)
        while len(beats) == late:
            await asyncio.sleep(0.001)
        task.cancel()
        return silent, late

    silent, late = asyncio.run(asyncio.wait_for(run(), 20))
    assert silent == late


def test_without_a_watchdog_it_only_waits() -> None:
    async def run() -> bool:
        task = asyncio.ensure_future(Progress(lambda: None, None, Clock()).run())
        await asyncio.sleep(0)
        await asyncio.sleep(0)
        done = task.done()
        task.cancel()
        return done

    assert asyncio.run(run()) is False


def test_a_thread_s_result_and_errors_reach_the_caller() -> None:
    def fail() -> None:
        raise Unreachable("gone")

    async def run() -> str:
        with pytest.raises(Unreachable, match="gone"):
            await in_thread(fail, "test")
        return await in_thread(lambda: "fine", "test")

    assert asyncio.run(run()) == "fine"


def test_a_defect_in_a_thread_is_an_error_and_no_hang() -> None:
    async def run() -> None:
        await in_thread(lambda: 1 // 0, "exchange")

    with pytest.raises(BrokenCall, match="exchange ended by an unexpected error"):
        asyncio.run(asyncio.wait_for(run(), 20))


def test_a_blocked_thread_does_not_hold_the_end() -> None:
    async def run() -> None:
        task = asyncio.ensure_future(in_thread(lambda: time.sleep(30), "blocked"))
        await asyncio.sleep(0.01)
        task.cancel()

    began = time.monotonic()
    asyncio.run(run())
    assert time.monotonic() - began < 20


def test_a_wakeup_reaches_everybody_who_waits() -> None:
    """The first to run takes the word; the others were woken by it all the same, and the next wait is a new one."""

    async def run() -> tuple[list[bool], bool]:
        wakeup = Wakeup()
        waiting = [asyncio.ensure_future(wakeup.wait(60)) for _ in range(2)]
        await asyncio.sleep(0)
        wakeup.set()
        return await asyncio.gather(*waiting), await wakeup.wait(0)

    assert asyncio.run(asyncio.wait_for(run(), 20)) == ([True, True], False)


def test_callers_share_work_that_begins_after_their_call() -> None:
    async def run() -> list[object]:
        callers = Callers(Wakeup())
        early = [asyncio.ensure_future(callers.join()) for _ in range(3)]
        await asyncio.sleep(0)
        assert callers and callers.news() and not callers.news()
        serving = callers.take()
        late = asyncio.ensure_future(callers.join())
        await asyncio.sleep(0)
        early[0].cancel()
        await asyncio.sleep(0)
        from mkctl.callers import settle

        settle(serving, None)
        await asyncio.sleep(0)
        assert not late.done()
        callers.settle_all(NotReady("stopping"))
        return await asyncio.gather(*early, late, return_exceptions=True)

    cancelled, second, third, late = asyncio.run(run())
    assert isinstance(cancelled, asyncio.CancelledError)
    assert (second, third) == (None, None)
    assert isinstance(late, NotReady)


def test_a_hold_ends_once_and_for_all() -> None:
    jobs: set[str] = {"mk-fetch.service"}
    clock = Clock()

    async def ask() -> set[str]:
        return jobs

    async def run() -> list[bool]:
        hold = Hold(ask, 10.0, clock)
        seen = [await hold.look()]
        jobs.clear()
        jobs.add("ssh.service")
        seen.append(await hold.look())
        jobs.add("mk-extensions.service")
        seen.append(await hold.look())
        late = Hold(ask, 10.0, clock)
        seen.append(await late.look())
        clock.now_s += 10.0
        return [*seen, await late.look(), await Hold(ask, 0.0, clock).look()]

    assert asyncio.run(run()) == [True, False, False, True, False, False]


class Hostnamed:
    """What `keep_host_name` asks of systemd-hostnamed: refuses as often as it is told to."""

    def __init__(self, errors: list[BusFailed]) -> None:
        self.errors = errors
        self.name = "localhost"

    async def get(self, *_words: object) -> str:
        return self.name

    async def set(self, *words: object) -> None:
        if self.errors:
            raise self.errors.pop(0)
        body = words[-1]
        assert isinstance(body, tuple)
        self.name = str(body[0])


@pytest.mark.parametrize("error", [BusFailed("no hostnamed"), NotAuthorized("refused")])
def test_a_name_is_told_at_once_and_taken_back_where_it_cannot_be_set(
    monkeypatch: pytest.MonkeyPatch, error: BusFailed
) -> None:
    """So that no registration waits for hostnamed and polkit to start, and none tells a name that nobody gave."""
    hostnamed, told = Hostnamed([error, error]), list[tuple[str, str]]()
    monkeypatch.setattr(systemd1, "get_property", hostnamed.get)
    monkeypatch.setattr(systemd1, "call", hostnamed.set)
    monkeypatch.setattr(hostname, "FIRST_RETRY_S", 0.0)
    names = ["", "mk525400123456"]

    async def bus() -> Any:
        told.append(("asked", hostnamed.name))
        return None

    def wanted() -> str:
        return names.pop(0) if len(names) > 1 else names[0]

    def tell(name: str) -> None:
        told.append((name, hostnamed.name))

    asyncio.run(hostname.keep_host_name(bus, wanted, Reporter(), tell))
    wished, before, after = "mk525400123456", "localhost", "mk525400123456"
    failed = [("asked", before), ("", before)]
    assert told == [("", before), (wished, before), *failed, *failed, ("asked", before), (wished, after)]


def test_the_collection_after_an_installation_holds_as_well() -> None:
    """One that has nothing to do with extensions does not."""

    async def looks(*jobs: str) -> list[bool]:
        queue = list(jobs)

        async def ask() -> set[str]:
            return {f"{queue.pop(0)}.service"}

        hold = Hold(ask, 10.0, Clock())
        return [await hold.look() for _ in jobs]

    assert asyncio.run(looks("mk-fetch", "mk-extensions", "mk-facts", "ssh")) == [True, True, True, False]
    assert asyncio.run(looks("mk-fetch", "mk-facts")) == [True, False]
    assert asyncio.run(looks("mk-facts")) == [False]


def test_a_bus_that_does_not_answer_holds_nothing() -> None:
    async def ask() -> set[str]:
        raise BusFailed("no bus")

    assert asyncio.run(Hold(ask, 10.0, Clock()).look()) is False


def test_reports_are_said_once_per_change(caplog: pytest.LogCaptureFixture) -> None:
    reporter = Reporter()
    caplog.set_level(logging.INFO)
    reporter.report(events.SERVER_LOST, "refused; trying again in 3 s")
    reporter.report(events.SERVER_LOST, "timed out; trying again in 5 s")
    reporter.report(events.REGISTRATION_FAILED, "500; tried again after 3 s")
    reporter.report(events.REGISTRATION_FAILED, "500; tried again after 9 s")
    reporter.report(events.SERVER_BACK, "back")
    reporter.report(events.SERVER_LOST, "refused; trying again in 3 s")
    reporter.report(events.REGISTERED, "registered")
    reporter.report(events.REGISTERED, "registered")
    reporter.report(events.REGISTRATION_FAILED, "500; tried again after 1 s")
    names = [record.journal_fields["MK_EVENT"] for record in caplog.records]  # type: ignore[attr-defined]
    lost, failed = "SERVER_LOST", "REGISTRATION_FAILED"
    assert names == [lost, failed, "SERVER_BACK", lost, "REGISTERED", "REGISTERED", failed]


APPLY = {"version": 1, "digest": "9f86", "previous": "44", "phase": "probation", "boottime_usec": 5, "verdict": ""}


def test_an_apply_that_is_open_for_us(tmp_path: Path) -> None:
    path = tmp_path / "apply.json"
    assert read_apply(path) == Apply()
    path.write_text(json.dumps({**APPLY, "refused_digests": ["a"]}))
    apply = read_apply(path)
    assert apply.is_open_for("9f86") and not apply.is_open_for("44")
    assert apply.refused_digests == frozenset({"a"})
    path.write_text("{")
    assert read_apply(path) == Apply()


@pytest.mark.parametrize("phase", [each.value for each in ApplyPhase])
def test_only_undecided_phases_are_open(phase: str) -> None:
    is_open = phase in ("stored", "restarting", "probation")
    assert parse_apply({**APPLY, "phase": phase}).is_open_for("9f86") is is_open


def test_an_unknown_phase_is_bad_input() -> None:
    with pytest.raises(BadInput, match=r"apply\.json\.phase"):
        parse_apply({**APPLY, "phase": "later"})


@pytest.mark.parametrize(
    ("answer", "posted"),
    [
        (Answer(200, {"content-type": "text/plain"}, b"New configuration saved"), ConfigStored()),
        (Answer(200, {"content-type": "application/json"}, b"{}"), ConfigUnchanged()),
        (Answer(422, {}, b'{"error": "no\\nway"}'), ConfigNotTaken("no way", True)),
        (Answer(400, {}, b"<html>"), ConfigNotTaken("status 400", True)),
        (Answer(409, {}, b'{"error": "busy"}'), ConfigNotTaken("busy", False)),
        (Answer(429, {"retry-after": "17"}, b'{"error": "later"}'), ConfigNotTaken("later", False, 17.0)),
        (Answer(503, {}, b""), ConfigNotTaken("status 503", False)),
    ],
)
def test_what_mkweb_s_answers_mean(answer: Answer, posted: object) -> None:
    assert parse_posted(answer) == posted


def test_volatile_facts_are_names_and_patterns() -> None:
    is_volatile = compile_volatile(VOLATILE)
    for name in ("memoryfree_mb", "mk_hw_lscpu_CPU_MHz", "mk_hw_cpu0_size", "uptime_seconds", "load_averages"):
        assert is_volatile(name), name
    for name in ("memorysize", "memoryfree_mb_total", "mk_hw_cpu0_sizes", "mk_hw_nic_count"):
        assert not is_volatile(name), name
    assert not compile_volatile(())("memoryfree_mb")


def test_volatile_patterns_do_not_get_in_each_other_s_way() -> None:
    """One list of patterns that are good each for itself: the same group name twice, numbers beside names, many."""
    many = [f"/^{'x' * 200}{number}$/" for number in range(100)]
    is_volatile = compile_volatile(["/^(?<a>b)c/", r"/^(?<a>d)\k<a>$/", r"/^(e)\1$/", *many])
    for name in ("bcx", "dd", "ee", f"{'x' * 200}99"):
        assert is_volatile(name), name
    assert not is_volatile("de")


def test_servers_that_fail_in_turn_are_no_news_each_time(caplog: pytest.LogCaptureFixture) -> None:
    """Each reason is said once, until a server answers."""
    reporter = Reporter()

    def said(event: Event, *names: str) -> list[str]:
        caplog.clear()
        for name in names:
            reporter.report(event, name)
        return [each.getMessage() for each in caplog.records if each.levelname == "WARNING"]

    assert said(events.CHECKIN_REFUSED, "a", "b", "a", "b") == ["a", "b"]
    assert said(events.IDENTITY_WEAK, "a", "b", "a") == ["a", "b", "a"], "what ends by itself is news again"
    said(events.SERVER_FOUND, "found")
    assert said(events.CHECKIN_REFUSED, "a") == ["a"]
