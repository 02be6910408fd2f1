"""`mkctl status`: the node at a glance, read from files, so that it answers also when the daemon does not."""

from __future__ import annotations

import json

from mkcore.errors import BadInput, MkError, NotReady
from mkcore.files import read_object
from mkcore.jsonfields import Json
from mkcore.paths import Paths
from mkctl.describe import boottime_usec, build_document, extensions_of, read_facts_file
from mkctl.links import Links, read_links
from mkctl.probation import Apply, ApplyPhase, read_apply
from mkctl.probe.model import FactsFile
from mkctl.status import Phase, Status, is_alive, parse_status

NAMES_SHOWN = 6
NOT_RUNNING = 3
"""As `systemctl status` and the LSB have it for a service that is not running."""

WAITING = (Phase.WAITING_FOR_NETWORK.value, Phase.WAITING_FOR_SERVER.value)
"""Before the first contact: later on a network that is away is a server that is lost."""


class Denied(MkError):
    """A file of the service may not be read by this user."""

    exit_status = 77
    bus_name = "NotAuthorized"


def read_status(paths: Paths) -> Status:
    """Read status.json. Raises NotReady when mkctl has never run in this boot, Denied, BadInput."""
    try:
        return parse_status(read_object(paths.status), str(paths.status))
    except FileNotFoundError:
        raise NotReady("mkctl has not run since this machine started (systemctl status mkctl)") from None
    except PermissionError:
        raise Denied(f"{paths.status}: permission denied; run as root or as a member of group mkctl") from None
    except OSError as error:
        raise BadInput(error.strerror or "cannot be read", str(paths.status)) from None


def dialect_in_use(paths: Paths) -> str:
    """The dialect that the daemon speaks; "" while it is not known, or not to be known by this user."""
    try:
        return read_status(paths).dialect
    except MkError:
        return ""


def show_status(paths: Paths, as_json: bool) -> int:
    """Print the status. Returns 0, 3 when the daemon does not run, or what the network lacks (mkctl.links)."""
    try:
        status = read_status(paths)
    except NotReady as error:
        print(json.dumps({"running": False}) if as_json else f"mkctl: {error}")
        return NOT_RUNNING
    # A living process below another root is a test's; its own /proc is the real one.
    alive = is_alive(status)
    facts, problem = read_facts_file(paths.facts)
    apply, now_usec = read_apply(paths.apply), boottime_usec()
    links = read_links(paths) if alive and status.state in WAITING else Links()
    if as_json:
        print(json.dumps(build_document(status, alive, apply, facts, now_usec), indent=1, sort_keys=True))
    else:
        print("\n".join(status_lines(status, alive, apply, facts, now_usec)))
        if links.awaited:
            print(f"  {'Network:':15}{'; '.join(links.awaited)}")
        if problem:
            print(f"  {problem}")
    return links.exit_status if alive else NOT_RUNNING


def status_lines(status: Status, alive: bool, apply: Apply, facts: FactsFile, now_usec: int) -> list[str]:
    """Lay the status out for people."""
    head = f"mkctl: {status.sentence}" if alive else f"mkctl is not running; its last words: {status.sentence}"
    server = f"{status.server_uri} ({status.server_source})" if status.server_uri else "none known"
    rows = [
        ("State", status.state if alive else f"not running (was {status.state})"),
        ("Node", status.node_uuid or "no UUID"),
        ("MACs", " ".join(status.node_macs) or "none"),
        ("Server", f"{server}{', speaks ' + status.dialect if status.dialect else ''}"),
        ("Last checkin", _last_checkin(status, now_usec)),
        ("Next checkin", _next_checkin(status, now_usec) if alive else "never: not running"),
        ("Registered", _registered(status, now_usec)),
        ("Configuration", _configuration(status)),
        ("Apply", _apply(apply)),
        ("Facts", _facts(facts, now_usec)),
        ("Extensions", _extensions(facts)),
        ("Last error", status.last_error or "none"),
    ]
    return [head, *(f"  {name + ':':15}{text}" for name, text in rows)]


def duration(seconds: float) -> str:
    """A length of time for people: `0.4 s`, `12 s`, `3 min 5 s`, `2 h 3 min`, `4 d 1 h`."""
    if seconds < 1:
        return f"{max(0.0, seconds):.1f} s"
    whole = round(seconds)
    for size, unit, below, small in ((86400, "d", 3600, "h"), (3600, "h", 60, "min"), (60, "min", 1, "s")):
        if whole >= size:
            rest = whole % size // below
            return f"{whole // size} {unit} {rest} {small}" if rest else f"{whole // size} {unit}"
    return f"{whole} s"


def _ago(then_usec: int, now_usec: int) -> str:
    return f"{duration((now_usec - then_usec) / 1e6)} ago"


def _last_checkin(status: Status, now_usec: int) -> str:
    failed = f"; {status.failed_checkins} failed" if status.failed_checkins else ""
    if not status.last_checkin_usec:
        return f"none yet{failed}"
    failed += " since" if failed else ""
    said = f", the server said {status.last_command}" if status.last_command else ""
    return f"{_ago(status.last_checkin_usec, now_usec)}{said}{failed}"


def _next_checkin(status: Status, now_usec: int) -> str:
    if not status.next_checkin_usec:
        return "not planned yet"
    left_s = (status.next_checkin_usec - now_usec) / 1e6
    return f"in {duration(left_s)}" if left_s > 0 else "now"


def _registered(status: Status, now_usec: int) -> str:
    pending = f"; to be sent again: {status.registration_pending}" if status.registration_pending else ""
    if not status.registered_usec:
        return f"no{pending}"
    return f"{_ago(status.registered_usec, now_usec)}, digest {status.registered_digest[:12]}{pending}"


def _configuration(status: Status) -> str:
    text = f"digest {status.config_digest[:12]}" if status.config_digest else "not loaded yet"
    return f"{text}; {status.config_error}" if status.config_error else text


def _apply(apply: Apply) -> str:
    if apply.phase is ApplyPhase.NONE:
        return "none since this machine started"
    return f"{apply.phase.value} {apply.digest[:12]}{': ' + apply.verdict if apply.verdict else ''}"


def _facts(facts: FactsFile, now_usec: int) -> str:
    if not facts.boottime_usec and not facts.facts:
        return "none yet"
    states: dict[str, Json] = {name: each.status.value for name, each in sorted(facts.collectors.items())}
    wrong = [f"{name} {state}" for name, state in states.items() if state not in ("ok", "pending")]
    age = _ago(facts.boottime_usec, now_usec) if facts.boottime_usec else "being collected"
    partial = "" if facts.complete else ", not complete"
    return f"{len(facts.facts)}, collected {age}{partial}{'; ' + ', '.join(wrong) if wrong else ''}"


def _extensions(facts: FactsFile) -> str:
    installed, refused = (list(map(str, extensions_of(facts, which))) for which in ("", "_refused"))
    text = _some(installed) or "none"
    return f"{text}; refused: {_some(refused)} (mkmirror list)" if refused else text


def _some(names: list[str]) -> str:
    more = f" and {len(names) - NAMES_SHOWN} more" if len(names) > NAMES_SHOWN else ""
    return ", ".join(name if len(name) <= 40 else f"{name[:39]}…" for name in names[:NAMES_SHOWN]) + more
