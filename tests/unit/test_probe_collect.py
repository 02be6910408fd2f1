"""Collectors side by side, the growing file, and rounds until the hardware stands still."""

from __future__ import annotations

import logging
import re
import stat
import threading
import time
from collections.abc import Iterable
from pathlib import Path

import pytest
from probe_tree import make_tree

from mkcore import events
from mkcore.errors import BadInput
from mkcore.jsonfields import Json
from mkctl.probe.collect import Collected, Collector, run_collectors
from mkctl.probe.model import FactsFile, Status, parse_facts_file
from mkctl.probe.program import OVERDUE_S, TIMER, by_timer
from mkctl.probe.rounds import Kernel, Pace, collect_until_stable, watch_kernel
from mkctl.probe.store import COLLECTED, FactsStore, Save, save_facts

FAST = Pace(first_quiet_s=0.0, quiet_s=0.02, quiet_limit_s=0.2, poll_s=0.005)


def giving(name: str, timeout_s: float = 10.0, **facts: Json) -> Collector:
    return Collector(name, timeout_s, lambda: Collected(dict(facts)))


def failing(name: str, error: Exception) -> Collector:
    def collect() -> Collected:
        raise error

    return Collector(name, 10.0, collect)


@pytest.fixture
def hanging() -> Iterable[Collector]:
    """A collector that hangs until the test is over."""
    end = threading.Event()
    yield Collector("hanging", 0.05, lambda: Collected({"late": end.wait(100)}))
    end.set()


def read(path: Path) -> FactsFile:
    return parse_facts_file(path.read_bytes())


def run(
    path: Path,
    collectors: list[Collector],
    seqnums: Iterable[int] = (7, 7),
    pace: Pace = FAST,
    save: Save = save_facts,
) -> FactsFile:
    """One run of the probe with a scripted uevent number; its last value stays."""
    numbers = list(seqnums)
    store = FactsStore(path, [collector.name for collector in collectors], save)
    store.load(1 << 60)
    kernel = Kernel(lambda: numbers.pop(0) if len(numbers) > 1 else numbers[0])
    collect_until_stable(collectors, store, kernel, lambda _: None, pace)
    return read(path)


def test_one_bad_collector_never_loses_the_others(tmp_path: Path, hanging: Collector) -> None:
    """B34."""
    collectors = [
        giving("good", a="1"),
        failing("bad-input", BadInput("odd line", "tool")),
        failing("gone", FileNotFoundError(2, "No such file", "/sys/x")),
        failing("defect", KeyError("surprise")),
        Collector("absent", 10.0, lambda: Collected({}, Status.MISSING, "lshw cannot be started")),
        hanging,
        giving("last", b=2),
    ]
    content = run(tmp_path / "facts.json", collectors)
    assert content.complete
    assert content.facts == {"a": "1", "b": 2}
    assert {name: state.status for name, state in content.collectors.items()} == {
        "good": Status.OK,
        "bad-input": Status.FAILED,
        "gone": Status.FAILED,
        "defect": Status.FAILED,
        "absent": Status.MISSING,
        "hanging": Status.TIMED_OUT,
        "last": Status.OK,
    }
    errors = {name: state.error for name, state in content.collectors.items()}
    assert errors["bad-input"] == "tool: odd line"
    assert errors["defect"] == "unexpected KeyError: 'surprise'"
    assert errors["hanging"] == "did not end within 0.05 s"
    assert content.collectors["hanging"].duration_ms >= 50


def test_a_tool_that_was_started_before_its_collector_costs_what_it_took() -> None:
    (ended,) = run_collectors([Collector("lshw", 10.0, lambda: Collected({}, tool_s=1.5))])
    assert ended.duration_ms == 1500


def test_collectors_run_side_by_side() -> None:
    together = threading.Barrier(3, timeout=10)

    def meet() -> Collected:
        together.wait()
        return Collected({})

    ended = list(run_collectors([Collector(str(number), 10.0, meet) for number in range(3)]))
    assert sorted(one.name for one in ended) == ["0", "1", "2"]
    assert {one.result.status for one in ended} == {Status.OK}


