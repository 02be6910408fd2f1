"""What keeps a run of mk-facts cheap: what it does not import, and what it does not start."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

from probe_tree import make_tool, make_tree

ROOT = Path(__file__).resolve().parents[2]
HEAVY = {
    "ast",
    "asyncio",
    "concurrent.futures",
    "dataclasses",
    "email",
    "hashlib",
    "http.client",
    "inspect",
    "multiprocessing",
    "pydoc",
    "random",
    "secrets",
    "sdnotify",
    "ssl",
    "subprocess",
    "tempfile",
    "unittest",
    "urllib.request",
    "uuid",
    "xml",
    "zipfile",
}
"""Modules of the library that cost milliseconds and that no usual run needs; each import adds to every run."""
TOOLS = {"lshw", "lscpu"}
"""The collectors that may start a program on a machine without BMC, SMART-capable disk and facts of the site."""
RUN = """
import json, sys, threading

started = []
sys.addaudithook(
    lambda event, arguments: started.append((threading.current_thread().name, str(arguments[0])))
    if event in ("os.posix_spawn", "os.fork", "os.forkpty", "os.exec", "os.system", "subprocess.Popen")
    else None
)
from mkctl.probe.__main__ import main

sys.argv[1:] = ["--root", sys.argv[1]]
status = main()
print(json.dumps({"status": status, "modules": list(sys.modules), "started": started}))
"""
MACHINE = {
    "run/mk-facts/": "",
    "proc/meminfo": "MemTotal:        2014228 kB\n",
    "proc/uptime": "81.23 150.00\n",
    "proc/loadavg": "0.50 0.40 0.30 1/99 1234\n",
    "proc/self/mounts": "rootfs / rootfs rw 0 0\n",
    "proc/cpuinfo": "processor\t: 0\nmodel name\t: one\n",
    "sys/kernel/uevent_seqnum": "1\n",
    "sys/class/dmi/id/sys_vendor": "QEMU\n",
    "sys/devices/system/cpu/present": "0\n",
    "sys/class/net/eth0/type": "1\n",
    "sys/class/net/eth0/address": "52:54:00:12:34:56\n",
    "sys/class/net/eth0/device/": "",
}


def test_a_run_imports_nothing_heavy_and_starts_two_programs(tmp_path: Path) -> None:
    """Identity and what sysfs tells cost no process; lshw and lscpu start once each."""
    root = make_tree(tmp_path / "root", MACHINE)
    make_tool(tmp_path / "bin", "lshw", "echo '[]'")
    make_tool(tmp_path / "bin", "lscpu", "echo 'Architecture: x86_64'")
    environment = {"PATH": str(tmp_path / "bin"), "PYTHONPATH": str(ROOT)}
    done = subprocess.run(
        [sys.executable, "-S", "-c", RUN, str(root)], env=environment, capture_output=True, text=True, timeout=100
    )
    assert done.returncode == 0, done.stderr
    told = json.loads(done.stdout)
    assert told["status"] == 0
    assert HEAVY & set(told["modules"]) == set()
    by_collector = {thread.removeprefix("mk-") for thread, _ in told["started"]}
    assert by_collector == TOOLS
    assert sorted(Path(program).name for _, program in told["started"]) == sorted(TOOLS)


def test_tools_start_before_anything_is_imported() -> None:
    """What starts them needs no module that an interpreter does not have anyway."""
    code = "import os, sys; before = set(sys.modules); import mkctl.probe.ahead; print(*set(sys.modules) - before)"
    environment = {"PATH": os.defpath, "PYTHONPATH": str(ROOT)}
    command = [sys.executable, "-S", "-c", code]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=100, check=True)
    allowed = {"__future__", "mkcore", "mkcore.spawn", "mkctl", "mkctl.probe", "mkctl.probe.ahead", "time"}
    assert set(done.stdout.split()) <= allowed
