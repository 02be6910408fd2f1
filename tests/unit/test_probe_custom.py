"""A site's own facts: data files and executables in facts.d."""

from __future__ import annotations

import ctypes
import os
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from probe_tree import make_tool, make_tree

from mkcore.errors import BadInput
from mkcore.jsonfields import Json
from mkctl.probe.collect import Collected, run_collectors
from mkctl.probe.custom import EXECUTABLES_LIMIT, LIMIT_BYTES, build_custom, parse_facts
from mkctl.probe.model import Status

LIB, ETC = "usr/lib/mk/facts.d", "etc/mk/facts.d"


@pytest.fixture(autouse=True)
def _umask() -> Iterator[None]:
    """Whoever runs the tests may have a umask under which files can be written by the group."""
    before = os.umask(0o022)
    yield
    os.umask(before)


def collect(top: Path, timeout_s: float = 10.0) -> dict[str, Collected]:
    return {ended.name: ended.result for ended in run_collectors(build_custom(top, timeout_s))}


def facts_of(top: Path) -> dict[str, Json]:
    return {name: value for result in collect(top).values() for name, value in result.facts.items()}


def test_no_folders_no_facts(tmp_path: Path) -> None:
    assert collect(tmp_path) == {"custom": Collected({})}


def test_data_files_and_executables(tmp_path: Path) -> None:
    """What an extension or a site adds arrives under its own names."""
    make_tree(tmp_path, {
        f"{ETC}/site.json": '{"Datacenter": "ams2", "rack": {"row": 3, "unit": 17}, "spare": true, "nothing": null}',
        f"{ETC}/owner.txt": "# who answers the phone\nowner = platform \n\ncost_center=4711=b\n",
        f"{ETC}/README.md": "for people",
        f"{ETC}/.hidden.txt": "no=1",
        f"{ETC}/old.txt~": "no=2",
    })  # fmt: skip
    make_tool(tmp_path / ETC, "power.sh", "echo power_feed=A; echo power_watts=350")
    make_tool(tmp_path / ETC, "tree", """printf '\\n {"tree": {"deep": [1, 2]}}\\n'""")
    assert facts_of(tmp_path) == {
        "datacenter": "ams2",
        "rack": {"row": 3, "unit": 17},
        "spare": True,
        "owner": "platform",
        "cost_center": "4711=b",
        "power_feed": "A",
        "power_watts": "350",
        "tree": {"deep": [1, 2]},
    }
    assert {(result.status, result.error) for result in collect(tmp_path).values()} == {(Status.OK, "")}


def test_the_site_s_folder_replaces_by_file_name(tmp_path: Path) -> None:
    make_tree(tmp_path, {
        f"{LIB}/a.txt": "from_lib=1\nonly_lib=1",
        f"{LIB}/b.json": '{"b": 1}',
        f"{LIB}/kept.txt": "kept=1",
        f"{ETC}/a.txt": "from_etc=1",
        f"{ETC}/b.json": "-> /dev/null",
        f"{ETC}/gone.sh": "-> /dev/null",
    })  # fmt: skip
    make_tool(tmp_path / LIB, "gone.sh", "echo gone=1")
    assert facts_of(tmp_path) == {"from_etc": "1", "kept": "1"}
    assert collect(tmp_path)["custom"].error == ""