def test_each_ending_rewrites_the_file(tmp_path: Path) -> None:
    path = tmp_path / "facts.json"
    first_written = threading.Event()
    seen: list[FactsFile] = []

    def slow() -> Collected:
        assert first_written.wait(10)
        seen.append(read(path))
        return Collected({"b": "2"})

    collectors = [giving("quick", a="1"), giving("quick2"), Collector("slow", 10.0, slow)]
    store = FactsStore(path, [collector.name for collector in collectors])

    def watch() -> None:
        deadline = time.monotonic() + 10
        while not (path.exists() and read(path).facts) and time.monotonic() < deadline:
            time.sleep(0.005)
        first_written.set()

    threading.Thread(target=watch, daemon=True).start()
    collect_until_stable(collectors, store, Kernel(lambda: 1), lambda _: None, FAST)
    assert seen[0].facts == {"a": "1"}
    assert not seen[0].complete
    assert seen[0].generation == 0
    assert seen[0].collectors["slow"].status is Status.RUNNING
    assert read(path).complete
    assert read(path).generation == 1


class Written:
    """Every content that was saved; saves it, too."""

    def __init__(self) -> None:
        self.contents: list[FactsFile] = []

    def __call__(self, path: Path, content: FactsFile) -> None:
        self.contents.append(content)
        save_facts(path, content)


def test_what_ends_together_is_written_together(tmp_path: Path) -> None:
    """Thirty collectors, one of them slow: a first file, one while the slow one runs, the last."""
    saved = Written()
    let_go = threading.Event()
    slow = Collector("slow", 10.0, lambda: Collected({"b": let_go.wait(10)}))
    quick = [giving(f"q{number}", **{f"f{number}": number}) for number in range(30)]

    def save(path: Path, content: FactsFile) -> None:
        saved(path, content)
        if content.facts:
            let_go.set()

    run(tmp_path / "facts.json", [*quick, slow], pace=FAST._replace(gather_s=2.0), save=save)
    sizes = [(len(content.facts), content.complete) for content in saved.contents]
    assert sizes == [(0, False), (30, False), (31, True)]


def test_what_changes_nothing_is_written_with_the_end_alone(tmp_path: Path) -> None:
    path = tmp_path / "facts.json"

    def collectors() -> list[Collector]:
        let_go = threading.Event()
        threading.Timer(0.3, let_go.set).start()
        return [giving("quick", a=1), Collector("slow", 10.0, lambda: Collected({"b": let_go.wait(10)}))]

    run(path, collectors())
    saved = Written()
    run(path, collectors(), save=saved)
    assert [content.generation for content in saved.contents] == [2]


class Listener:
    """A collector that is not awaited and ends when the test says so."""

    def __init__(self, **facts: Json) -> None:
        self.starts = 0
        self.let_go = threading.Event()
        self.facts = facts

    def collector(self) -> Collector:
        return Collector("listener", 10.0, self.collect, awaited=False)

    def collect(self) -> Collected:
        self.starts += 1
        assert self.let_go.wait(10)
        return Collected(self.facts, inventory={"lldp_neighbors": {name: [] for name in self.facts}})


def test_facts_are_complete_without_those_that_are_not_awaited(tmp_path: Path) -> None:
    saved = Written()
    listener = Listener(neighbour="s1")
    threading.Timer(0.3, listener.let_go.set).start()
    run(tmp_path / "facts.json", [giving("a", a=1), listener.collector()], save=saved)
    ends = [(content.generation, content.complete, dict(content.facts)) for content in saved.contents]
    assert ends == [(0, False, {}), (1, True, {"a": 1}), (2, True, {"a": 1, "neighbour": "s1"})]
    statuses = [content.collectors["listener"].status for content in saved.contents]
    assert statuses == [Status.RUNNING, Status.RUNNING, Status.OK]
    assert saved.contents[2].inventory == {"schema_version": 1, "lldp_neighbors": {"neighbour": []}}
    run(tmp_path / "facts.json", [giving("a", a=1), listener.collector()], save=saved)
    assert [content.generation for content in saved.contents[3:]] == [3], "nothing new was heard: no other generation"


