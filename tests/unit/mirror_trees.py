"""Real content for mirrors of tests: squashfs images, wheels and Debian packages, made by their own tools."""

from __future__ import annotations

import base64
import functools
import hashlib
import http.server
import os
import subprocess
import sys
import threading
import zipfile
from pathlib import Path
from typing import Optional, Union

REPO = Path(__file__).resolve().parent.parent.parent


def run_mkmirror(*arguments: Union[str, Path], status: int = 0, **environment: str) -> subprocess.CompletedProcess[str]:
    """Run the command as people do; fails the test when it ends with another status."""
    command = [sys.executable, "-m", "mkmirror", *map(str, arguments)]
    env = {**os.environ, "PYTHONPATH": str(REPO), **environment}
    done = subprocess.run(command, env=env, capture_output=True, text=True, timeout=120, check=False)
    assert done.returncode == status, done.stdout + done.stderr
    assert "Traceback" not in done.stderr
    return done


def write_tree(root: Path, files: dict[str, Union[str, bytes]]) -> Path:
    """Make a tree of files; a path that ends in * is executable."""
    for name, content in files.items():
        path = root / name.rstrip("*")
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content if isinstance(content, bytes) else content.encode())
        path.chmod(0o755 if name.endswith("*") else 0o644)
    return root


def make_squashfs(path: Path, files: dict[str, Union[str, bytes]]) -> Path:
    """Make a squashfs image of such a tree."""
    path.parent.mkdir(parents=True, exist_ok=True)
    tree = write_tree(path.with_name(path.name + ".tree"), files)
    command = ["mksquashfs", str(tree), str(path), "-noappend", "-quiet", "-no-progress", "-all-root"]
    subprocess.run(command, check=True, timeout=60)
    subprocess.run(["rm", "-r", str(tree)], check=True)
    return path


def unsquash(image: Path, target: Path) -> Path:
    """Unpack an image."""
    command = ["unsquashfs", "-quiet", "-no-progress", "-dest", str(target), str(image)]
    subprocess.run(command, check=True, capture_output=True, timeout=60)
    return target


def make_wheel(
    folder: Path, name: str, version: str, *requires: str, commands: Optional[dict[str, str]] = None
) -> Path:
    """Make a wheel with one module of the package's name, whose `version` is its version.

    commands: console scripts, name -> `module:object`; the module's `main` then tells name and version.
    """
    info = f"{name}-{version}.dist-info"
    needs = "".join(f"Requires-Dist: {each}\n" for each in requires)
    content = {
        f"{name}.py": f"version = {version!r}\n",
        f"{info}/METADATA": f"Metadata-Version: 2.1\nName: {name}\nVersion: {version}\n{needs}",
        f"{info}/WHEEL": "Wheel-Version: 1.0\nGenerator: tests\nRoot-Is-Purelib: true\nTag: py3-none-any\n",
    }
    if commands:
        content[f"{name}.py"] += "\n\ndef main():\n    print(__name__, version)\n"
        points = "".join(f"{each} = {target}\n" for each, target in commands.items())
        content[f"{info}/entry_points.txt"] = f"[console_scripts]\n{points}"
    return write_wheel(folder / f"{name}-{version}-py3-none-any.whl", info, content)


def write_wheel(path: Path, info: str, content: dict[str, str]) -> Path:
    """Make a wheel of these files and the RECORD of them in the folder `info`."""
    path.parent.mkdir(parents=True, exist_ok=True)
    rows = [f"{each},{digest_of(text)},{len(text.encode())}\n" for each, text in content.items()]
    with zipfile.ZipFile(path, "w") as archive:
        for each, text in {**content, f"{info}/RECORD": "".join([*rows, f"{info}/RECORD,,\n"])}.items():
            archive.writestr(zipfile.ZipInfo(each, (2020, 1, 1, 0, 0, 0)), text)
    return path


def digest_of(text: str) -> str:
    """A file's digest as RECORD has it."""
    return "sha256=" + base64.urlsafe_b64encode(hashlib.sha256(text.encode()).digest()).rstrip(b"=").decode()


def make_deb(
    folder: Path, name: str, files: dict[str, Union[str, bytes]], *, depends: str = "", postinst: str = ""
) -> Path:
    """Make a Debian package of version 1.0 by dpkg-deb."""
    tree = folder / f"{name}.tree"
    write_tree(tree, files)
    control = f"Package: {name}\nVersion: 1.0\nArchitecture: all\nDescription: test {name}\n"
    control += "Maintainer: x <x@mk.example>\n"
    write_tree(tree / "DEBIAN", {"control": control + (f"Depends: {depends}\n" if depends else "")})
    if postinst:
        write_tree(tree / "DEBIAN", {"postinst*": postinst})
    path = folder / f"{name}_1.0_all.deb"
    command = ["dpkg-deb", "--root-owner-group", "--build", str(tree), str(path)]
    subprocess.run(command, check=True, capture_output=True, timeout=60)
    subprocess.run(["rm", "-r", str(tree)], check=True)
    return path


class StaticServer:
    """Any web server: the standard library's, which knows nothing of mirrors. `asked` are the paths of requests."""

    def __init__(self, root: Path) -> None:
        asked: list[str] = []

        class Handler(http.server.SimpleHTTPRequestHandler):
            def log_message(self, *_: object) -> None:
                """Take note, silently."""
                asked.append(self.path)

        self.asked = asked
        handler = functools.partial(Handler, directory=str(root))
        self._server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler)
        self._thread = threading.Thread(target=self._server.serve_forever)
        self.uri = f"http://127.0.0.1:{self._server.server_address[1]}"

    def __enter__(self) -> StaticServer:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._server.shutdown()
        self._thread.join()
        self._server.server_close()
