"""What the forms of the image share: the kernel line that they bring along, their options, how they end.

Each form is a program of its own that reads build/image, makes one file beside what it is made of, and enters it into
manifest.json. It does nothing when that file was made from the same inputs.
"""

from __future__ import annotations

import argparse
import contextlib
import os
import subprocess
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Callable

FORMS = Path(__file__).resolve().parent
sys.path.insert(0, str(FORMS.parent))

from lib import manifest  # noqa: E402
from lib.places import BUILD, OUTPUT, BuildError  # noqa: E402

BOOT_TOOLS = BUILD / "tools/boot"
"""Debian 13's loaders, unpacked by packaging/setup."""
KERNEL_LINE = "quiet console=ttyS0,115200 console=tty0"
"""Messages go to both, and the screen is the console: words that name a port which is not there are harmless."""


def build_parser(text: str) -> argparse.ArgumentParser:
    """Build the parser with the options that every form has."""
    parser = argparse.ArgumentParser(description=text)
    parser.add_argument(
        "--image", type=_folder, default=OUTPUT, metavar="DIR", help="the folder that make image writes"
    )
    parser.add_argument("--cmdline", default="", metavar="WORDS", help="more words for the kernel line: mk.ip=ADDRESS")
    return parser


def _folder(text: str) -> Path:
    """Return a folder's whole path: tools of the forms run in folders of their own."""
    return Path(text).resolve()


def need_amd64(image: Path, name: str) -> None:
    """See that an image is one of amd64. BuildError for a form that has to do with PCs alone."""
    architecture = manifest.read(image).get("architecture", "amd64")
    if architecture != "amd64":
        raise BuildError(f"{image} is an image of {architecture}: {name} is made of amd64's alone")


def build_kernel_line(more: str) -> str:
    """Return the kernel line with a site's words at its end. BuildError for words that would end the line."""
    if not more.isprintable() or not more.isascii():
        raise BuildError(f"--cmdline {more!r}: printable ASCII on one line")
    return f"{KERNEL_LINE} {more}".strip()


def need(*paths: Path) -> None:
    """See that files are there. BuildError says how to get them."""
    for path in paths:
        if not path.exists():
            raise BuildError(f"{path} is missing: run packaging/setup image")


def run_tool(argv: Sequence[str], epoch: int, folder: Path) -> None:
    """Run a program in a folder, in the time that all files of the image have. BuildError has its words."""
    environment = {"PATH": os.environ["PATH"], "LC_ALL": "C.UTF-8", "TZ": "UTC", "SOURCE_DATE_EPOCH": str(epoch)}
    try:
        done = subprocess.run(argv, cwd=folder, env=environment, capture_output=True, text=True, check=False)
    except FileNotFoundError as error:
        raise BuildError(f"{argv[0]} is missing: run packaging/setup image") from error
    if done.returncode:
        said = (done.stderr or done.stdout).strip().splitlines()[-5:]
        raise BuildError(f"{Path(argv[0]).name} failed with status {done.returncode}: {' / '.join(said)}")


def check_size(path: Path, limit_bytes: int) -> None:
    """Raise BuildError for a form that is larger than it may be; done before it gets its place in the image."""
    size_bytes = path.stat().st_size
    if size_bytes > limit_bytes:
        raise BuildError(f"{path.name}: {size_bytes} bytes are more than the {limit_bytes} allowed")


@contextlib.contextmanager
def staging(image: Path, name: str) -> Iterator[Path]:
    """Give a fresh folder beside a form, gone afterwards; nothing half-made ever has the form's name."""
    folder = image / f".{name}.{os.getpid()}"
    subprocess.run(["rm", "-rf", str(folder)], check=True)
    folder.mkdir()
    try:
        yield folder
    finally:
        subprocess.run(["rm", "-rf", str(folder)], check=True)


def finish(name: str, make: Callable[[], str]) -> int:
    """Run a form's work, print what it says, and return the exit status: 1 with one line when it cannot be done."""
    os.umask(0o022)  # what is in a form is for everybody to read, whoever makes it
    try:
        said = make()
    except (BuildError, OSError) as error:
        print(f"packaging/image/forms/{name}: {error}", file=sys.stderr)
        return 1
    if said:
        print(f"image: {said}", flush=True)
    return 0