def test_a_collector_that_does_not_run_keeps_what_it_brought(tmp_path: Path) -> None:
    path = tmp_path / "facts.json"
    heard = Collector("listener", 10.0, lambda: Collected({"neighbour": "s1"}, structured={"x": 1}), awaited=False)
    store = FactsStore(path, ["a", "listener"])
    collect_until_stable([giving("a", a=1)], store, Kernel(lambda: 7), lambda _: None, FAST)
    assert read(path).collectors["listener"].status is Status.PENDING
    run(path, [giving("a", a=1), heard])
    again = FactsStore(path, ["a", "listener"])
    again.load(1 << 60)
    collect_until_stable([giving("a", a=2)], again, Kernel(lambda: 7), lambda _: None, FAST)
    content = read(path)
    assert content.facts == {"a": 2, "neighbour": "s1"}
    assert content.collectors["listener"].status is Status.OK
    assert content.structured == {"x": 1}


def test_hardware_that_comes_while_neighbours_are_awaited_is_seen(tmp_path: Path) -> None:
    """The start that its event asks for merges into this run, which therefore looks itself."""
    listener, seqnum, rounds = Listener(neighbour="s1"), [7], list[int]()

    def collect() -> Collected:
        rounds.append(seqnum[0])
        if len(rounds) == 1:
            threading.Timer(0.2, plug).start()
        else:
            listener.let_go.set()
        return Collected({"disks": len(rounds)})

    def plug() -> None:
        seqnum[0] = 8

    store = FactsStore(tmp_path / "facts.json", ["block", "listener"])
    both = [Collector("block", 10.0, collect), listener.collector()]
    assert collect_until_stable(both, store, Kernel(lambda: seqnum[0]), lambda _: None, FAST) == 2
    content = read(tmp_path / "facts.json")
    assert rounds == [7, 8]
    assert listener.starts == 1
    assert content.facts == {"disks": 2, "neighbour": "s1"}
    assert content.uevent_seqnum == 8


def test_neighbours_are_heard_though_the_timer_s_start_was_lost(tmp_path: Path) -> None:
    """A first run that takes longer than until the timer: its start merges into the run, which then listens itself."""
    path, listener, late = tmp_path / "facts.json", Listener(neighbour="s1"), [False]
    listener.let_go.set()

    def go(*, overdue: bool) -> FactsFile:
        late[0] = overdue
        store = FactsStore(path, ["a", "listener"])
        store.load(1 << 60)
        both = [giving("a", a=1), listener.collector()]
        collect_until_stable(both, store, Kernel(lambda: 7), lambda _: None, FAST, overdue=lambda: late[0])
        return read(path)

    early = go(overdue=False)
    assert (listener.starts, early.listened, early.facts) == (0, False, {"a": 1})
    heard = go(overdue=True)
    assert (listener.starts, heard.listened, heard.facts) == (1, True, {"a": 1, "neighbour": "s1"})
    assert heard.generation == early.generation + 2
    assert go(overdue=True).facts == heard.facts
    assert listener.starts == 1, "once: from now on the timer does"


def test_what_udev_learns_while_neighbours_are_awaited_is_collected(tmp_path: Path) -> None:
    """Its start request merges into this run, and the kernel's number does not tell: a drive's serial number, say."""
    listener, learnt, serial = Listener(neighbour="s1"), [100], [""]

    def collect() -> Collected:
        if not serial[0]:
            learnt[0], serial[0] = 101, "S1"
            listener.let_go.set()
            return Collected({"serial": ""})
        return Collected({"serial": serial[0]})

    store = FactsStore(tmp_path / "facts.json", ["block", "listener"])
    both = [Collector("block", 10.0, collect), listener.collector()]
    assert collect_until_stable(both, store, Kernel(lambda: 7, learnt=lambda: learnt[0]), lambda _: None, FAST) == 2
    assert (store.content.facts, listener.starts) == ({"serial": "S1", "neighbour": "s1"}, 1)


