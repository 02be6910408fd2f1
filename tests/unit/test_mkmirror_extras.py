"""Extras of Python packages: what `foo[bar]` needs beyond `foo` is fetched, required and followed like the rest."""

from __future__ import annotations

from pathlib import Path
from typing import Optional

import pytest

from mkcore.errors import BadInput, MkError
from mkmirror import packages
from mkmirror.formats import wheel
from mkmirror.offers import Mirror, Trusting
from mkmirror.package_plan import PackagePlanner, Planned
from mkmirror.staged import By, Item
from mkmirror.trust import Verify, build_sums, digest_file
from tests.unit.mirror_trees import StaticServer, make_wheel, run_mkmirror

SECURE, CIRCLE = "crypt>=1; extra == 'secure'", "client[secure]; extra == 'all'"


@pytest.fixture
def mirror(tmp_path: Path) -> Path:
    """A mirror with a client that has extras, and users of it."""
    folder = tmp_path / "wheels"
    for made in (
        ("client", "1.0", "base", SECURE, CIRCLE),
        ("client", "2.0", "base", SECURE, CIRCLE),
        ("crypt", "1.5"),
        ("base", "1.0"),
        ("user", "1.0", "client[secure]>=2"),
        ("plain", "1.0", "client"),
        ("both", "1.0", "plain", "client[all]"),
        ("broken", "1.0", "client[secure]", "late"),
        ("late", "1.0", "crypt<1"),
    ):
        make_wheel(folder, *made)
    (folder / "SHA256SUMS").write_text(build_sums({each.name: digest_file(each) for each in folder.iterdir()}))
    return tmp_path


def plan(mirror: Path, wanted: str, *, system: Optional[dict[str, str]] = None, **installed: str) -> Optional[Planned]:
    """Plan one package; installed: name -> version of what is installed from mirrors."""
    with StaticServer(mirror) as server:
        there = Mirror(server.uri, True, Trusting(Verify.CHECKSUM, (), mirror))

        def bring(item: Item, *_: object) -> Path:
            return mirror / "wheels" / item.name

        planner = PackagePlanner(installed, lambda name: (system or {}).get(name, ""), bring)
        return planner.plan(wheel.parse_wanted(wanted, "list"), By.SITE, (there,))


def names(planned: Optional[Planned]) -> set[str]:
    """Names of what is planned."""
    return {item.name.split("-")[0] for item in planned.request.items} if planned else set()


@pytest.mark.parametrize(
    ("wanted", "found"),
    [
        ("client", {"client", "base"}),
        ("client[secure]", {"client", "base", "crypt"}),
        ("client[all]", {"client", "base", "crypt"}),
        ("client[unknown]", {"client", "base"}),
        ("plain", {"plain", "client", "base"}),
        ("user", {"user", "client", "base", "crypt"}),
        ("both", {"both", "plain", "client", "base", "crypt"}),
    ],
)
def test_what_is_fetched(mirror: Path, wanted: str, found: set[str]) -> None:
    planned = plan(mirror, wanted)
    assert planned is not None and names(planned) == found
    assert planned.request.items[-1].name.startswith(f"{planned.request.name}-")


def test_extras_of_what_is_there_already(mirror: Path) -> None:
    """Its needs are those of the version that is there, by the mirror; where nobody knows them, that is said."""
    assert names(plan(mirror, "user", client="2.0", base="1.0")) == {"user", "crypt"}
    assert names(plan(mirror, "user", system={"client": "2.0", "crypt": "1.0"})) == {"user", "base"}
    assert names(plan(mirror, "user", system={"client": "2.0", "crypt": "1.0", "base": "1"})) == {"user"}
    with pytest.raises(MkError, match=r"what client\[secure\] >=2 needs is not known: client 2\.5 is here"):
        plan(mirror, "user", system={"client": "2.5"})
    assert plan(mirror, "client", client="2.0") is None
    assert plan(mirror, "client[secure]", client="2.0", base="1.0", crypt="1.5") is None
    assert names(plan(mirror, "client[secure]", client="2.0", base="1.0")) == {"client", "crypt"}


def test_two_versions_for_an_extra(mirror: Path) -> None:
    with pytest.raises(BadInput, match=r"crypt <1 is wanted by late-1\.0-py3-none-any\.whl, but crypt-1\.5"):
        plan(mirror, "broken")


def test_an_extra_is_not_forgotten_when_it_is_installed(mirror: Path) -> None:
    """Root's half asks for the same."""
    run = mirror / "run"

    def problem(*files: str) -> str:
        made = [mirror / "wheels" / f"{each}-py3-none-any.whl" for each in files]
        unpacked = {each.name: packages.prepare(run, each.name, each) for each in made}
        return packages.problem(run, unpacked, lambda _: "")

    assert problem("user-1.0", "client-2.0", "base-1.0").endswith("needs crypt >=1, which is missing")
    assert problem("plain-1.0", "client-2.0", "base-1.0") == ""
    assert problem("user-1.0", "client-2.0", "base-1.0", "crypt-1.5") == ""


def test_a_copy_of_a_mirror_has_them(mirror: Path, tmp_path: Path) -> None:
    """Whoever wants the package without the extra first, and the extra afterwards."""
    with StaticServer(mirror) as server:
        command = ["mirror", server.uri, tmp_path / "copy", "--packages", "plain", "user", "--verify", "checksum"]
        run_mkmirror(*command, "--quiet")
    found = {path.name.split("-")[0] for path in (tmp_path / "copy").rglob("*.whl")}
    assert found == {"plain", "user", "client", "base", "crypt"}
