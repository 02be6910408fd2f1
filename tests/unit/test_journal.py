"""mkcore.journal and mkcore.events: what reaches journald as bytes, what reaches a terminal, and the catalog."""

from __future__ import annotations

import ast
import logging
import os
import re
import socket
import struct
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from mkcore import events, journal
from mkcore.errors import BadInput

ROOT = Path(__file__).resolve().parent.parent.parent
CATALOG = (ROOT / "units/catalog/mk.catalog").read_text(encoding="utf-8")


@pytest.fixture(autouse=True)
def root_logger() -> Iterator[None]:
    """Give the root logger back as it was."""
    root, raising = logging.getLogger(), logging.raiseExceptions
    handlers, level = root.handlers[:], root.level
    yield
    root.handlers[:] = handlers
    root.setLevel(level)
    logging.raiseExceptions = raising


def parse_datagram(data: bytes) -> dict[str, str]:
    """Read the native protocol with a reader of the test's own."""
    fields: dict[str, str] = {}
    while data:
        line, _, rest = data.partition(b"\n")
        name, separator, value = line.partition(b"=")
        if not separator:
            (size,) = struct.unpack("<Q", rest[:8])
            value, rest = rest[8 : 8 + size], rest[9 + size :]
        fields[name.decode()] = value.decode()
        data = rest
    return fields


@pytest.fixture
def journald(tmp_path: Path) -> Iterator[socket.socket]:
    """A socket in the place of journald's, and the root logger leading there."""
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as listener:
        listener.bind(str(tmp_path / "socket"))
        listener.settimeout(10)
        handler = journal.JournalHandler("mkctl", str(tmp_path / "socket"))
        logging.getLogger().handlers[:] = [handler]
        yield listener
        handler.close()


@pytest.mark.parametrize(
    ("text", "level"),
    [
        ("Logger::FATAL", "FATAL"), ("Logger::ERROR", "ERROR"), ("Logger::WARN", "WARN"), ("Logger::INFO", "INFO"),
        ("Logger::DEBUG", "DEBUG"), ("ERROR", "ERROR"), ("error", "ERROR"), ("err", "ERROR"), ("warning", "WARN"),
        ("notice", "INFO"), ("info", "INFO"), ("debug", "DEBUG"), ("crit", "FATAL"), ("emerg", "FATAL"),
        (" info ", "INFO"),
    ],
)  # fmt: skip
def test_all_usual_spellings_of_levels(text: str, level: str) -> None:
    assert journal.parse_level(text) == level
    journal.set_level(text)
    assert journal.level_name() == level


@pytest.mark.parametrize("text", ["", "Logger::", "Logger::error", "verbose", "Logger::Logger::INFO"])
def test_other_words_are_refused(text: str) -> None:
    with pytest.raises(BadInput):
        journal.parse_level(text)


def test_events_are_written_at_every_level_and_diagnostics_are_not(journald: socket.socket) -> None:
    journal.set_level("Logger::FATAL")
    log = logging.getLogger("mkctl.agent")
    log.error("a diagnostic")
    fields_given = {"node": "4C4C", "server_uri": "http://192.0.2.1:8026", "facts": 12}
    journal.log_event(log, events.REGISTERED, "registered\nwith it", **fields_given)
    fields = parse_datagram(journald.recv(65536))
    assert fields.pop("CODE_LINE").isdigit()
    assert fields.pop("CODE_FILE") == __file__
    assert fields == {
        "MESSAGE": "registered\nwith it",
        "MESSAGE_ID": events.REGISTERED.id,
        "PRIORITY": "5",
        "SYSLOG_IDENTIFIER": "mkctl",
        "LOGGER": "mkctl.agent",
        "CODE_FUNC": "test_events_are_written_at_every_level_and_diagnostics_are_not",
        "MK_EVENT": "REGISTERED",
        "MK_NODE": "4C4C",
        "MK_SERVER_URI": "http://192.0.2.1:8026",
        "MK_FACTS": "12",
    }
    journald.setblocking(False)
    with pytest.raises(BlockingIOError):
        journald.recv(65536)


def test_diagnostics_have_priorities_and_tracebacks(journald: socket.socket) -> None:
    journal.set_level("debug")
    log = logging.getLogger("mkweb")
    for level, priority in ((logging.DEBUG, "7"), (logging.INFO, "6"), (logging.WARNING, "4"), (logging.ERROR, "3")):
        log.log(level, "at %d", level)
        fields = parse_datagram(journald.recv(65536))
        assert (fields["MESSAGE"], fields["PRIORITY"]) == (f"at {level}", priority)
    try:
        raise ValueError("inner")
    except ValueError:
        log.exception("outer")
    text = parse_datagram(journald.recv(65536))["MESSAGE"]
    assert text.startswith("outer\nTraceback")
    assert text.endswith("ValueError: inner")


def test_a_record_too_large_for_a_datagram_is_handed_over_as_a_file(journald: socket.socket) -> None:
    journal.set_level("info")
    big = "x" * 3_000_000
    logging.getLogger("mkctl").info("%s", big)
    _, rights, _, _ = journald.recvmsg(10, socket.CMSG_SPACE(4))
    descriptor = struct.unpack("i", rights[0][2])[0]
    with open(descriptor, "rb") as stream:
        stream.seek(0)
        assert parse_datagram(stream.read())["MESSAGE"] == big