def test_a_run_that_took_all_its_time_does_not_listen_any_more(tmp_path: Path) -> None:
    listener, store = Listener(), FactsStore(tmp_path / "facts.json", ["listener"])
    pace = FAST._replace(total_s=9.0)
    collect_until_stable([listener.collector()], store, Kernel(lambda: 7), lambda _: None, pace, overdue=lambda: True)
    assert (listener.starts, store.content.listened) == (0, False)


def test_complete_facts_change_as_a_whole(tmp_path: Path) -> None:
    """A disk is one registration, though one collector sees it seconds before another one does."""
    saved, path = Written(), tmp_path / "facts.json"
    run(path, [giving("block", disks=1), giving("lshw", count="1")], save=saved)
    first = len(saved.contents)
    seen = threading.Event()

    def see() -> Collected:
        seen.set()
        return Collected({"disks": 2})

    def see_later() -> Collected:
        assert seen.wait(10)
        time.sleep(10 * FAST.gather_s)
        return Collected({"count": "2"})

    run(path, [Collector("block", 10.0, see), Collector("lshw", 10.0, see_later)], save=saved)
    assert [dict(content.facts) for content in saved.contents[first:]] == [{"disks": 2, "count": "2"}]


def test_what_was_seen_while_hardware_moved_is_seen_again_first(tmp_path: Path) -> None:
    """A plug in the middle of a collection: what the next round sees is written, and not what this one did."""
    saved, path, seqnum, rounds = Written(), tmp_path / "facts.json", [7], list[int]()
    run(path, [giving("block", disks=1)], save=saved)
    first = len(saved.contents)

    def collect() -> Collected:
        rounds.append(seqnum[0])
        seqnum[0] = 8
        return Collected({"disks": 1 + len(rounds)})

    store = FactsStore(path, ["block"], saved)
    store.load(1 << 60)
    one = [Collector("block", 10.0, collect)]
    assert collect_until_stable(one, store, Kernel(lambda: seqnum[0]), lambda _: None, FAST) == 2
    written = [
        (content.generation, content.facts["disks"], content.uevent_seqnum) for content in saved.contents[first:]
    ]
    assert written == [(2, 3, 8)]


def test_a_late_result_of_an_earlier_round_is_ignored(tmp_path: Path) -> None:
    """A collector that hung in one round and ends in the next is no answer to the next."""
    rounds, end = list[int](), threading.Event()

    def collect() -> Collected:
        rounds.append(1)
        if len(rounds) == 1:
            end.wait(10)
            return Collected({"stale": True})
        end.set()
        time.sleep(0.1)
        return Collected({"fresh": True})

    content = run(tmp_path / "facts.json", [Collector("a", 2.0, collect)], [5, 6])
    assert content.facts == {"fresh": True}
    assert content.collectors["a"].status is Status.OK


def test_the_timer_s_run_is_the_one_that_listens() -> None:
    assert by_timer({"TRIGGER_UNIT": "mk-facts.timer"})
    assert not by_timer({})
    assert not by_timer({"TRIGGER_UNIT": "other.timer"})
    folder = Path(__file__).resolve().parents[2] / "units/systemd"
    assert (folder / TIMER).is_file()
    first = re.search(r"^OnActiveSec=(\d+)s$", (folder / TIMER).read_text(encoding="utf-8"), re.M)
    assert first and float(first[1]) == OVERDUE_S


def test_the_file_is_for_its_group_alone(tmp_path: Path) -> None:
    run(tmp_path / "facts.json", [giving("a")])
    assert stat.S_IMODE((tmp_path / "facts.json").stat().st_mode) == 0o640
    assert {found.name for found in tmp_path.iterdir()} == {"facts.json", COLLECTED}


