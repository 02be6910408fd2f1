"""The laws of the tree (README, "Principles"), kept by walking the syntax trees: imports, doors, sizes, words."""

from __future__ import annotations

import ast
import re
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent.parent
PACKAGES = ("mkcore", "mkctl", "mkweb", "mkmirror", "mkserver")

ALLOWED_SIBLINGS = {
    "mkcore": set(),
    "mkweb": {"mkcore"},
    "mkmirror": {"mkcore"},
    "mkserver": {"mkcore"},
    "mkctl": {"mkcore"},
    "mkctl.probe": {"mkcore", "mkctl.probe"},
}
# What mkctl may know of the probe: what its results look like and mean, nothing that collects.
PROBE_DESCRIPTIONS = ("mkctl.probe.model", "mkctl.probe.schema", "mkctl.probe.origins")
SOCKET_FILES = {
    "mkcore/channel.py",
    "mkcore/ethtool.py",
    "mkcore/journal.py",
    "mkcore/lifecycle.py",
    "mkcore/wsgi.py",
    "mkctl/probe/lldp.py",
    "mkctl/probe/lldp_listen.py",
}
# The HTTP client resolves names itself, since only so one deadline bounds the resolver too.
RESOLVER_FILES = {"mkcore/http.py", "mkcore/connections.py", "mkcore/resolver.py"}
DOORS = {
    "requests": {"mkcore/http.py"},
    "urllib3": {"mkcore/http.py", "mkcore/connections.py"},
    "dbus_next": {"mkcore/systemd1.py", "mkctl/bus.py"},
    "subprocess": set(),  # too slow to import; mkcore/spawn.py starts programs, mkcore/proc.py bounds them
    "waitress": {"mkcore/wsgi.py", "mkcore/channel.py"},
}
# Starts programs without a bound; whoever uses it hands the program to mkcore.proc, which bounds it.
STARTER = "mkcore/spawn.py"
STARTER_USERS = {"mkcore/proc.py", "mkctl/probe/ahead.py"}
WRITE_CALLS = {
    "write_text",
    "write_bytes",
    "mkdir",
    "unlink",
    "rename",
    "replace",
    "rmdir",
    "chmod",
    "symlink_to",
    "touch",
}
WRITE_OS = {
    "rename",
    "replace",
    "unlink",
    "remove",
    "mkdir",
    "makedirs",
    "rmdir",
    "chmod",
    "chown",
    "symlink",
    "truncate",
}


def sources() -> Iterator[tuple[str, ast.Module]]:
    for package in PACKAGES:
        for path in sorted((ROOT / package).rglob("*.py")):
            yield path.relative_to(ROOT).as_posix(), ast.parse(path.read_text(encoding="utf-8"))


SOURCES = list(sources())
IDS = [name for name, _ in SOURCES]


def imports(tree: ast.Module, name: str) -> set[str]:
    """Every module that the file imports, relative imports made absolute."""
    found: set[str] = set()
    package = name.removesuffix(".py").replace("/", ".").removesuffix(".__init__")
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            found.update(alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            base = node.module or ""
            if node.level:
                up = package.split(".") if name.endswith("__init__.py") else package.split(".")[:-1]
                base = ".".join([*up[: len(up) - node.level + 1], *([base] if base else [])])
            found.update({base, *(f"{base}.{alias.name}" for alias in node.names)})
    return found


def test_there_are_sources() -> None:
    assert {name.split("/")[0] for name in IDS} == set(PACKAGES)


@pytest.mark.parametrize(("name", "tree"), SOURCES, ids=IDS)
def test_import_law(name: str, tree: ast.Module) -> None:
    probe = name.startswith("mkctl/probe/")
    allowed = ALLOWED_SIBLINGS["mkctl.probe" if probe else name.split("/")[0]]
    own = "mkctl.probe" if probe else name.split("/")[0]
    for module in imports(tree, name):
        top = module.split(".")[0]
        if top not in PACKAGES or module == own or module.startswith(own + "."):
            if own == "mkctl" and module.startswith("mkctl.probe") and not module.startswith(PROBE_DESCRIPTIONS):
                assert module == "mkctl.probe", f"{name} imports {module}: mkctl knows {PROBE_DESCRIPTIONS} alone"
            continue
        assert any(module == good or module.startswith(good + ".") for good in allowed) or (
            probe and module == "mkctl"
        ), f"{name} imports {module}"
    if probe:
        assert not {
            m
            for m in imports(tree, name)
            if m.split(".")[0] in ("requests", "dbus_next") or m.startswith(("mkcore.http", "mkcore.download"))
        }


@pytest.mark.parametrize(("name", "tree"), SOURCES, ids=IDS)
def test_one_door_per_effect(name: str, tree: ast.Module) -> None:
    found = {module.split(".")[0] for module in imports(tree, name)}
    for module, doors in DOORS.items():
        assert module not in found or name in doors, f"{name} imports {module}; only {sorted(doors)} may"
    if "mkcore.spawn" in imports(tree, name):
        assert name in STARTER_USERS, f"{name} imports mkcore.spawn; mkcore.proc is the door"
    if "socket" in found:
        assert name in SOCKET_FILES | RESOLVER_FILES, f"{name} imports socket"
    if name == "mkcore/files.py":
        return
    for node in ast.walk(tree):
        if not isinstance(node, ast.Call):
            continue
        function = node.func
        if isinstance(function, ast.Name) and function.id == "open":
            mode = (
                node.args[1]
                if len(node.args) > 1
                else next((k.value for k in node.keywords if k.arg == "mode"), None)
            )
            text = mode.value if isinstance(mode, ast.Constant) else "r"
            assert not set(str(text)) & set("wax+"), f"{name}:{node.lineno} opens a file for writing"
        if isinstance(function, ast.Attribute):
            module = function.value.id if isinstance(function.value, ast.Name) else ""
            assert not (
                module == "os"
                and (
                    function.attr in WRITE_OS
                    or (
                        name != STARTER
                        and function.attr.startswith(("exec", "spawn", "posix_spawn", "system", "popen", "fork"))
                    )
                )
            ), f"{name}:{node.lineno} os.{function.attr}"
            assert function.attr not in {"write_text", "write_bytes", "symlink_to", "touch"}, (
                f"{name}:{node.lineno} .{function.attr}"
            )


@pytest.mark.parametrize(("name", "tree"), SOURCES, ids=IDS)
def test_sizes_and_docstrings(name: str, tree: ast.Module) -> None:
    lines = (ROOT / name).read_text(encoding="utf-8").count("\n")
    assert lines <= 350, f"{name} has {lines} lines"
    assert lines == 0 or ast.get_docstring(tree), f"{name} has no module docstring"
    for node in ast.walk(tree):
        if isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef)):
            length = (node.end_lineno or node.lineno) - node.body[0].lineno + 1
            if ast.get_docstring(node):
                length -= (node.body[0].end_lineno or 0) - node.body[0].lineno + 1
            assert length <= 40, f"{name}:{node.lineno} {node.name} has {length} lines"
        if isinstance(node, ast.Raise):
            assert "NotImplementedError" not in ast.dump(node), f"{name}:{node.lineno}"


