"""Installed Python packages: what programs see of them, whole changes, and what does not fit together."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from mkcore.errors import BadInput
from mkmirror import packages
from tests.unit.mirror_trees import make_wheel, write_wheel


def missing(_: str) -> str:
    """A system without any package."""
    return ""


def prepare(run: Path, *wheels: Path) -> dict[str, packages.Unpacked]:
    return {path.name: packages.prepare(run, path.name, path) for path in wheels}


def python(run: Path, program: str) -> str:
    """What a program prints that has the packages on its path, as those of facts.d have."""
    environment = {**os.environ, "PYTHONPATH": str(packages.library_of(run))}
    command = [sys.executable, "-c", program]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=60, check=False)
    return done.stdout + done.stderr.splitlines()[-1] if done.stderr else done.stdout


def test_programs_see_what_is_committed_and_nothing_else(tmp_path: Path) -> None:
    run = tmp_path / "run"
    foo, bar = make_wheel(tmp_path, "foo", "1.0", "bar>=2"), make_wheel(tmp_path, "bar", "2.1")
    found = prepare(run, foo, bar)
    assert [(each.name, each.version) for each in found.values()] == [("foo", "1.0"), ("bar", "2.1")]
    assert python(run, "import foo").startswith("ModuleNotFoundError"), "prepared is not installed"
    assert packages.problem(run, found, missing) == ""
    packages.commit(run, found)
    assert python(run, "import foo, bar; print(foo.version, bar.version)") == "1.0 2.1\n"
    assert python(run, "from importlib.metadata import version as v; print(v('foo'), v('bar'))") == "1.0 2.1\n"
    packages.commit(run, [foo.name])
    assert python(run, "import foo; print(foo.version)") == "1.0\n"
    assert python(run, "import bar").startswith("ModuleNotFoundError")
    packages.commit(run, [])
    packages.forget_old(run)
    packages.sweep(run, [])
    assert not packages.library_of(run).is_symlink()
    assert list((run / "python/packages").iterdir()) == list((run / "python/made").iterdir()) == []
    assert packages.layer_of(run) is None


def test_a_newer_version_takes_the_place_of_the_older(tmp_path: Path) -> None:
    run = tmp_path / "run"
    packages.commit(run, prepare(run, make_wheel(tmp_path, "foo", "1.0")))
    old = packages.library_of(run).resolve()
    packages.commit(run, prepare(run, make_wheel(tmp_path, "foo", "1.1")))
    assert python(run, "import foo; print(foo.version)") == "1.1\n"
    assert (old / "foo.py").exists(), "who runs meanwhile keeps the older one"
    packages.forget_old(run)
    assert not old.exists()
    assert packages.read_unpacked(run, "foo-1.1-py3-none-any.whl")[:2] == ("foo", "1.1")


def test_what_cannot_be_together(tmp_path: Path) -> None:
    run = tmp_path / "run"
    foo, newer = make_wheel(tmp_path, "foo", "1.0"), make_wheel(tmp_path, "foo", "1.1")
    assert packages.problem(run, prepare(run, foo, newer), missing) == f"{newer.name}: foo 1.0 is installed"
    wants = make_wheel(tmp_path, "wants", "1.0", "bar >=2,<3", 'other; python_version < "3"')
    alone = prepare(run, wants)
    assert packages.problem(run, alone, missing) == f"{wants.name} needs bar <3,>=2, which is missing"
    assert packages.problem(run, alone, lambda name: "2.5" if name == "bar" else "") == "", "the system has it"
    assert packages.problem(run, alone, lambda _: "3.0") == f"{wants.name} needs bar <3,>=2, there is 3.0"
    bar = make_wheel(tmp_path, "bar", "1.0")
    both = prepare(run, wants, bar)
    assert packages.problem(run, both, lambda _: "2.5") == f"{wants.name} needs bar <3,>=2, there is 1.0"


def same_files(folder: Path, name: str, path: str) -> Path:
    info = f"{name}-1.0.dist-info"
    head = f"Metadata-Version: 2.1\nName: {name}\nVersion: 1.0\n"
    content = {f"{info}/METADATA": head, f"{info}/WHEEL": "Wheel-Version: 1.0\n", path: name}
    return write_wheel(folder / f"{name}-1.0-py3-none-any.whl", info, content)


def test_two_packages_with_the_same_file(tmp_path: Path) -> None:
    run = tmp_path / "run"
    one, two = same_files(tmp_path, "one", "shared/x.py"), same_files(tmp_path, "two", "shared/x.py")
    assert (
        packages.problem(run, prepare(run, one, two), missing) == f"{two.name} and {one.name} both have lib/shared/x.py"
    )
    three = same_files(tmp_path, "three", "shared/y.py")
    assert packages.problem(run, prepare(run, one, three), missing) == "", "a folder can belong to several"
    four = same_files(tmp_path, "four", "shared")
    assert packages.problem(run, prepare(run, one, four), missing) == f"{four.name} and {one.name} both have lib/shared"


def test_a_refused_wheel_leaves_nothing(tmp_path: Path) -> None:
    run = tmp_path / "run"
    foo = make_wheel(tmp_path, "foo", "1.0")
    packages.commit(run, prepare(run, foo))
    bad = make_wheel(tmp_path, "bad", "1.0")
    bad.write_bytes(bad.read_bytes().replace(b"version = '1.0'", b"version = '6.6'"))
    with pytest.raises(BadInput, match=r"bad-1\.0-py3-none-any\.whl: "):
        packages.prepare(run, bad.name, bad)
    assert [path.name for path in (run / "python/packages").iterdir()] == [foo.name]
    assert python(run, "import foo; print(foo.version)") == "1.0\n"


def test_a_wheel_that_comes_again_is_unpacked_again(tmp_path: Path) -> None:
    """One that was refused for what it needs is not what the next one of that name is."""
    run = tmp_path / "run"
    first = make_wheel(tmp_path / "1", "foo", "1.0", "missing")
    assert packages.problem(run, prepare(run, first), missing)
    second = make_wheel(tmp_path / "2", "foo", "1.0")
    assert packages.problem(run, prepare(run, second), missing) == ""
    assert packages.read_unpacked(run, second.name).metadata.requires == ()


def test_all_packages_together_are_bounded(tmp_path: Path) -> None:
    run = tmp_path / "run"
    large = run / "python/packages/large.whl"
    large.mkdir(parents=True)
    with open(large / "x", "wb") as stream:
        stream.truncate(512 << 20)
    foo = make_wheel(tmp_path, "foo", "1.0")
    with pytest.raises(
        BadInput, match=r"foo-1.0-py3-none-any.whl: all packages would take 5368\d+ bytes, more than 536870912"
    ):
        packages.prepare(run, foo.name, foo)


def test_a_failing_commit_changes_nothing(tmp_path: Path) -> None:
    run = tmp_path / "run"
    packages.commit(run, prepare(run, make_wheel(tmp_path, "foo", "1.0")))
    one, two = same_files(tmp_path, "one", "x.py"), same_files(tmp_path, "two", "x.py")
    prepare(run, one, two)
    with pytest.raises(FileExistsError):
        packages.commit(run, [one.name, two.name])
    assert python(run, "import foo; print(foo.version)") == "1.0\n"
    assert len(list((run / "python/made").iterdir())) == 1


def test_only_what_runs_here(tmp_path: Path) -> None:
    other = make_wheel(tmp_path, "foo", "1.0").rename(tmp_path / "foo-1.0-cp27-cp27m-win32.whl")
    with pytest.raises(BadInput, match="is not for this Python and machine"):
        packages.prepare(tmp_path / "run", other.name, other)
    info = "bar-1.0.dist-info"
    head = "Metadata-Version: 2.1\nName: bar\nVersion: 1.0\nRequires-Python: >=99\n"
    content = {f"{info}/METADATA": head, f"{info}/WHEEL": "Wheel-Version: 1.0\n"}
    bar = write_wheel(tmp_path / "bar-1.0-py3-none-any.whl", info, content)
    with pytest.raises(BadInput, match=r"is for Python >=99, not 3\."):
        packages.prepare(tmp_path / "run", bar.name, bar)


def test_a_command_runs_with_the_packages_alone(tmp_path: Path) -> None:
    """Neither the folder it is called in nor PYTHONPATH has a say in what it imports."""
    run = tmp_path / "run"
    foo = make_wheel(tmp_path, "foo", "1.0", commands={"foo": "foo:main"})
    packages.commit(run, prepare(run, foo))
    layer = packages.layer_of(run)
    assert layer is not None
    (tmp_path / "foo.py").write_text("def main():\n    print('wrong')\n")
    environment = {**os.environ, "PYTHONPATH": str(tmp_path)}
    command = [layer / "bin/foo"]
    done = subprocess.run(
        command, cwd=tmp_path, env=environment, capture_output=True, text=True, timeout=60, check=False
    )
    assert (done.stdout, done.returncode) == ("foo 1.0\n", 0), done.stderr


def test_a_command_of_an_object_inside_another(tmp_path: Path) -> None:
    library = tmp_path / "l'ib"
    assert packages.build_command(library, "a.b", "C.run").decode().splitlines() == [
        "#!/usr/bin/python3 -I",
        "import sys",
        f"sys.path.insert(0, {str(library)!r})",
        "from a.b import C",
        "sys.exit(C.run())",
    ]


def test_versions_of_the_systems_own_packages() -> None:
    assert packages.system_version("packaging")
    assert packages.system_version("no-such-package") == ""


def test_a_package_of_the_system_whose_description_is_broken(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """certifi's metadata of old: a field that goes on without indentation, which email.message does not write again."""
    info = tmp_path / "old_thing-2022.9.egg-info"
    info.mkdir()
    text = "Metadata-Version: 1.1\nName: old-thing\nVersion: 2022.9\nDescription: Old: a thing\n====\nAnd more.\n"
    (info / "PKG-INFO").write_text(text)
    monkeypatch.syspath_prepend(tmp_path)
    found = packages.system_metadata("old-thing")
    assert found is not None
    assert (found.name, str(found.version)) == ("old-thing", "2022.9")
    assert packages.system_metadata("no-such-package") is None
