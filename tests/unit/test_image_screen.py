"""What the image's screen says (packaging/image, usr/lib/mk/console): the real script on a made-up machine."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

import pytest

from tests.unit.mirror_trees import write_tree

PROGRAM = Path(__file__).resolve().parent.parent.parent / "packaging/image/mkosi.extra/usr/lib/mk/console"
SYSTEM = 'PRETTY_NAME="Debian GNU/Linux 13 (trixie)"\nIMAGE_VERSION=0.1.0_1034-g9434f34-dirty\n'
STATE = (
    "asking http://hanlon.provisioning.example.org:8026/hanlon/api/v1 again in 42 s: the name cannot be resolved "
    "(no name server of eno1 knows it)"
)
DMI = {"sys_vendor": "Maker\x1b[2J\n", "product_name": f"{'Long' * 30}\n", "product_serial": "7F\n", "product_uuid": ""}
ADDRESSES = "eno1 UP 192.0.2.17/24 metric 1024 2001:db8:1234:5678:9abc:def0:1234:5678/64 fe80::5054:ff:fe4d:4b01/64\n"


def show(top: Path, then: str = "") -> list[str]:
    """Run the script; return the lines of the screen. `then` is what ip and systemctl do after their answers."""
    files = {f"dmi/{name}": text for name, text in DMI.items()}
    write_tree(top, {**files, "os-release": SYSTEM, "active": "tty0\n", "dev/tty1": ""})
    said = {"ip": ADDRESSES, "systemctl": f"{STATE}\n"}
    write_tree(top, {f"bin/{name}*": f"#!/bin/sh\nprintf '%s' '{text}'\n{then}" for name, text in said.items()})
    text = PROGRAM.read_text(encoding="utf-8")
    places = {
        "/sys/class/dmi/id": "dmi",
        "/etc/os-release": "os-release",
        "/sys/class/tty/console/active": "active",
        "/dev/$name": "dev/$name",
        "/run/": "run/",
    }
    for place, ours in places.items():
        assert place in text
        text = text.replace(place, f"{top}/{ours}")
    (top / "run").mkdir(exist_ok=True)
    (top / "script").write_text(text)
    environment = {"PATH": f"{top / 'bin'}:{os.environ['PATH']}"}
    subprocess.run(["sh", str(top / "script")], env=environment, check=True, timeout=60)
    return (top / "dev/tty1").read_text().replace("\033c\033[?25l", "").splitlines()


def test_no_line_is_longer_than_the_screen_and_nothing_is_lost(tmp_path: Path) -> None:
    lines = show(tmp_path)
    assert max(map(len, lines)) < 80, lines
    assert lines[1] == "  mksuite 0.1.0_1034-g9434f34-dirty"
    assert lines[2].startswith("  Debian GNU/Linux 13 (trixie), kernel ")
    whole = " ".join(" ".join(lines).split())
    assert f"State {STATE}" in whole
    assert "".join(whole.split()).count("Long") == 30
    assert "eno1 192.0.2.17/24 2001:db8:1234:5678:9abc:def0:1234:5678/64 fe80::5054:ff:fe4d:4b01/64" in whole


def test_what_goes_on_in_the_next_line_stands_below_its_own_words(tmp_path: Path) -> None:
    lines = show(tmp_path)
    at = next(number for number, line in enumerate(lines) if line.startswith("  State"))
    assert lines[at].startswith("  State     asking ")
    assert lines[at + 1].startswith(" " * 12) and lines[at + 1][12] != " "


def test_nothing_that_firmware_wrote_steers_a_terminal(tmp_path: Path) -> None:
    assert any("Maker?[2J" in line for line in show(tmp_path))


def count_looks(top: Path, news: int) -> int:
    """Return how often the script asked for the state, where so many statuses are written while it does."""
    asked, status = top / "asked", top / "run/mkctl/status.json"
    status.parent.mkdir(parents=True)
    status.write_text("{}")
    write = f"echo {{}} > {status}.new; touch -d 2001-01-01 {status}.new; mv {status}.new {status}"
    write = f"[ $(wc -l < {asked}) -gt {news} ] || {{ {write}; }}"
    show(top, f'case "$0" in *systemctl) echo . >> {asked}; {write};; esac\n')
    return len(asked.read_text().splitlines())


@pytest.mark.parametrize(("news", "looks"), [(0, 1), (1, 2), (3, 4)])
def test_news_that_come_while_it_is_written_are_looked_at(tmp_path: Path, news: int, looks: int) -> None:
    """Also where the clock was set back in between."""
    assert count_looks(tmp_path, news) == looks


def test_news_without_end_do_not_keep_it(tmp_path: Path) -> None:
    assert count_looks(tmp_path, 99) == 5
