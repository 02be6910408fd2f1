"""The verbs of mkctl for people: what they print, how they end, what they load."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest

from mkctl.__main__ import main, run_options
from mkctl.cli.call import exit_statuses
from mkctl.cli.status import duration
from mkctl.status import Status, build_status, is_alive, parse_start_ticks, parse_status, read_start_ticks

REPO = Path(__file__).resolve().parent.parent.parent
ALIVE = {"pid": os.getpid(), "started_ticks": read_start_ticks(os.getpid())}


def now_usec() -> int:
    """CLOCK_BOOTTIME at the moment of the test, which may run long after its collection."""
    return time.clock_gettime_ns(time.CLOCK_BOOTTIME) // 1000


class Root:
    """A root directory with what the verbs read."""

    def __init__(self, path: Path) -> None:
        self.path = path
        for name in ("run/mkctl", "run/mkweb", "run/mk-facts", "etc/mk", "proc", "sys/class/net"):
            (path / name).mkdir(parents=True)

    def write(self, name: str, content: Any) -> None:
        """Write a file, as JSON unless it is text."""
        text = content if isinstance(content, str) else json.dumps(content)
        (self.path / name).write_text(text, encoding="utf-8")

    def status(self, **values: Any) -> None:
        """Write status.json."""
        self.write("run/mkctl/status.json", build_status(Status(**{**ALIVE, **values})))

    def facts(self, **facts: Any) -> None:
        """Write facts.json."""
        body = {"version": 1, "generation": 3, "complete": True, "boottime_usec": now_usec(), "uevent_seqnum": 1}
        collectors = {"lshw": {"status": "timed_out", "duration_ms": 9, "error": "slow"}}
        self.write("run/mk-facts/facts.json", {**body, "collectors": collectors, "facts": facts})

    def run(self, verb: str, *arguments: str) -> int:
        """Run a verb in this process."""
        return main([verb, "--root", str(self.path), *arguments])


@pytest.fixture
def root(tmp_path: Path) -> Root:
    """An empty node."""
    return Root(tmp_path)


Out = pytest.CaptureFixture[str]


def test_status_before_the_first_start(root: Root, capsys: Out) -> None:
    assert root.run("status") == 3
    assert capsys.readouterr().out == "mkctl: mkctl has not run since this machine started (systemctl status mkctl)\n"
    assert root.run("status", "--json") == 3
    assert json.loads(capsys.readouterr().out) == {"running": False}


def test_status_of_a_running_daemon(root: Root, capsys: Out) -> None:
    root.status(
        state="idle",
        sentence="checked in; next checkin in 42 s",
        node_uuid="564D1A2B-3C4D-5E6F-7081-92A3B4C5D6E7",
        node_macs=("52:54:00:12:34:56",),
        server_uri="http://192.0.2.1:8026",
        server_source="kernel line (hanlon.ip=)",
        dialect="hanlon",
        last_checkin_usec=now_usec() - 18_000_000,
        next_checkin_usec=now_usec() + 3_600_000_000,
        last_command="acknowledge",
        registered_usec=now_usec() - 125_000_000,
        registered_digest="9f86d081884c7d65",
        config_digest="44136fa355b3678a",
    )
    root.facts(hostname="x", processorcount=2)
    apply = {"version": 1, "digest": "9f86", "phase": "confirmed", "verdict": "a good checkin"}
    root.write("run/mkweb/apply.json", apply)
    assert root.run("status") == 0
    out = capsys.readouterr().out
    for text in (
        "mkctl: checked in; next checkin in 42 s\n",
        "Node:          564D1A2B-3C4D-5E6F-7081-92A3B4C5D6E7\n",
        "MACs:          52:54:00:12:34:56\n",
        "Server:        http://192.0.2.1:8026 (kernel line (hanlon.ip=)), speaks hanlon\n",
        "ago, the server said acknowledge\n",
        "Next checkin:  in ",
        "Registered:    2 min ",
        "digest 9f86d081884c\n",
        "Configuration: digest 44136fa355b3\n",
        "Apply:         confirmed 9f86: a good checkin\n",
        "Facts:         2, collected ",
        "; lshw timed_out\n",
        "Extensions:    none\n",
        "Last error:    none\n",
    ):
        assert text in out
    assert all(len(line) < 120 for line in out.splitlines())


def test_status_as_json(root: Root, capsys: Out) -> None:
    root.status(state="server-lost", last_error="refused", failed_checkins=3, last_checkin_usec=now_usec())
    assert root.run("status", "--json") == 0
    body = json.loads(capsys.readouterr().out)
    assert (body["running"], body["state"], body["last_error"], body["failed_checkins"]) == (
        True,
        "server-lost",
        "refused",
        3,
    )
    assert body["last_checkin_age_s"] >= 0 and body["next_checkin_in_s"] is None
    assert body["facts"] == {"age_s": None, "complete": False, "count": 0, "generation": 0, "collectors": {}}
    assert body["apply"] == {"digest": "", "phase": "none", "verdict": ""}
    assert body["extensions"] == {"installed": [], "refused": []}


def test_status_names_extensions(root: Root, capsys: Out) -> None:
    """A few of them, and those that were refused; all of them as JSON."""
    root.status()
    names = [f"e{number}.tcz" for number in range(8)]
    root.facts(mk_extensions=",".join(names), mk_extensions_refused="x" * 100)
    assert root.run("status") == 0
    text = f"Extensions:    {', '.join(names[:6])} and 2 more; refused: {'x' * 39}… (mkmirror list)\n"
    assert text in capsys.readouterr().out
    assert root.run("status", "--json") == 0
    assert json.loads(capsys.readouterr().out)["extensions"] == {"installed": names, "refused": ["x" * 100]}


def test_a_dead_daemon_s_last_words(root: Root, capsys: Out) -> None:
    root.status(pid=2**22, sentence="registering")
    assert root.run("status") == 3
    out = capsys.readouterr().out
    assert out.startswith("mkctl is not running; its last words: registering\n")
    assert "Next checkin:  never: not running" in out


def test_a_pid_that_another_process_has_now(root: Root) -> None:
    assert not is_alive(Status(pid=os.getpid(), started_ticks=1))
    assert not is_alive(Status())
    assert is_alive(Status(**ALIVE))


def test_a_damaged_status_is_one_line(root: Root, capsys: Out) -> None:
    root.write("run/mkctl/status.json", "{")
    assert root.run("status") == 65
    captured = capsys.readouterr()
    assert captured.err.startswith("mkctl: ") and captured.err.count("\n") == 1 and "status.json" in captured.err


@pytest.mark.parametrize("verb", ["checkin", "register"])
def test_calls_without_a_daemon(root: Root, capsys: Out, verb: str) -> None:
    assert root.run(verb) == 3
    assert "not running" in capsys.readouterr().out
    assert root.run(verb, "--json") == 3
    assert json.loads(capsys.readouterr().out)["ok"] is False


def test_facts_as_they_would_be_sent(root: Root, capsys: Out) -> None:
    root.facts(hostname="x", processorcount=2, is_virtual=True, kernel="Linux", os={"name": "Debian"}, note="a\nb")
    assert root.run("facts", "--dialect", "hanlon") == 0
    assert capsys.readouterr().out.splitlines() == [
        "hostname = x",
        "interfaces = ",
        "is_virtual = true",
        "note = a b",
        'os = {"name": "Debian"}',
        "processorcount = 2",
    ]
    assert root.run("facts", "--dialect", "razor", "--json", "is_*", "processorcount", "os*", "hostname") == 75
    captured = capsys.readouterr()
    assert json.loads(captured.out) == {"is_virtual": "true", "processorcount": "2", "hostname": "x"}
    assert captured.err == "mkctl: no fact of the name os*\n"


def test_facts_follow_the_site_s_exclusion_and_the_dialect_in_use(root: Root, capsys: Out) -> None:
    root.facts(hostname="x", a=1, b=2)
    root.status(dialect="razor")
    root.write("etc/mk/mk.toml", '[facts]\nexclude = "^a$|^interfaces$"\n')
    assert root.run("facts", "--json") == 0
    assert json.loads(capsys.readouterr().out) == {"b": "2", "hostname": "x"}


def test_facts_that_are_not_there(root: Root, capsys: Out) -> None:
    assert root.run("facts") == 75
    assert "no facts yet (systemctl start mk-facts.service)" in capsys.readouterr().err
    root.write("run/mk-facts/facts.json", "[]")
    assert root.run("facts") == 75
    assert "facts.json" in capsys.readouterr().err


def test_config_with_origins(root: Root, capsys: Out) -> None:
    root.write("etc/mk/mk.toml", '[server]\nuri = "http://192.0.2.1:8026"\n[checkin]\nskew_s = "x"\n')
    pushed = {"mk_checkin_interval": 30, "mk_uri": "http://192.0.2.66", "mk_future": [1]}
    root.write("run/mkweb/config.json", pushed)
    root.status(dialect="razor")
    assert root.run("config", "--origin") == 0
    lines = capsys.readouterr().out.splitlines()

    def line(start: str) -> str:
        return next(each for each in lines if each.startswith(start))

    assert line("server.uri").split() == [
        "server.uri",
        "=",
        '"http://192.0.2.1:8026"',
        "#",
        f"{root.path}/etc/mk/mk.toml",
    ]
    assert line("checkin.interval_s").endswith("= 30  # pushed by the server")
    assert line("checkin.skew_s").endswith("= 5  # default")
    assert line("facts.exclude").endswith("# default of the dialect")
    assert '# pushed mk_uri = "http://192.0.2.66": protected, stored without effect (apply.allow_push)' in lines
    assert "# pushed mk_future = [1]: stored, means nothing to this version" in lines
    assert any(each.startswith("# not used: ") and "checkin.skew_s" in each for each in lines)
    assert root.run("config") == 0
    assert "default" not in capsys.readouterr().out


def test_config_without_origins_is_toml(root: Root, capsys: Out) -> None:
    from mkcore.config import parse_toml

    assert root.run("config") == 0
    parsed = parse_toml(capsys.readouterr().out)
    assert parsed["checkin"]["interval_s"] == 60 and parsed["apply"]["allow_push"] == []


def test_config_as_json(root: Root, capsys: Out) -> None:
    root.write("run/mkweb/config.json", {"mk_log_level": "Logger::INFO"})
    assert root.run("config", "--json") == 0
    body = json.loads(capsys.readouterr().out)
    assert body["values"]["log.level"] == "INFO" and body["origins"]["log.level"] == "pushed by the server"
    assert body["pushed"] == {"mk_log_level": "Logger::INFO"} and body["problems"] == []


def test_version(root: Root, capsys: Out) -> None:
    from mkcore.version import VERSION

    assert root.run("version") == 0
    assert capsys.readouterr().out == f"mkctl {VERSION}\n"
    assert root.run("version", "--json") == 0
    assert json.loads(capsys.readouterr().out)["version"] == VERSION


@pytest.mark.parametrize(
    "arguments", [[], ["dance"], ["status", "extra"], ["run", "--root"], ["facts", "--dialect", "x"]]
)
def test_wrong_usage_is_one_line(arguments: list[str], capsys: Out) -> None:
    with pytest.raises(SystemExit) as ended:
        main(arguments)
    assert ended.value.code == 64
    assert capsys.readouterr().err.count("\n") == 1


@pytest.mark.parametrize("verb", ["", "run", "status", "checkin", "register", "facts", "config", "version"])
def test_help(verb: str, capsys: Out) -> None:
    with pytest.raises(SystemExit) as ended:
        main([verb, "--help"] if verb else ["--help"])
    out = capsys.readouterr().out
    assert ended.value.code == 0 and "usage: mkctl" in out and "--root" not in out
    if not verb:
        for name in ("run", "status", "checkin", "register", "facts", "config", "version", "exit status"):
            assert name in out


@pytest.mark.parametrize("verb", ["status", "facts", "config", "version", "checkin"])
def test_verbs_for_people_load_neither_loop_nor_http_nor_bus(root: Root, verb: str) -> None:
    root.facts(hostname="x")
    code = (
        "import sys\nfrom mkctl.__main__ import main\n"
        f"main(['{verb}', '--root', {str(root.path)!r}])\n"
        "heavy = {'asyncio', 'requests', 'urllib3', 'dbus_next', 'ssl'} & set(sys.modules)\n"
        "sys.exit(f'loaded: {heavy}' if heavy else 0)\n"
    )
    run = subprocess.run(
        [sys.executable, "-c", code], cwd=REPO, capture_output=True, text=True, timeout=60, check=False
    )
    assert run.returncode == 0, run.stderr


def test_the_service_s_options_need_no_argparse() -> None:
    assert run_options(["run"]) == {}
    assert run_options(["run", "--root", "/x", "--mkweb", "http://y"]) == {"root": "/x", "mkweb": "http://y"}
    for other in ([], ["status"], ["run", "--root"], ["run", "--help"], ["run", "--root=/x"], ["run", "x", "y"]):
        assert run_options(other) is None


def test_exit_statuses_follow_the_tree_of_errors() -> None:
    found = exit_statuses()
    assert (found["Unreachable"], found["BadAnswer"], found["NotReady"], found["BadConfig"]) == (69, 76, 75, 78)


@pytest.mark.parametrize(
    ("seconds", "text"),
    [(-1, "0.0 s"), (0.44, "0.4 s"), (1.2, "1 s"), (59.4, "59 s"), (60, "1 min"), (185, "3 min 5 s"),
     (7380, "2 h 3 min"), (90_000, "1 d 1 h")],
)  # fmt: skip
def test_duration(seconds: float, text: str) -> None:
    assert duration(seconds) == text


def test_status_round_trip_and_missing_keys() -> None:
    status = Status(pid=5, node_macs=("a", "b"), first_checkin=False, last_error="x")
    assert parse_status(build_status(status)) == status
    assert parse_status({"version": 1}) == Status()


def test_start_ticks_of_a_program_with_a_nasty_name() -> None:
    fields = " ".join(str(n) for n in range(4, 53))
    assert parse_start_ticks(f"12 (a) b (c)) S {fields}") == 22
    assert parse_start_ticks("") == 0
