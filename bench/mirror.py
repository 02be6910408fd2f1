"""The mirror as a web server, beside nginx for large files and Ruby's WEBrick (what the originals ran) for small ones.

All serve the same tree over loopback, on the system's Python and Ruby, without an access log; curl is everybody's
client and writes to /dev/null. nginx has what its package sets (sendfile, tcp_nopush) and one process. The servers take
turns, and medians are compared. CPU and memory are the server's own, as the kernel counts them.
"""

from __future__ import annotations

import contextlib
import os
import shutil
import socket
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Generator, Mapping
from dataclasses import dataclass
from pathlib import Path

from bench.rows import Row, against
from tests.machines.web import find_nginx

LARGE_BYTES = 1 << 30
CLIENTS, SHARE_BYTES = 50, 21 << 20
FILES, FILE_BYTES, CONNECTIONS = 1000, 4096, 8
ROUNDS, SMALL_ROUNDS = 5, 9
START_S, RUN_S = 20.0, 300.0
FOLDER = "tinycorelinux/15.x/x86_64/tcz"

MKMIRROR = "import sys; sys.path.insert(0, {root!r}); from mkmirror.__main__ import main; sys.exit(main())"
NGINX = """
daemon off; master_process off; worker_processes 1; pid {work}/nginx.pid; error_log {work}/nginx.log;
events {{ worker_connections 768; }}
http {{
    sendfile on; tcp_nopush on; access_log off;
    client_body_temp_path {work}/body; proxy_temp_path {work}/proxy; fastcgi_temp_path {work}/fastcgi;
    uwsgi_temp_path {work}/uwsgi; scgi_temp_path {work}/scgi;
    server {{ listen 127.0.0.1:{port}; root {tree}; }}
}}
"""
WEBRICK = """
require "webrick"
server = WEBrick::HTTPServer.new(BindAddress: "127.0.0.1", Port: ARGV[0].to_i, DocumentRoot: ARGV[1],
                                 Logger: WEBrick::Log.new(File::NULL), AccessLog: [])
trap("TERM") { server.shutdown }
server.start
"""


@dataclass(frozen=True)
class Served:
    """A running web server: its port and process."""

    port: int
    pid: int

    def cpu_s(self) -> float:
        """CPU seconds of the process so far, to the nanosecond: the sum over its threads."""
        tasks = Path(f"/proc/{self.pid}/task").glob("*/schedstat")
        return sum(int(task.read_text(encoding="ascii").split()[0]) for task in tasks) / 1e9

    def peak_rss_mb(self) -> float:
        """Peak resident memory of the process, MB."""
        for line in Path(f"/proc/{self.pid}/status").read_text(encoding="ascii").splitlines():
            if line.startswith("VmHWM:"):
                return int(line.split()[1]) * 1024 / 1e6
        raise RuntimeError(f"bench: the kernel does not say what process {self.pid} held")


def measure(root: Path) -> list[Row]:
    """Measure all rows of the mirror."""
    work = root / "build/bench/mirror"
    shutil.rmtree(work, ignore_errors=True)
    tree = make_tree(work)
    try:
        with contextlib.ExitStack() as stack:
            start = {"mkmirror": start_mkmirror, "nginx": start_nginx, "webrick": start_webrick}
            servers = {name: stack.enter_context(each(root, work, tree)) for name, each in start.items()}
            return [*large(servers, work), *small(servers, work)]
    finally:
        shutil.rmtree(work)


def large(servers: Mapping[str, Served], work: Path) -> list[Row]:
    """One reader of a large file; CPU and memory of the server under many."""
    two = {name: servers[name] for name in ("mkmirror", "nginx")}
    took = in_turn(two, ROUNDS, lambda each: download(each, work, ["large"], 1))
    cpu = in_turn(two, ROUNDS, lambda each: cpu_of(each, work))
    gib = CLIENTS * SHARE_BYTES / (1 << 30)
    speed = {name: LARGE_BYTES / 1e6 / each for name, each in took.items()}
    ours, theirs = two["mkmirror"].peak_rss_mb(), two["nginx"].peak_rss_mb()
    return [
        against("mirror.large_file_over_nginx", speed["mkmirror"], "MB/s", "nginx, MB/s", speed["nginx"]),
        Row("mirror.large_file_mb_per_s", round(speed["mkmirror"], 1), "MB/s"),
        against("mirror.cpu_per_gib_over_nginx", cpu["mkmirror"] / gib, "s", "nginx, CPU s", cpu["nginx"] / gib),
        against("mirror.peak_rss_mb", ours, "MB", "nginx", theirs),
    ]


