"""The first stage's surroundings: its script on this host beside a web server that misbehaves, a crowd of downloads.

The script is the shipped one with busybox of the shipped archive, in a root of its own; what stands in for the machine
is the kernel line and the log, two files. The rest of it, cards and drivers, needs a machine.

Source: unshare(1), chroot(1); RFC 9110 section 14 for ranges.
"""

from __future__ import annotations

import hashlib
import http.server
import json
import re
import shutil
import subprocess
import sys
import threading
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Optional

from .server import ROOT

SCRIPT = ROOT / "packaging/image/forms/first-stage/init"
BUSYBOX = ROOT / "build/tools/busybox/usr/bin/busybox"
LAYER = "10-root.squashfs"
CUT_BYTES = 700_000
CONDITIONS = {"loss": "first stage, 1 % packet loss", "crowd": "first stage, 48 downloads"}
"""Of a network -> what a boot over it is called in build/image/booted.json."""
_RUN = """\
mount --bind /proc "$1/proc"
mount --bind "$1/cmdline" "$1/proc/cmdline"
exec chroot "$1" /bin/busybox sh -c '. /functions; refusals=0 delay=1; fetch_all'
"""
_DOWNLOAD = """\
import json, sys, threading, time, urllib.request
url, number = sys.argv[1], int(sys.argv[2])
done, failed, stop, under_way, peak = [], [], threading.Event(), set(), 0
def download():
    global peak
    while not stop.is_set():
        try:
            with urllib.request.urlopen(url, timeout=60) as answer:
                while answer.read(1 << 18) and not stop.is_set():
                    under_way.add(threading.get_ident())
                    peak = max(peak, len(under_way))
                    time.sleep(0.2)
            done.append(1)
        except OSError as error:
            failed.append(str(error))
            time.sleep(1)
        under_way.discard(threading.get_ident())
threads = [threading.Thread(target=download) for _ in range(number)]
for thread in threads:
    thread.start()
sys.stdin.read()
stop.set()
for thread in threads:
    thread.join()
print(json.dumps({"done": len(done), "failed": failed, "peak": peak}))
"""


@dataclass
class Fault:
    """What a web server does wrong, for the first answers alone: ``kind`` is "cut", "wrong", "longer" or a status."""

    kind: str = ""
    answers: int = 0


@dataclass
class Outcome:
    """What became of a download: status of the script, its log, the layer's bytes, the ranges asked for."""

    status: int
    log: list[str]
    layer: bytes
    ranges: list[str] = field(default_factory=list)


def _build_handler(data: bytes, fault: Fault, ranges: list[str]) -> type[http.server.BaseHTTPRequestHandler]:
    class Handler(http.server.BaseHTTPRequestHandler):
        """Hands out ``data`` with the fault."""

        def log_message(self, format: str, *args: object) -> None:
            """Say nothing."""

        def do_GET(self) -> None:
            """Answer in part or whole."""
            asked = re.match(r"bytes=(\d+)-", self.headers.get("Range", ""))
            ranges.append(asked[1] if asked else "")
            kind = fault.kind if len(ranges) <= fault.answers else ""
            if kind.isdecimal():
                self.send_error(int(kind))
                return
            sent = {"wrong": bytes(len(data)), "longer": data + bytes(len(data))}.get(kind, data)
            start = int(asked[1]) if asked else 0
            self.send_response(206 if asked else 200)
            if asked:
                self.send_header("Content-Range", f"bytes {start}-{len(sent) - 1}/{len(sent)}")
            self.send_header("Content-Length", str(len(sent) - start))
            self.end_headers()
            end = start + CUT_BYTES if kind == "cut" else len(sent)
            try:
                self.wfile.write(sent[start:end])
            except OSError:
                self.close_connection = True

    return Handler


def _make_root(folder: Path, data: bytes, programs: Sequence[str]) -> None:
    shutil.rmtree(folder, ignore_errors=True)
    for name in ("bin", "proc", "dev", "run", "layers"):
        (folder / name).mkdir(parents=True)
    shutil.copy(BUSYBOX, folder / "bin/busybox")
    for name in programs:
        (folder / "bin" / name).symlink_to("busybox")
    (folder / "dev/null").touch()
    (folder / "dev/kmsg").symlink_to("/proc/self/fd/2")
    text = SCRIPT.read_text(encoding="utf-8")
    (folder / "functions").write_text(text[: text.index("\ntrap ") + 1], encoding="utf-8")
    line = f"{hashlib.sha256(data).hexdigest()} {len(data)} root.squashfs {LAYER}\n"
    (folder / "layers.list").write_text(line, encoding="utf-8")


def fetch(folder: Path, data: bytes, programs: Sequence[str], fault: Fault, *, before: str = "") -> Outcome:
    """Have the script fetch ``data`` as its one layer from a server with a fault.

    before: an address of ``mk.root`` that is tried first. Needs root.
    """
    _make_root(folder, data, programs)
    ranges: list[str] = []
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), _build_handler(data, fault, ranges)) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        words = [
            f"mk.root={address}" for address in (before, f"http://127.0.0.1:{server.server_port}/image") if address
        ]
        (folder / "cmdline").write_text(" ".join(["quiet", *words]) + "\n", encoding="utf-8")
        command = ["unshare", "--mount", "sh", "-euc", _RUN, "sh", str(folder)]
        done = subprocess.run(command, capture_output=True, text=True, timeout=120, check=False)
        server.shutdown()
    layer = folder / "layers" / LAYER
    said = [line for line in done.stderr.splitlines() if "mk: " in line]
    return Outcome(done.returncode, said, layer.read_bytes() if layer.exists() else b"", ranges)


class Crowd:
    """So many downloads of one address at once, each begun again when it ends; leaving its `with` block ends them.

    Then `done` says how many came whole, `peak` how many were under way together, `failed` what went wrong.
    """

    def __init__(self, url: str, number: int, prefix: Sequence[str]) -> None:
        """Start them by ``prefix``, a command that runs a program in the network concerned."""
        command = [*prefix, sys.executable, "-I", "-c", _DOWNLOAD, url, str(number)]
        self._process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE)
        self.done = self.peak = 0
        self.failed: Optional[list[str]] = None

    def __enter__(self) -> Crowd:
        return self

    def __exit__(self, *_: object) -> None:
        said = self._process.communicate(b"", timeout=120)[0]
        outcome = json.loads(said)
        self.done, self.peak, self.failed = outcome["done"], outcome["peak"], outcome["failed"]
