"""The rpm packages by dnf from a signed repository: installed, upgraded, removed, on a machine with a running systemd.

The machine is a Debian with rpm and dnf: systemd, D-Bus, polkit and Python are Debian's, and a package without files
says so to rpm. So files, scripts, dependencies and signatures are shown, and that the suite runs from where these
packages put it; that it runs on EL and Fedora is not.
"""

from __future__ import annotations

import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.machines import nspawn, packages, tree
from tests.system.leftovers import directory_entries, files, running

NAMES = ("mk-core", "mkctl", "mkmirror", "mkserver", "mkweb", "mk-suite", "mk-host")
UNITS = [path.name for path in sorted((tree.ROOT / "units/systemd").iterdir())]
OTHERS = (
    "/var/lib/rpm/",
    "/var/lib/dnf/",
    "/usr/lib/sysimage/",
    "/etc/yum.repos.d/",
    "/etc/dnf/",
    "/root/",
    "/etc/pki/",
)
FOLDERS = {"/usr/share/licenses", "/usr/share/dbus-1/interfaces", "/etc/yum.repos.d"}
"""Of a distribution with rpm, whose packages own them; this Debian lacks them."""
REPO = "/etc/yum.repos.d/mksuite.repo"
PEOPLE = ("mkctl", "mkmirror", "mkserver", "mkweb")
CLEAN_UP = (
    "rm -rf /etc/mk /var/lib/mk /var/lib/mk-host /var/lib/mkserver; "
    "for user in mkctl mkmirror mkserver mkweb mk-host; do userdel $user; done"
)
"""What README says to remove beyond the packages, who are asked for nothing but themselves."""


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with the repositories `older`, `newer` and `foreign` (another key), and the stand-in."""
    place = tmp_path_factory.mktemp("rpms")
    source = packages.copy_source(place / "source")
    packages.raise_version(source)
    built = packages.build(source, "rpm")
    for name, at, keys in (("older", tree.BUILD, "keys"), ("newer", built, "keys"), ("foreign", tree.BUILD, "others")):
        packages.make_repo(place / name, at, place / keys, f"file:///place/{name}", kinds=("rpm",))
    shutil.copy(packages.build_rpm_stand_in(place / "stand-in"), place / "stand-in.rpm")
    return place


@pytest.fixture(scope="module")
def machine(place: Path) -> Iterator[nspawn.Machine]:
    """A booted Debian with dnf, to which the stand-in says that it has what the suite needs."""
    lower = tree.make_layer("rpm", ("rpm", "dnf"))
    with nspawn.boot("rpms", lower, options=[f"--bind-ro={place}:/place"]) as booted:
        booted.run("rpm", "--install", "--nodeps", "--nosignature", "/place/stand-in.rpm")
        yield booted


@pytest.fixture(scope="module")
def before(machine: nspawn.Machine) -> set[str]:
    """The files of the machine before anything of ours was there."""
    return files(machine, OTHERS)


def dnf(machine: nspawn.Machine, *words: str, check: bool = True) -> subprocess.CompletedProcess[str]:
    """Run dnf without a question."""
    return machine.run("dnf", "--assumeyes", "--quiet", "--setopt=install_weak_deps=False", *words, check=check)


def use(machine: nspawn.Machine, repository: str) -> None:
    """Have dnf know one of the repositories, as README says."""
    machine.run("install", "-D", "-m", "644", f"/place/{repository}/mksuite.repo", REPO)
    machine.run("dnf", "clean", "all")


@pytest.mark.usefixtures("before")
def test_another_key_is_refused(machine: nspawn.Machine) -> None:
    """A repository that claims the key and is signed by another one gives nothing."""
    use(machine, "foreign")
    machine.run("sed", "-i", "s|^gpgkey=.*|gpgkey=file:///place/older/mksuite.asc|", REPO)
    assert dnf(machine, "install", "mk-suite", check=False).returncode != 0
    # And the packages themselves, where only they are checked.
    machine.run("sed", "-i", "s|^repo_gpgcheck=1|repo_gpgcheck=0|", REPO)
    done = dnf(machine, "install", "mk-suite", check=False)
    assert done.returncode != 0 and "GPG check FAILED" in done.stdout + done.stderr, done.stdout + done.stderr
    assert machine.run("rpm", "--query", "mk-core", check=False).returncode != 0


def test_install_starts_nothing(machine: nspawn.Machine) -> None:
    """Installed from the signed repository: all there, verified, disabled and stopped."""
    use(machine, "older")
    before = running(machine)
    dnf(machine, "install", "mk-suite", "mkserver", "mk-host")

    assert running(machine) == before
    for unit in UNITS:
        assert machine.property(unit, "LoadState") == "loaded", unit
        assert machine.property(unit, "ActiveState") == "inactive", unit
        assert machine.run("systemctl", "is-enabled", unit, check=False).stdout.strip() in ("disabled", "static"), unit
    assert machine.output("ss", "--no-header", "--listening", "--tcp") == ""
    for name in PEOPLE:
        machine.run("id", name)
    assert machine.output("rpm", "--verify", *NAMES) == ""
    assert "mkctl" in machine.output("sh", "-c", "echo /usr/share/mk/python/mkctl/__pycache__/*.pyc")
    machine.run("systemctl", "preset", "mk.target", "mkserver.service")
    assert machine.run("systemctl", "is-enabled", "mk.target", check=False).stdout.strip() == "disabled"


def test_the_suite_runs(machine: nspawn.Machine) -> None:
    """From the folder that no Python looks into: each service, each oneshot, each command."""
    machine.run("systemctl", "start", "mk.target", "mkserver.service")
    machine.wait_until(lambda: machine.property("mkctl.service", "ActiveState") == "active", "mkctl runs")
    machine.run("systemctl", "start", "mk-facts.service", "mk-fetch.service")
    for unit in ("mkweb.service", "mkmirror.service", "mkserver.service"):
        machine.run("systemctl", "start", unit)
    assert machine.output("systemctl", "--failed", "--no-legend") == ""
    assert machine.output("mkctl", "version")
    for command in ("mkctl", "mkmirror", "mkserver", "mkweb"):
        machine.run(command, "--help")
    machine.run("systemctl", "stop", "mk.target", "mk.slice", "mkserver.service")
    assert machine.output("rpm", "--verify", *NAMES) == ""


def test_upgrade_keeps_what_was_changed(machine: nspawn.Machine) -> None:
    """What runs is restarted with the new release, nothing else starts, the administrator's files stay."""
    kept = {"/etc/mk/mk.toml": '[log]\nlevel = "info"\n', "/etc/systemd/system/mkctl.service.d/own.conf": "[Unit]\n"}
    for path, text in kept.items():
        machine.write(path, text)
    machine.run("systemctl", "start", "mkctl.service")
    first = machine.property("mkctl.service", "InvocationID")
    use(machine, "newer")
    dnf(machine, "upgrade")

    assert set(machine.output("rpm", "--query", "--queryformat", "%{VERSION}\\n", *NAMES).split()) == {packages.NEWER}
    assert packages.NEWER in machine.output("mkctl", "version")
    assert {path: machine.run("cat", path).stdout for path in kept} == kept
    assert machine.property("mkctl.service", "InvocationID") not in ("", first)
    assert machine.property("mkctl.service", "ActiveState") == "active"
    for unit in ("mk.target", "mkweb.socket", "mkweb.service", "mkmirror.service", "mkserver.service"):
        assert machine.property(unit, "ActiveState") == "inactive", unit
    assert machine.output("rpm", "--verify", *NAMES) == ""


def test_removal_stops_and_leaves_what_belongs_to_the_site(machine: nspawn.Machine, before: set[str]) -> None:
    """Gone while it runs and is enabled; what stays is the site's, and README's lines remove that too."""
    machine.run("systemctl", "enable", "--now", "mk.target", "mkserver.service")
    machine.run("sh", "-c", "rm -r /etc/systemd/system/mkctl.service.d; systemctl daemon-reload")
    dnf(machine, "remove", *NAMES)
    left = {line.split("\t")[0] for line in files(machine, OTHERS) - before}
    assert {path for path in left - FOLDERS if not path.startswith(("/etc/mk", "/var/lib/mk"))} == set()
    assert machine.run("cat", "/etc/mk/mk.toml").stdout
    assert not {unit for unit in running(machine) if unit.startswith("mk")}
    machine.run("sh", "-c", CLEAN_UP)
    assert {line.split("\t")[0] for line in files(machine, OTHERS) - before} <= FOLDERS
    assert not {line for line in directory_entries(machine) if line.startswith("mk")}