def test_udev_s_mark_is_there_once_a_collection_has_ended(tmp_path: Path) -> None:
    """Before that, what turns up is seen by the collection itself: it is there when the last look is taken."""
    save_facts(tmp_path / "facts.json", FactsFile(facts={"a": 1}))
    assert not (tmp_path / COLLECTED).exists()
    save_facts(tmp_path / "facts.json", FactsFile(generation=1, complete=True))
    assert (tmp_path / COLLECTED).exists()


def test_later_runs_never_make_the_file_poorer(tmp_path: Path, hanging: Collector) -> None:
    path = tmp_path / "facts.json"
    first = run(path, [giving("tool", a="1", b="2"), giving("other", c="3")])
    assert first.generation == 1
    during: list[FactsFile] = []

    def slow() -> Collected:
        during.append(read(path))
        return Collected({"c": "4"})

    hung = Collector("tool", hanging.timeout_s, hanging.collect)
    second = run(path, [hung, Collector("other", 10.0, slow)])
    assert during[0].complete
    assert during[0].facts == {"a": "1", "b": "2", "c": "3"}
    assert second.complete
    assert second.generation == 2
    assert second.facts == {"a": "1", "b": "2", "c": "4"}
    assert second.collectors["tool"].status is Status.TIMED_OUT
    assert second.collectors["tool"].facts == ("a", "b")
    third = run(path, [giving("tool", a="5"), giving("other", c="4")])
    assert third.facts == {"a": "5", "c": "4"}
    assert third.collectors["tool"].status is Status.OK


def test_facts_of_a_collector_that_is_no_more_are_dropped(tmp_path: Path) -> None:
    run(tmp_path / "facts.json", [giving("old", a="1"), giving("other", b="2")])
    assert run(tmp_path / "facts.json", [giving("other", b="2")]).facts == {"b": "2"}


def test_a_new_collector_makes_the_others_no_less_complete(tmp_path: Path) -> None:
    run(tmp_path / "facts.json", [giving("a", a="1")])
    content = run(tmp_path / "facts.json", [giving("a", a="1"), giving("b", b="2")])
    assert content.complete
    assert content.collectors["b"].status is Status.OK


@pytest.mark.parametrize("rest", [b"", b"{", b'{"version": 2}', b"\xff\xfe", b"[]"])
def test_half_a_file_is_collected_anew(tmp_path: Path, rest: bytes, caplog: pytest.LogCaptureFixture) -> None:
    path = tmp_path / "facts.json"
    path.write_bytes(rest)
    content = run(path, [giving("a", a="1")])
    assert content.generation == 1
    assert content.facts == {"a": "1"}
    assert "collecting everything anew" in caplog.text


def test_a_file_of_an_earlier_boot_counts_for_nothing(tmp_path: Path) -> None:
    run(tmp_path / "facts.json", [giving("a", a="1")])
    store = FactsStore(tmp_path / "facts.json", ["a"])
    store.load(0)
    assert store.content.generation == 0
    assert not store.content.complete


def test_names_are_cleaned_and_later_collectors_win(tmp_path: Path) -> None:
    collectors = [giving("first", **{"mtu_eth0@if3": 1, "same": "1"}), giving("second", same="2")]
    assert run(tmp_path / "facts.json", collectors).facts == {"mtu_eth0if3": 1, "same": "2"}


def test_a_second_collector_of_a_name_stands_in_the_place_of_the_first(tmp_path: Path) -> None:
    """So a site's own fact wins over what the LLDP listener, the last of all, heard under the same name."""
    collectors = [giving("lldp", same="networkd"), giving("custom", same="site"), giving("lldp", same="heard")]
    assert run(tmp_path / "facts.json", collectors).facts == {"same": "site"}