def test_a_broken_one_costs_only_itself_and_is_named(tmp_path: Path) -> None:
    make_tree(tmp_path, {
        f"{ETC}/bad.json": '{"a": ',
        f"{ETC}/list.json": "[1]",
        f"{ETC}/good.json": '{"good": 1}',
        f"{ETC}/lines.txt": "a line\nb=1\nbad name=1\n",
        f"{ETC}/big.txt": "x=" + "y" * LIMIT_BYTES,
        f"{ETC}/facts.yaml": "a: 1",
        f"{ETC}/plain": "a=1",
        f"{ETC}/folder/": "",
        f"{ETC}/link.txt": "-> good.json",
        f"{ETC}/odd name.txt": "a=1",
    })  # fmt: skip
    make_tool(tmp_path / ETC, "fails", "echo lost=1; echo no disk >&2; exit 3")
    make_tool(tmp_path / ETC, "dies", "kill -9 $$")
    make_tool(tmp_path / ETC, "floods", "yes a=b")
    make_tool(tmp_path / ETC, "garbage", """printf '{"a": }'""")
    make_tree(tmp_path, {f"{ETC}/noformat": b"\x7fELF broken"})
    (tmp_path / ETC / "noformat").chmod(0o755)
    results = collect(tmp_path)
    assert results["custom"].facts == {"good": 1, "b": "1"}
    assert results["custom"].status is Status.OK
    folder = tmp_path / ETC
    for line in (
        f"{folder}/bad.json: not JSON: ",
        f"{folder}/list.json: a JSON object is wanted",
        f'{folder}/lines.txt: line 1 is not name=value: "a line"',
        f'{folder}/lines.txt: "bad name" cannot be the name of a fact',
        f"{folder}/big.txt: larger than {LIMIT_BYTES} bytes",
        f"{folder}/facts.yaml: YAML is not read: write JSON (.json) or lines of name=value (.txt)",
        f"{folder}/plain: neither .json nor .txt nor executable",
        f"{folder}/folder: is not a file",
        f"{folder}/link.txt: is a link, and only links to /dev/null are allowed",
        f"{folder}/odd name.txt: the name has blanks or letters beyond ASCII",
    ):
        assert line in results["custom"].error
    errors = {name: result.error for name, result in results.items()}
    assert errors["custom:fails"] == f"{folder}/fails ended with status 3: no disk"
    assert errors["custom:dies"] == f"{folder}/dies was killed by signal 9"
    assert errors["custom:floods"] == f"{folder}/floods wrote more than {LIMIT_BYTES} bytes"
    assert errors["custom:garbage"].startswith(f"{folder}/garbage: not JSON")
    assert "cannot be started" in errors["custom:noformat"]
    assert {result.status for name, result in results.items() if ":" in name} == {Status.FAILED}


def test_what_the_kernel_does_not_say_of_a_script_that_cannot_be_started(tmp_path: Path) -> None:
    """ENOENT for a file that is plainly there costs a night: it is the interpreter that is missing."""
    make_tree(tmp_path, {
        f"{ETC}/elsewhere": "#! /opt/none/python3 -I\nprint(1)\n",
        f"{ETC}/windows": "#!/bin/sh\r\necho a=1\r\n",
        f"{ETC}/bare": "echo a=1\n",
        f"{ETC}/binary": b"\x7fELF\0\0",
    })  # fmt: skip
    for path in (tmp_path / ETC).iterdir():
        path.chmod(0o755)
    errors = {name: result.error for name, result in collect(tmp_path).items()}
    absent, unknown = "cannot be started: No such file or directory", "cannot be started: Exec format error"
    folder = tmp_path / ETC
    assert errors["custom:elsewhere"] == f'{folder}/elsewhere {absent}; its first line wants "/opt/none/python3 -I"'
    assert errors["custom:windows"] == f'{folder}/windows {absent}; its first line wants "/bin/sh\\r"'
    assert errors["custom:bare"] == f"{folder}/bare {unknown}; a script's first line names its interpreter: #!/bin/sh"
    assert errors["custom:binary"] == f"{folder}/binary {unknown}"


def test_texts_that_other_systems_wrote(tmp_path: Path) -> None:
    """A byte order mark belongs to nothing; what is not UTF-8 is said, and is never part of a name."""
    mark = b"\xef\xbb\xbf"
    make_tree(tmp_path, {
        f"{ETC}/mark.txt": mark + b"first=1\r\nsecond=2\r\n",
        f"{ETC}/mark.json": mark + b'{"third": 3}',
        f"{ETC}/latin.txt": b"fine=1\nowner=M\xfcller\ncl\xe9=1\n",
        f"{ETC}/utf8.txt": "street=Stra\u00dfe \ufffd\n",
    })  # fmt: skip
    make_tool(tmp_path / ETC, "tool", """printf '\\357\\273\\277{"fourth": 4}'""")
    assert facts_of(tmp_path) == {
        "first": "1",
        "second": "2",
        "third": 3,
        "fourth": 4,
        "fine": "1",
        "owner": "M\ufffdller",
        "street": "Stra\u00dfe \ufffd",
    }
    latin = tmp_path / ETC / "latin.txt"
    assert collect(tmp_path)["custom"].error == (
        f"{latin}: line 2 is not UTF-8: what cannot be read of it is sent as U+FFFD; "
        f'{latin}: "cl\\ufffd" cannot be the name of a fact'
    )


