"""What a collector brings back when the tool that it runs did not do its work."""

from __future__ import annotations

from mkcore.proc import Finished, Outcome
from mkctl.probe.collect import Collected
from mkctl.probe.model import Status

_STATUSES = {Outcome.TIMED_OUT: Status.TIMED_OUT, Outcome.MISSING: Status.MISSING}


def failed(finished: Finished, otherwise: str = "") -> Collected:
    """Return the status and the one line for a run; `otherwise` completes "TOOL …" for one that ended well in vain."""
    error = f"{finished.argv[0]} {otherwise}" if finished.ok else finished.describe()
    return Collected({}, _STATUSES.get(finished.outcome, Status.FAILED), error)


def ended(finished: Finished) -> bool:
    """Tell whether the tool came to its end by itself, well or not: only then what it wrote is all that it had."""
    return finished.outcome in (Outcome.OK, Outcome.FAILED)


def remark(finished: Finished) -> str:
    """Return one line on a run that did not end well, "" for one that did."""
    return "" if finished.ok else finished.describe()