def test_rounds_until_the_uevent_number_stands_still(tmp_path: Path) -> None:
    """A disk that comes during a collection is seen by the same run; its start request was merged into that one."""
    counted = iter(range(100))
    collectors = [Collector("count", 10.0, lambda: Collected({"round": next(counted)}))]
    still = run(tmp_path / "still.json", collectors, [5, 5])
    assert (still.generation, still.uevent_seqnum, still.facts["round"]) == (1, 5, 0)
    moved = run(tmp_path / "moved.json", collectors, [5, 6])
    assert (moved.generation, moved.uevent_seqnum, moved.facts["round"]) == (2, 6, 2)


@pytest.mark.parametrize(
    ("learnt", "busy", "generations"),
    [([9, 9], False, 1), ([9, 10], False, 2), ([9, 9], True, 2), ([0, 0], False, 2)],
    ids=["a service's own network", "a disk", "udev is at it", "no udev"],
)
def test_an_event_counts_once_udev_has_learnt_of_it(
    tmp_path: Path, learnt: list[int], busy: bool, generations: int
) -> None:
    """Each start of a service with PrivateNetwork= raises the kernel's number, by its loopback interface."""
    began: list[bool] = []

    def collect() -> Collected:
        began.append(True)
        return Collected({})

    def now(first: int, later: int) -> int:
        return later if began else first

    kernel = Kernel(lambda: now(5, 7), lambda: busy and len(began) < 2, lambda: now(*learnt))
    store = FactsStore(tmp_path / "facts.json", ["a"])
    collect_until_stable([Collector("a", 10.0, collect)], store, kernel, lambda _: None, FAST)
    content = read(tmp_path / "facts.json")
    assert content.generation == generations
    assert (content.uevent_seqnum, content.udev_nsec) == ((5, learnt[0]) if generations == 1 else (7, learnt[1]))


@pytest.mark.parametrize(("known", "generations"), [(False, 2), (True, 1)])
def test_what_udev_learns_late_belongs_to_the_first_collection(tmp_path: Path, known: bool, generations: int) -> None:
    """Before its end udev starts nothing; the kernel counted the disk long before udev has its serial number."""
    began: list[bool] = []

    def collect() -> Collected:
        began.append(True)
        return Collected({})

    store = FactsStore(tmp_path / "facts.json", ["a"])
    if known:
        save_facts(tmp_path / "facts.json", FactsFile(complete=True, uevent_seqnum=5, udev_nsec=9))
        store.load(1 << 60)
    kernel = Kernel(lambda: 5, lambda: False, lambda: 10 if began else 9)
    assert collect_until_stable([Collector("a", 10.0, collect)], store, kernel, lambda _: None, FAST) == generations


def test_rounds_are_bounded_and_then_the_file_says_that_it_is_old(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO)
    current = iter(range(1, 100000))
    store = FactsStore(tmp_path / "facts.json", ["a"])
    rounds = collect_until_stable([giving("a")], store, Kernel(lambda: next(current)), lambda _: None, FAST)
    assert rounds == FAST.rounds
    content = read(tmp_path / "facts.json")
    assert content.generation == 2, "complete after the first round, and what the last one saw"
    assert content.complete
    assert content.uevent_seqnum < next(current)
    assert "hardware still comes and goes" in caplog.text
    assert not [record for record in caplog.records if record.levelno >= logging.WARNING]


def first_start(path: Path, kernel: Kernel, limit_s: float = 30.0) -> list[int]:
    """Run with a wait before the first round, of limit_s at most; return the uevent numbers that the collector saw."""
    seen: list[int] = []

    def collect() -> Collected:
        seen.append(kernel.seqnum())
        return Collected({})

    store = FactsStore(path, ["a"])
    pace = Pace(first_quiet_s=0.03, quiet_s=0.02, quiet_limit_s=limit_s, poll_s=0.005)
    store.load(1 << 60)
    collect_until_stable([Collector("a", 10.0, collect)], store, kernel, lambda _: None, pace)
    return seen


