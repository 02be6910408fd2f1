"""What mk-extensions.service is granted, one by one: without one nothing is installed.

What is installed is a Python package with a command, which takes mounts by PID 1, files of mk-fetch's user and a folder
that all may read. That kernel modules can be loaded, and what that takes, is shown where there are some: on the shipped
image (tests/image/test_extensions.py). What mk-fetch.service is granted beside the network is shown here, too.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.machines import nspawn
from tests.unit.mirror_trees import run_mkmirror, write_wheel

WHEELS = "/var/lib/mk/mirror/gem-mirror/wheels"
DROPIN = "/run/systemd/system/mk-extensions.service.d/50-test.conf"
FETCH_DROPIN = DROPIN.replace("mk-extensions", "mk-fetch")
DECOY, DECOYED = "/usr/local/sbin/systemd-run", "/run/mk-extensions/decoyed"
OTHERS_FIRST = "Environment=PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin"
INSTALLED = "/run/mk-extensions/installed.json"
INFO = "hello-1.0.dist-info"
COMMAND = "/usr/local/bin/hello"
SMALL_ROOT = "/var/lib/small-root"
IN_SMALL_ROOT = f"RootDirectory={SMALL_ROOT}\nMountAPIVFS=yes\n" + "".join(
    f"BindReadOnlyPaths={each}\n" for each in ("/usr", "/etc", "/bin", "/sbin", "/lib", "/lib64")
)


@pytest.fixture(scope="module")
def machine(quiet: nspawn.Machine, tmp_path_factory: pytest.TempPathFactory) -> Iterator[nspawn.Machine]:
    """A machine whose own mirror has the package."""
    folder = tmp_path_factory.mktemp("mirror")
    content = {
        "hello.py": "def main(): print('hello')\n",
        f"{INFO}/METADATA": "Metadata-Version: 2.1\nName: hello\nVersion: 1.0\n",
        f"{INFO}/WHEEL": "Wheel-Version: 1.0\nRoot-Is-Purelib: true\nTag: py3-none-any\n",
        f"{INFO}/entry_points.txt": "[console_scripts]\nhello = hello:main\n",
    }
    write_wheel(folder / "hello-1.0-py3-none-any.whl", INFO, content)
    run_mkmirror("index", folder, "--quiet")
    place = quiet.root / WHEELS.lstrip("/")
    place.mkdir(parents=True)
    for path in folder.iterdir():
        if path.is_file():
            (place / path.name).write_bytes(path.read_bytes())
    quiet.write("/etc/mk/mk.toml", '[extensions]\npackages = ["hello"]\n')
    quiet.run("systemctl", "start", "mkmirror.socket", "mkmirror-packages.socket")
    quiet.run("systemd-run", "--slice=mk.slice", "sleep", "infinity")  # as mkctl: the slice is never without a process
    yield quiet


def remove(machine: nspawn.Machine) -> None:
    """Take the package away, with all grants."""
    machine.run("rm", "-f", DROPIN, FETCH_DROPIN, DECOY, DECOYED, "/run/mk-fetch/staged.json")
    machine.run("systemctl", "daemon-reload")
    machine.write("/run/mk/requests.json", '{"version":1,"install":[],"packages":[],"remove":["hello"]}')

    def gone() -> bool:
        """A start that meets one under way is that one, which may have read the requests before."""
        machine.run("systemctl", "start", "mk-extensions.service")
        return not machine.read_json(INSTALLED)["packages"]

    machine.wait_until(gone, "the package is gone")
    machine.run("rm", "/run/mk/requests.json")


def install(machine: nspawn.Machine, switch: str = "") -> str:
    """Fetch and install with a switch closed; return what mk-extensions said."""
    if switch:
        machine.write(DROPIN, f"[Service]\n{switch}\n")
        machine.run("systemctl", "daemon-reload")
    start = machine.mark()
    machine.run("systemctl", "start", "mk-fetch.service")
    machine.wait_until(lambda: has_ended(machine, start), "mk-extensions.service has ended")
    return "\n".join(each["MESSAGE"] for each in machine.journal("_SYSTEMD_UNIT=mk-extensions.service", after=start))


def has_ended(machine: nspawn.Machine, start: str) -> bool:
    """Tell whether systemd has said since that mk-extensions ended."""
    said = [each["MESSAGE"] for each in machine.journal("UNIT=mk-extensions.service", after=start)]
    return any(text.startswith(("Finished", "Failed to start")) for text in said)


def works(machine: nspawn.Machine) -> bool:
    """Tell whether the command can be run by anybody."""
    done = machine.run(COMMAND, user="mkmirror", check=False)
    return done.stdout == "hello\n"


def test_with_all_of_them(machine: nspawn.Machine) -> None:
    remove(machine)
    install(machine)
    assert works(machine)
    assert not machine.run("sh", "-c", "ls /run/mk-fetch/staging/*/*.whl", check=False).stdout, "memory is given back"


@pytest.mark.parametrize(
    ("switch", "said"),
    [
        ("CapabilityBoundingSet=\nCapabilityBoundingSet=CAP_SYS_MODULE", "Permission denied"),
        ("RestrictAddressFamilies=\nRestrictAddressFamilies=AF_INET", "Address family not supported"),
        ("PrivateUsers=yes", "Permission denied"),
        ("ReadWritePaths=", "Read-only file system"),
    ],
)
def test_without_one(machine: nspawn.Machine, switch: str, said: str) -> None:
    """Nothing is installed, one line says why, and the next run with all grants installs it."""
    remove(machine)
    found = install(machine, switch)
    assert said in found, found
    assert not works(machine)


def test_a_root_of_its_own(machine: nspawn.Machine) -> None:
    """RootDirectory=: one that has the system's programs, and not what other services wrote, has nothing to install."""
    remove(machine)
    machine.run("mkdir", "-p", SMALL_ROOT)
    found = install(machine, IN_SMALL_ROOT)
    assert not works(machine), found
    assert machine.run("test", "-e", "/run/mk-fetch/staged.json", check=False).returncode == 0, "nobody took it"