@pytest.mark.parametrize("package", PACKAGES)
def test_broad_except_at_most_once_per_program(package: str) -> None:
    broad = [
        f"{name}:{node.lineno}"
        for name, tree in SOURCES
        if name.split("/")[0] == package and not name.startswith("mkctl/probe/")
        for node in ast.walk(tree)
        if isinstance(node, ast.ExceptHandler)
        and (
            node.type is None or (isinstance(node.type, ast.Name) and node.type.id in ("Exception", "BaseException"))
        )
    ]
    assert len(broad) <= 1, broad


def tracked() -> list[str]:
    """Every file of the checkout; an export without git has no list, and then the walk is the list."""
    run = subprocess.run(["git", "-C", str(ROOT), "ls-files"], capture_output=True, text=True, check=False)
    if run.returncode == 0 and run.stdout:
        return run.stdout.splitlines()
    return [
        p.relative_to(ROOT).as_posix()
        for p in ROOT.rglob("*")
        if p.is_file() and "build" not in p.relative_to(ROOT).parts
    ]


def test_no_unfinished_marks_and_no_paths_of_a_machine() -> None:
    marks = re.compile(r"\b(TO" r"DO|FIX" r"ME|XX" r"X|HA" r"CK)\b")
    machine = re.compile(r"/wor" r"k/(main|shared|\.library)|/root/\.pyenv|deb\.debian\.org")
    wrong = []
    for name in tracked():
        path = ROOT / name
        if (
            not path.is_file()
            or path.suffix in {".png", ".bin", ".raw"}
            or name.startswith("tests/data/")
            or name == "LICENSE"
        ):
            continue
        text = path.read_text(encoding="utf-8", errors="replace")
        wrong += [f"{name}: {match[0]}" for match in [*marks.finditer(text), *machine.finditer(text)]]
    assert not wrong


def test_top_level_holds_what_the_design_names() -> None:
    have = {name.split("/")[0] for name in tracked()}
    assert {"units", "mkctl", "mkweb", "mkmirror", "tests", "packaging", "pyproject.toml", "README.md"} <= have
    extra = have - {
        "units",
        "mkcore",
        "mkctl",
        "mkweb",
        "mkmirror",
        "mkserver",
        "tests",
        "packaging",
        "man",
        "bench",
        "pyproject.toml",
        "README.md",
        "LICENSE",
        "Makefile",
        ".gitignore",
        ".ci",
    }
    assert not extra, f"not in the tree of the design: {sorted(extra)}"


def test_test_files_have_names_of_their_own() -> None:
    """One pytest run takes several tiers, and imports each test file by its bare name."""
    names = [Path(name).name for name in tracked() if name.startswith("tests/") and Path(name).name.startswith("test_")]
    twice = {name for name in names if names.count(name) > 1 and name.endswith(".py")}
    assert not twice