def small(servers: Mapping[str, Served], work: Path) -> list[Row]:
    """Small files over a few connections at once, each kept, as HTTP/1.1 means it; beside that a new one for each.

    Over kept connections WEBrick loses time between its two writes of an answer (Nagle's algorithm against delayed
    acknowledgements), the more the fewer there are; over new ones nobody waits, and both are limited by their CPU.
    """
    two = {name: servers[name] for name in ("mkmirror", "webrick")}
    names = [f"small{number}" for number in range(FILES)]
    close = ("--header", "Connection: close")
    kept = in_turn(two, SMALL_ROUNDS, lambda each: FILES / download(each, work, names, CONNECTIONS))
    new = in_turn(two, SMALL_ROUNDS, lambda each: FILES / download(each, work, names, CONNECTIONS, *close))
    peer = "WEBrick, requests/s"
    return [
        against("mirror.small_files_over_webrick", kept["mkmirror"], "1/s", peer, kept["webrick"]),
        against("mirror.small_files_per_s", kept["mkmirror"], "1/s", "WEBrick", kept["webrick"]),
        against("mirror.small_files_new_connections_per_s", new["mkmirror"], "1/s", "WEBrick", new["webrick"]),
    ]


def in_turn(servers: Mapping[str, Served], rounds: int, run: Callable[[Served], float]) -> dict[str, float]:
    """Run for each server in turn, once more than counted; return the medians."""
    found: dict[str, list[float]] = {name: [] for name in servers}
    for number in range(rounds + 1):
        for name in list(servers)[:: 1 if number % 2 else -1]:
            value = run(servers[name])
            if number:
                found[name].append(value)
    for name, values in found.items():
        print(f"bench: {name}: {min(values):.3f} to {max(values):.3f}", file=sys.stderr)
    return {name: statistics.median(values) for name, values in found.items()}


def cpu_of(served: Served, work: Path) -> float:
    """CPU seconds that the server takes for all clients at once."""
    before = served.cpu_s()
    download(served, work, ["share"] * CLIENTS, CLIENTS)
    return served.cpu_s() - before


def download(served: Served, work: Path, names: list[str], parallel: int, *options: str) -> float:
    """Have curl take these files; return the seconds that it took. Raises RuntimeError when one did not come."""
    wanted = "".join(
        f'url = "http://127.0.0.1:{served.port}/{FOLDER}/{name}.tcz"\noutput = "/dev/null"\n' for name in names
    )
    config = work / "curl.conf"
    config.write_text(wanted, encoding="ascii")
    many = ("--parallel", "--parallel-immediate", "--parallel-max", str(parallel)) if parallel > 1 else ()
    argv = [
        "curl",
        "--disable",
        "--silent",
        "--show-error",
        "--fail-early",
        "--fail",
        "--noproxy",
        "*",
        *many,
        *options,
    ]
    began = time.perf_counter()
    done = subprocess.run([*argv, "--config", str(config)], capture_output=True, text=True, timeout=RUN_S, check=False)
    took = time.perf_counter() - began
    if done.returncode:
        raise RuntimeError(f"bench: curl ends with {done.returncode}: {done.stderr}")
    return took


def make_tree(work: Path) -> Path:
    """Make the mirror's tree, with content that no file system can leave out; return its top."""
    top = work / "root/usr/share/mk/mirror"
    folder = top / FOLDER
    folder.mkdir(parents=True)
    block = os.urandom(1 << 20)
    for name, size in (("large", LARGE_BYTES), ("share", SHARE_BYTES)):
        with (folder / f"{name}.tcz").open("wb") as stream:
            for _ in range(size // len(block)):
                stream.write(block)
    for number in range(FILES):
        (folder / f"small{number}.tcz").write_bytes(block[number : number + FILE_BYTES])
    return top


@contextlib.contextmanager
def running(argv: list[str], port: int, work: Path) -> Generator[Served]:
    """Run a server until the end; yield when it accepts connections."""
    with (work / "servers.log").open("ab") as log:
        process = subprocess.Popen(argv, stdin=subprocess.DEVNULL, stdout=log, stderr=log)
    try:
        deadline = time.monotonic() + START_S
        while True:
            try:
                socket.create_connection(("127.0.0.1", port), timeout=5).close()
                break
            except OSError:
                if process.poll() is not None or time.monotonic() > deadline:
                    said = (work / "servers.log").read_text(encoding="utf-8", errors="replace")
                    raise RuntimeError(f"bench: {argv[0]} does not serve: {said}") from None
                time.sleep(0.05)
        yield Served(port, process.pid)
    finally:
        process.terminate()
        try:
            process.wait(START_S)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


def start_mkmirror(root: Path, work: Path, tree: Path) -> contextlib.AbstractContextManager[Served]:
    """Start ours as its unit does: its own process, the system's Python, isolated."""
    port, place = free_port(), str(tree.parents[3])
    code = MKMIRROR.format(root=str(root))
    argv = ["/usr/bin/python3", "-I", "-c", code, "--listen", f"127.0.0.1:{port}", "--root", place]
    return running(argv, port, work)


def start_nginx(root: Path, work: Path, tree: Path) -> contextlib.AbstractContextManager[Served]:
    """Start nginx."""
    port, config = free_port(), work / "nginx.conf"
    config.write_text(NGINX.format(work=work, port=port, tree=tree), encoding="utf-8")
    return running([find_nginx(), "-c", str(config), "-e", str(work / "nginx.log")], port, work)


def start_webrick(root: Path, work: Path, tree: Path) -> contextlib.AbstractContextManager[Served]:
    """Start WEBrick."""
    port = free_port()
    return running(["ruby", "-e", WEBRICK, str(port), str(tree)], port, work)


def free_port() -> int:
    """Return a port of the loopback that nobody uses."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])
