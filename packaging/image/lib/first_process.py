"""The first process and the modules that it loads, as members of an archive.

The compiler links it whole, so that it needs no file beside itself: against musl for the machine that builds, against
the C library of the cross compiler for another. Source: packaging/image/init.
"""

from __future__ import annotations

import lzma
import shutil
import subprocess
import tarfile
from pathlib import Path

from .archives import Member
from .places import HERE, BuildError

SOURCES = HERE / "init"
MODULES = ("loop", "squashfs", "overlay")
"""In the order in which they are loaded."""
# Headers of the kernel's interface, which musl's own folder lacks; they are looked at last.
KERNEL_HEADERS = ("-idirafter", "/usr/include", "-idirafter", "/usr/include/x86_64-linux-gnu")
COMPILERS = {"amd64": ("musl-gcc", *KERNEL_HEADERS), "arm64": ("aarch64-linux-gnu-gcc",)}


def compile_init(target: Path, architecture: str = "amd64") -> Path:
    """Compile the first process; return its path.

    BuildError when there is no compiler or it complains.
    """
    compiler = COMPILERS[architecture]
    if not shutil.which(compiler[0]):
        raise BuildError(f"{compiler[0]} is missing: run packaging/setup image")
    flags = ["-std=c11", "-static", "-Os", "-s", "-Wall", "-Wextra", "-Werror", "-Wl,--build-id=none"]
    done = subprocess.run(
        [*compiler, *flags, "-o", str(target), *map(str, sorted(SOURCES.glob("*.c")))],
        capture_output=True,
        text=True,
        check=False,
    )
    if done.returncode:
        raise BuildError(f"{SOURCES} does not compile:\n{done.stderr}")
    return target


def sort_modules(dependencies: str, wanted: tuple[str, ...]) -> list[str]:
    """Return the paths of modules and of all that they need, each after what it needs.

    ``dependencies`` is the text of modules.dep; paths are as there. BuildError names the module that is not in it.
    """
    needs: dict[str, list[str]] = {}
    for line in dependencies.splitlines():
        path, _, others = line.partition(":")
        needs[path] = others.split()
    sorted_paths: list[str] = []
    for name in wanted:
        found = [path for path in needs if Path(path).name == f"{name}.ko"]
        if not found:
            raise BuildError(f"the kernel's modules hold no {name}.ko")
        # modules.dep lists all that is needed, the last first.
        sorted_paths += [path for path in [*reversed(needs[found[0]]), found[0]] if path not in sorted_paths]
    return sorted_paths


def read_modules(root: Path, kernel: str) -> list[Member]:
    """Return the modules as members, out of the root's archive (a tar file): modules/00-NAME.ko.xz and so on.

    The kernel unpacks them itself, and only knows the simplest check of that form.
    """
    folder = f"usr/lib/modules/{kernel}"
    with tarfile.open(root) as tar:
        members = {member.name.removeprefix("./"): member for member in tar.getmembers()}

        def read(name: str) -> bytes:
            """Return a file of the folder of modules."""
            file = tar.extractfile(members[f"{folder}/{name}"]) if f"{folder}/{name}" in members else None
            if file is None:
                raise BuildError(f"the root holds no {folder}/{name}")
            return file.read()

        paths = sort_modules(read("modules.dep").decode(), MODULES)
        return [
            Member(f"modules/{number:02}-{Path(path).name}.xz", lzma.compress(read(path), check=lzma.CHECK_CRC32))
            for number, path in enumerate(paths)
        ]