def test_one_that_hangs_ends_at_its_own_limit_beside_the_others(tmp_path: Path) -> None:
    make_tool(tmp_path / ETC, "hangs", "echo a=1; sleep 100")
    make_tool(tmp_path / ETC, "hangs_too", "sleep 100 & echo b=1; wait")
    make_tool(tmp_path / ETC, "works", "echo works=1")
    began = time.monotonic()
    results = collect(tmp_path, timeout_s=3.0)
    assert time.monotonic() - began < 60
    assert results["custom:works"].facts == {"works": "1"}
    for name in ("custom:hangs", "custom:hangs_too"):
        assert results[name].status is Status.TIMED_OUT
        assert results[name].facts == {}


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can give files to others")
def test_what_others_can_write_is_refused(tmp_path: Path) -> None:
    make_tree(tmp_path, {f"{ETC}/group.txt": "a=1", f"{ETC}/all.txt": "b=1", f"{ETC}/other.json": '{"c": 1}'})
    make_tool(tmp_path / ETC, "mine.sh", "echo d=1")
    folder = tmp_path / ETC
    (folder / "group.txt").chmod(0o664)
    (folder / "all.txt").chmod(0o646)
    (folder / "mine.sh").chmod(0o777)
    os.chown(folder / "other.json", 65534, -1)
    results = collect(tmp_path)
    assert list(results) == ["custom"]
    assert results["custom"].facts == {}
    for name in ("group.txt", "all.txt", "mine.sh"):
        assert f"{folder}/{name}: can be written by others than root" in results["custom"].error
    assert f"{folder}/other.json: belongs to another user than root" in results["custom"].error
    folder.chmod(0o777)
    make_tree(tmp_path, {f"{LIB}/x.txt": "x=1"})
    assert collect(tmp_path)["custom"].error == f"{folder}: can be written by others than root"
    assert facts_of(tmp_path) == {"x": "1"}


def thread_capabilities() -> str:
    status = Path(f"/proc/self/task/{threading.get_native_id()}/status").read_text(encoding="ascii")
    return next(line.split()[1] for line in status.splitlines() if line.startswith("CapPrm"))


def test_executables_have_no_capabilities_and_we_keep_ours(tmp_path: Path) -> None:
    before = thread_capabilities()
    make_tool(tmp_path / ETC, "rights", r"""sed -n 's/^\(Cap[A-Z][a-z]*\|NoNewPrivs\):\s*/\1=/p' /proc/self/status""")
    facts = facts_of(tmp_path)
    none = "0" * 16
    assert {name: facts[name] for name in ("capprm", "capeff", "capinh", "capamb")} == dict.fromkeys(
        ("capprm", "capeff", "capinh", "capamb"), none
    )
    assert facts["nonewprivs"] == "1"
    assert thread_capabilities() == before


def test_nothing_is_run_when_capabilities_cannot_be_given_up(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A filter of system calls that refuses capset: the executable must not start with what the probe may do."""

    class Libc:
        def prctl(self, *_: object) -> int:
            return 0

        def capset(self, *_: object) -> int:
            ctypes.set_errno(1)
            return -1

    make_tree(tmp_path, {f"{ETC}/good.txt": "good=1"})
    make_tool(tmp_path / ETC, "tool", f"touch '{tmp_path}/ran'")
    monkeypatch.setattr(ctypes, "CDLL", lambda *_args, **_options: Libc())
    results = collect(tmp_path)
    assert results["custom:tool"].status is Status.FAILED
    assert results["custom:tool"].error == "capabilities cannot be given up: capset: Operation not permitted"
    assert results["custom"].facts == {"good": "1"}
    assert not (tmp_path / "ran").exists()


def test_executables_are_counted(tmp_path: Path) -> None:
    for number in range(EXECUTABLES_LIMIT + 2):
        make_tool(tmp_path / ETC, f"t{number:03}", "true")
    results = collect(tmp_path)
    assert len(results) == 1 + EXECUTABLES_LIMIT
    assert results["custom"].error.count("not run") == 2


def test_the_unit_lets_capabilities_be_given_up() -> None:
    unit = Path(__file__).resolve().parents[2] / "units/systemd/mk-facts.service"
    lines = unit.read_text(encoding="utf-8").splitlines()
    assert "SystemCallFilter=capset" in lines
    assert "NoNewPrivileges=yes" in lines
    assert "IPAddressDeny=any" in lines


@given(st.binary(max_size=200), st.booleans())
def test_any_output_parses_or_is_bad_input(data: bytes, as_json: bool) -> None:
    try:
        facts, remarks = parse_facts(data, "x", as_json)
    except BadInput as error:
        assert str(error).startswith("x")
    else:
        assert all(name == name.lower() and name for name in facts)
        assert all("\n" not in remark for remark in remarks)