def test_the_first_round_waits_for_udev_but_not_for_ever(tmp_path: Path) -> None:
    """At boot, drivers are still being loaded: one collection afterwards, not three meanwhile."""
    numbers = iter([*range(20), *[20] * 1000])
    assert first_start(tmp_path / "boot.json", Kernel(lambda: next(numbers))) == [20]
    busy = iter([True] * 20 + [False] * 1000)
    began = time.monotonic()
    assert first_start(tmp_path / "busy.json", Kernel(lambda: 5, lambda: next(busy))) == [5]
    assert time.monotonic() - began >= 20 * 0.005
    began = time.monotonic()
    assert first_start(tmp_path / "always.json", Kernel(lambda: 5, lambda: True), 0.5) == [5]
    assert time.monotonic() - began >= 0.5


def test_a_later_start_waits_only_when_something_changed(tmp_path: Path) -> None:
    path = tmp_path / "facts.json"
    first_start(path, Kernel(lambda: 5))
    asked: list[bool] = []

    def busy() -> bool:
        asked.append(True)
        return False

    first_start(path, Kernel(lambda: 5, busy))
    assert not asked
    first_start(path, Kernel(lambda: 6, busy))
    assert asked


def test_the_kernels_view_of_a_tree(tmp_path: Path) -> None:
    kernel = watch_kernel(tmp_path, tmp_path / "sys")
    assert (kernel.seqnum(), kernel.busy()) == (0, False)
    make_tree(tmp_path, {"sys/kernel/uevent_seqnum": "1840\n", "run/udev/queue": ""})
    assert (kernel.seqnum(), kernel.busy()) == (1840, True)


def test_total_time_is_bounded(tmp_path: Path) -> None:
    """No round is begun that could end beyond the unit's limit."""
    current = iter(range(1, 100000))
    store = FactsStore(tmp_path / "facts.json", ["slow"])
    collectors = [giving("slow", timeout_s=FAST.total_s)]
    assert collect_until_stable(collectors, store, Kernel(lambda: next(current)), lambda _: None, FAST) == 1


def test_lshw_is_kept_from_removing_device_nodes() -> None:
    """It unlinks a /dev/sg node that the unit's device list hides from it, and takes it for a leftover."""
    unit = (Path(__file__).resolve().parents[2] / "units/systemd/mk-facts.service").read_text(encoding="utf-8")
    assert "\nReadOnlyPaths=/dev -/dev/shm /run\n" in unit
    assert "\nAfter=modprobe@sg.service" in unit


def test_the_real_limits_stay_below_the_units_time_limit() -> None:
    unit = Path(__file__).resolve().parents[2] / "units/systemd/mk-facts.service"
    limit_s = next(
        float(line.split("=")[1].rstrip("s\n"))
        for line in unit.read_text(encoding="utf-8").splitlines()
        if line.startswith("TimeoutStartSec=")
    )
    from mkctl.probe.sources import build_collectors

    longest_s = max(collector.timeout_s for collector in build_collectors())
    assert longest_s < Pace().total_s < limit_s


def test_events(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG)
    run(tmp_path / "facts.json", [giving("a", a="1"), failing("b", BadInput("odd"))])
    fields = [record.journal_fields for record in caplog.records if hasattr(record, "journal_fields")]
    assert [found["MESSAGE_ID"] for found in fields] == [events.COLLECTOR_FAILED.id, events.FACTS_COLLECTED.id]
    assert fields[0]["MK_COLLECTOR"] == "b"
    assert fields[0]["MK_STATUS"] == "failed"
    assert fields[1]["MK_FACTS"] == 1
    assert fields[1]["MK_GENERATION"] == 1
    assert fields[1]["MK_FAILED"] == "b"
    assert "the others are not affected" in caplog.text


def test_a_good_run_warns_of_nothing(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG)
    run(tmp_path / "facts.json", [giving("a", a="1")])
    assert not [record for record in caplog.records if record.levelno >= logging.WARNING]
