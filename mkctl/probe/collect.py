"""Running collectors side by side, so that none can lose another.

The historic agents collected group after group inside one exception handler: the first odd line of one tool dropped
all later groups (defect B34). Here each collector runs in a thread of its own, with its own time limit; what it raises
or how long it hangs ends up in its own status. Threads suffice: collectors wait for tools and for the kernel. One that
hangs inside the kernel (a dead disk below sysfs) cannot be stopped at all; it is left behind and its late result
ignored.
"""

from __future__ import annotations

import logging
import queue
import threading
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Callable

from mkcore.errors import MkError
from mkcore.jsonfields import Json
from mkctl.probe.model import Status

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Collected:
    """What a collector brings back: facts, how it went, and one line on what is wrong ("" for nothing).

    facts: flat facts under the names that servers know. structured: Facter 4's structured facts by their top-level name.
    inventory: parts of the inventory document; the parts of all collectors are joined, objects key by key.
    """

    facts: Mapping[str, Json] = field(default_factory=dict[str, Json])
    status: Status = Status.OK
    error: str = ""
    structured: Mapping[str, Json] = field(default_factory=dict[str, Json])
    inventory: Mapping[str, Json] = field(default_factory=dict[str, Json])


@dataclass(frozen=True)
class Collector:
    """A source of facts. `collect` takes no arguments, may raise any error, and is given up after `timeout_s`.

    awaited: the facts are complete without it when this is False (the LLDP listener, which takes half a minute).
    """

    name: str
    timeout_s: float
    collect: Callable[[], Collected]
    awaited: bool = True


@dataclass(frozen=True)
class Ended:
    """The end of one collector's run."""

    name: str
    duration_ms: int
    result: Collected


def run_collectors(collectors: Sequence[Collector]) -> Iterator[Ended]:
    """Start all collectors at once and yield each as it ends or as its limit passes; every name exactly once."""
    ended: queue.SimpleQueue[Ended] = queue.SimpleQueue()
    began = time.monotonic()
    waiting = {collector.name: collector for collector in collectors}
    for collector in collectors:
        threading.Thread(target=_run, args=(collector, ended), name=f"mk-{collector.name}", daemon=True).start()
    while waiting:
        remaining_s = began + min(collector.timeout_s for collector in waiting.values()) - time.monotonic()
        try:
            one = ended.get(timeout=max(0.0, remaining_s))
        except queue.Empty:
            late = [item for item in waiting.values() if began + item.timeout_s <= time.monotonic()]
            for collector in late:
                del waiting[collector.name]
                error = f"did not end within {collector.timeout_s:g} s"
                yield Ended(collector.name, _since_ms(began), Collected({}, Status.TIMED_OUT, error))
            continue
        if waiting.pop(one.name, None) is not None:
            yield one


def _run(collector: Collector, ended: queue.SimpleQueue[Ended]) -> None:
    began = time.monotonic()
    try:
        result = collector.collect()
    except (MkError, OSError) as error:
        result = Collected({}, Status.FAILED, " ".join(str(error).split()))
    except Exception as error:  # a defect in one collector must not cost the facts of the others
        log.exception("collector %s: unexpected error", collector.name)
        result = Collected({}, Status.FAILED, f"unexpected {type(error).__name__}: {error}")
    ended.put(Ended(collector.name, _since_ms(began), result))


def _since_ms(began: float) -> int:
    return round((time.monotonic() - began) * 1000)