def test_a_journal_that_is_away_costs_the_record_only(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    logging.raiseExceptions = False
    handler = journal.JournalHandler("mkctl", str(tmp_path / "absent"))
    logging.getLogger().handlers[:] = [handler]
    logging.getLogger("mkctl").critical("lost")
    handler.close()
    assert capsys.readouterr().err == ""


def run_logging(env: dict[str, str]) -> subprocess.CompletedProcess[str]:
    code = (
        "import logging; from mkcore import events, journal\n"
        "journal.setup('ERROR', component='mkctl')\n"
        "print(type(logging.getLogger().handlers[0]).__name__, flush=True)\n"
        "logging.getLogger('x').info('hidden'); logging.getLogger('x').error('shown')\n"
        "journal.log_event(logging.getLogger('x'), events.WAITING, 'waiting for a route')"
    )
    return subprocess.run([sys.executable, "-c", code], cwd=ROOT, env=env, capture_output=True, text=True, check=True)


def test_without_a_journal_lines_go_to_standard_error() -> None:
    done = run_logging({"PATH": os.environ["PATH"]})
    assert done.stderr == "mkctl: shown\nmkctl: waiting for a route\n"
    other = run_logging({"PATH": os.environ["PATH"], "JOURNAL_STREAM": "1:2"})
    assert other.stderr == done.stderr


def test_the_journal_is_used_when_standard_error_leads_there() -> None:
    code = (
        "import os, logging; from mkcore import journal; status = os.fstat(2)\n"
        "os.environ['JOURNAL_STREAM'] = f'{status.st_dev}:{status.st_ino}'\n"
        "journal.setup('info', component='x'); print(type(logging.getLogger().handlers[0]).__name__)"
    )
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True)
    assert done.stdout == "JournalHandler\n"


def catalog_entries() -> dict[str, str]:
    parts = re.split(r"^-- ([0-9a-f]{32})$", CATALOG, flags=re.MULTILINE)
    assert len(parts) % 2 == 1
    return dict(zip(parts[1::2], parts[2::2]))


def test_each_event_has_one_id_one_constant_and_one_entry() -> None:
    assert [event.id for event in events.EVENTS] == list(catalog_entries())
    assert len({event.id for event in events.EVENTS}) == len({event.name for event in events.EVENTS})
    for event in events.EVENTS:
        assert re.fullmatch("[0-9a-f]{32}", event.id)
        assert getattr(events, event.name) is event
    constants = {name for name, value in vars(events).items() if isinstance(value, events.Event)}
    assert constants == {event.name for event in events.EVENTS}


@pytest.mark.parametrize("event", events.EVENTS, ids=lambda event: event.name)
def test_each_entry_says_what_it_means_and_what_to_do(event: events.Event) -> None:
    entry = catalog_entries()[event.id]
    head, _, body = entry.lstrip("\n").partition("\n\n")
    headers = dict(line.split(": ", 1) for line in head.splitlines())
    assert set(headers) == {"Subject", "Defined-By", "Documentation"}
    assert headers["Defined-By"] == "mksuite"
    for page in headers["Documentation"].split():
        assert re.fullmatch(r"man:[a-z.-]+\([158]\)", page)
    paragraphs = body.strip().split("\n\n")
    assert len(paragraphs) >= 2, "what it means, then what to do"
    assert all(len(line) <= 80 for line in entry.splitlines())


def reports() -> dict[str, list[set[str]]]:
    """For each event, the keywords of every call that is given the event by name."""
    found: dict[str, list[set[str]]] = {}
    for path in ROOT.glob("mk*/**/*.py"):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if not isinstance(node, ast.Call):
                continue
            for argument in node.args:
                if isinstance(argument, ast.Attribute) and ast.unparse(argument.value) == "events":
                    keywords = {(each.arg or "").upper() for each in node.keywords}
                    found.setdefault(argument.attr, []).append(keywords)
    return found


def test_entries_refer_to_fields_that_the_events_have() -> None:
    calls = reports()
    for event in events.EVENTS:
        wanted = set(re.findall(r"@MK_([A-Z_]+)@", catalog_entries()[event.id]))
        for keywords in calls.get(event.name, []):
            assert wanted <= keywords, f"{event.name}: the catalog wants {wanted - keywords}"


def test_systemd_accepts_the_catalog(tmp_path: Path) -> None:
    directory = tmp_path / "usr/lib/systemd/catalog"
    directory.mkdir(parents=True)
    (tmp_path / "var/lib/systemd/catalog").mkdir(parents=True)
    (directory / "mk.catalog").write_text(CATALOG, encoding="utf-8")
    command = ["journalctl", f"--root={tmp_path}"]
    try:
        done = subprocess.run([*command, "--update-catalog"], capture_output=True, text=True, check=False)
    except FileNotFoundError:
        pytest.skip("journalctl is not installed")
    assert (done.returncode, done.stderr) == (0, "")
    listed = subprocess.run([*command, "--list-catalog"], capture_output=True, text=True, check=True).stdout
    assert {line.split()[0] for line in listed.splitlines()} == {event.id for event in events.EVENTS}