def fetch(machine: nspawn.Machine, switch: str) -> list[str]:
    """Run mk-fetch once with a switch changed; return what it said."""
    machine.write(FETCH_DROPIN, f"[Service]\n{switch}\n")
    machine.run("systemctl", "daemon-reload")
    start = machine.mark()
    machine.run("systemctl", "start", "mk-fetch.service")
    return [str(each["MESSAGE"]) for each in machine.journal("_SYSTEMD_UNIT=mk-fetch.service", after=start)]


@pytest.mark.parametrize("switch", ["", IN_SMALL_ROOT])
def test_a_root_of_its_own_for_the_fetcher(machine: nspawn.Machine, switch: str) -> None:
    """Likewise, what the administrator asks for is not known there."""
    remove(machine)
    machine.run("mkdir", "-p", SMALL_ROOT)
    machine.write("/run/mk/requests.json", '{"version":1,"install":["nowhere.raw"],"packages":[],"remove":[]}')
    try:
        said = fetch(machine, switch)
    finally:
        machine.run("rm", "/run/mk/requests.json")
    assert any("nowhere.raw" in text for text in said) is not bool(switch), said


@pytest.mark.parametrize("switch", ["", OTHERS_FIRST])
def test_whose_programs_are_run(machine: nspawn.Machine, switch: str) -> None:
    """The system's: what an extension put into /usr/local under the name of one is not run as root."""
    remove(machine)
    machine.write(DECOY, f"#!/bin/sh\ntouch {DECOYED}\nexit 1\n", mode=0o755)
    install(machine, switch)
    ran = machine.run("test", "-e", DECOYED, check=False).returncode == 0
    assert (ran, works(machine)) == ((True, False) if switch else (False, True))


@pytest.mark.parametrize("switch", ["", OTHERS_FIRST])
def test_whose_programs_the_fetcher_runs(machine: nspawn.Machine, switch: str) -> None:
    """Likewise, as its user; systemd-detect-virt is asked for what is listed for some machines alone."""
    remove(machine)
    decoy = "/usr/local/bin/systemd-detect-virt"
    folder = "/var/lib/mk/mirror/tinycorelinux/15.x/x86_64/tcz"
    machine.write(decoy, "#!/bin/sh\necho decoy\n", mode=0o755)
    machine.write(f"{folder}/only.tcz", "not an image")
    machine.write(f"{folder}/only.tcz.when", "virtualization vmware\n")
    machine.write("/var/lib/mk/mirror/tinycorelinux/tce-install-list", '["only.tcz"]')
    try:
        said = fetch(machine, switch)
    finally:
        machine.run("rm", "-r", decoy, "/var/lib/mk/mirror/tinycorelinux")
    found = [text for text in said if text.startswith("only.tcz is not for this machine")]
    assert found and ("(decoy)" in found[0]) is bool(switch), said


@pytest.mark.parametrize(("user", "path"), [("mkmirror", "/proc/version"), ("root", "/proc/modules")])
def test_what_would_be_hidden_of_proc(machine: nspawn.Machine, user: str, path: str) -> None:
    """ProcSubset=: mk-fetch asks on what it runs (systemd-detect-virt), mk-extensions which modules are loaded.

    A kernel that was built without modules has no such list; then another file of its kind stands for it.
    """
    path = path if Path(path).exists() else "/proc/cmdline"
    command = ("systemd-run", "--wait", "--quiet", f"--property=User={user}")
    assert machine.run(*command, "test", "-r", path, check=False).returncode == 0
    assert machine.run(*command, "--property=ProcSubset=pid", "test", "-r", path, check=False).returncode != 0


def test_as_another_user(machine: nspawn.Machine) -> None:
    """Last, as the folder then belongs to that user: PID 1 mounts for nobody but root."""
    remove(machine)
    assert "Interactive authentication required" in install(machine, "User=mkmirror")
    assert not works(machine)
