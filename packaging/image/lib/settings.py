"""What a person says about an image: on the command line, in the environment, in a file; the first of them that does.

One table holds every setting with its three names, so that none can be accepted and then not be read. A file has lines
``KEY=VALUE``, quoted as for a shell where there are blanks. The names of the originals' settings that still have a
meaning are known, too; one that has none is said, with what took its place. The other settings of `make image` are
words of make.

Source: protocol 8.1.
"""

from __future__ import annotations

import argparse
import shlex
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple, Optional

from .places import BUILD, BuildError

PROFILES = ("production", "development", "debug")
ARCHITECTURES = ("amd64", "arm64")
_PROFILES_OF_OLD = {"prod": "production", "dev": "development", "debug": "debug"}
OWN_PREFIXES = ("MK_IMAGE_", "MK_BUNDLE_")


class Setting(NamedTuple):
    """One setting: its key in file and environment, its option, what its value is, and the originals' key for it."""

    key: str
    option: str
    metavar: str
    meaning: str
    of_old: str = ""


SETTINGS = (
    Setting("MK_IMAGE_PROFILE", "--profile", "NAME", " or ".join(PROFILES), "MK_BUNDLE_TYPE"),
    Setting("MK_IMAGE_ARCH", "--arch", "NAME", " or ".join(ARCHITECTURES)),
    Setting("MK_IMAGE_LOCK", "--lock", "FILE", "packages.lock of an image, to make the same one of the same packages"),
    Setting("MK_IMAGE_EXTENSIONS", "--extensions", "DIR", "a mirror to have in the image beside its own"),
    Setting(
        "MK_IMAGE_BUILTIN_LIST",
        "--builtin-list",
        "FILE",
        "recipes of packaging/extensions whose extensions are installed at each boot, one a line",
        "MK_BUNDLE_BUILTIN_LIST",
    ),
    Setting(
        "MK_IMAGE_MIRROR_LIST",
        "--mirror-list",
        "FILE",
        "recipes whose extensions are there to be installed, one a line",
        "MK_BUNDLE_MIRROR_LIST",
    ),
    Setting(
        "MK_IMAGE_LOCAL_EXTENSIONS",
        "--local-extensions",
        "FILE",
        "files of extensions (.raw, .tcz) to install at each boot, one a line",
        "MK_BUNDLE_LOCAL_EXTENTS_LIST",
    ),
    Setting(
        "MK_IMAGE_DRIVERS",
        "--drivers",
        "FILE",
        "kernel drivers, lines EXTENSION MODULE TARGET: MODULE of that file is loaded at each boot",
        "MK_BUNDLE_ADDTNL_MODS_LIST",
    ),
)
WITHOUT_MEANING = {
    "MK_BUNDLE_TC_PASSWD": "nobody logs in with a password: the development image takes keys",
    "MK_BUNDLE_TCL_MIRROR_URI": "packages come from this host's Debian mirror",
    "MK_BUNDLE_TCL_ISO_URL": "the system is made of Debian's packages",
    "MK_BUNDLE_RUBY_GEMS_URL": "there is no Ruby in the image",
    "MK_BUNDLE_GEM_SERVER_URI": "there is no Ruby in the image",
    "MK_BUNDLE_OPEN_VM_TOOLS_URL": "VMware's tools are built in",
    "MK_BUNDLE_RE_USE_PREV_DL": "what was downloaded is kept: --fresh fetches it anew",
}


@dataclass(frozen=True)
class Settings:
    """What an image is asked to be. Lists are files; None where there is none."""

    profile: str = PROFILES[0]
    extensions: Optional[Path] = None
    builtin_list: Optional[Path] = None
    mirror_list: Optional[Path] = None
    local_extensions: Optional[Path] = None
    drivers: Optional[Path] = None
    architecture: str = ARCHITECTURES[0]
    lock: Optional[Path] = None

    @property
    def lists(self) -> tuple[Path, ...]:
        """The lists that are given."""
        every = (self.builtin_list, self.mirror_list, self.local_extensions, self.drivers)
        return tuple(path for path in every if path)

    @property
    def mkosi_profiles(self) -> tuple[str, ...]:
        """The profiles that mkosi is given: debug is the development image, with more."""
        return {"production": (), "development": ("development",), "debug": ("development", "debug")}[self.profile]

    @property
    def folder(self) -> Path:
        """Where the image goes: the production image of amd64 is the one that is meant by default."""
        words = [word for word in (self.profile, self.architecture) if word not in (PROFILES[0], ARCHITECTURES[0])]
        return BUILD / "-".join(["image", *words])


def add_options(parser: argparse.ArgumentParser) -> None:
    """Add an option for each setting, and the one that names the file."""
    parser.add_argument(
        "--config", type=Path, metavar="FILE", help="settings, lines KEY=VALUE, by the names in brackets"
    )
    for each in SETTINGS:
        parser.add_argument(each.option, metavar=each.metavar, default="", help=f"{each.meaning} ({each.key})")


def parse_file(text: str, where: str) -> dict[str, str]:
    """Parse a file of settings. BuildError names the line."""
    found: dict[str, str] = {}
    for number, line in enumerate(text.splitlines(), 1):
        if not line.strip() or line.lstrip().startswith("#"):
            continue
        key, equals, value = line.strip().removeprefix("export ").partition("=")
        try:
            words = shlex.split(value)
        except ValueError as error:
            raise BuildError(f"{where}:{number}: {error}") from error
        if not equals or len(words) > 1:
            raise BuildError(f"{where}:{number}: expected KEY=VALUE, in quotes where it has blanks: {line.strip()}")
        if key in found:
            raise BuildError(f"{where}:{number}: {key} is set twice")
        _check_key(key, f"{where}:{number}")
        found[key] = "".join(words)
    return found


def _check_key(key: str, where: str) -> None:
    """Say when a setting of the originals has no meaning any more. BuildError for one that never had any."""
    if key in WITHOUT_MEANING:
        print(f"{where}: {key} has no effect: {WITHOUT_MEANING[key]}", file=sys.stderr)
    elif key not in {name for each in SETTINGS for name in (each.key, each.of_old)}:
        raise BuildError(f"{where}: {key} is no setting; there are {', '.join(each.key for each in SETTINGS)}")


def choose(options: Mapping[str, str], environment: Mapping[str, str], file: Mapping[str, str]) -> dict[str, str]:
    """Return each setting's value by its key: of the options (by key), else the environment, else the file, else ""."""
    chosen = {}
    for each in SETTINGS:
        names = (each.key, each.of_old)
        said = [options.get(each.key), *(place.get(name) for place in (environment, file) for name in names if name)]
        chosen[each.key] = next((value for value in said if value), "")
    return chosen


def build_settings(chosen: Mapping[str, str]) -> Settings:
    """Build the settings of checked values. BuildError names the one that cannot be."""
    profile = chosen["MK_IMAGE_PROFILE"] or PROFILES[0]
    profile = _PROFILES_OF_OLD.get(profile, profile)
    if profile not in PROFILES:
        raise BuildError(f"MK_IMAGE_PROFILE: {profile} is none of {', '.join(PROFILES)}")
    architecture = chosen["MK_IMAGE_ARCH"] or ARCHITECTURES[0]
    if architecture not in ARCHITECTURES:
        raise BuildError(f"MK_IMAGE_ARCH: {architecture} is none of {', '.join(ARCHITECTURES)}")
    paths: dict[str, Optional[Path]] = {}
    for key, value in chosen.items():
        if key in ("MK_IMAGE_PROFILE", "MK_IMAGE_ARCH"):
            continue
        paths[key] = Path(value).resolve() if value else None
        if value and not (Path(value).is_dir() if key == "MK_IMAGE_EXTENSIONS" else Path(value).is_file()):
            raise BuildError(f"{key}: {value} is not there")
    return Settings(
        profile,
        paths["MK_IMAGE_EXTENSIONS"],
        paths["MK_IMAGE_BUILTIN_LIST"],
        paths["MK_IMAGE_MIRROR_LIST"],
        paths["MK_IMAGE_LOCAL_EXTENSIONS"],
        paths["MK_IMAGE_DRIVERS"],
        architecture,
        paths["MK_IMAGE_LOCK"],
    )


def read_settings(asked: argparse.Namespace, environment: Mapping[str, str]) -> Settings:
    """Return what is asked for, of parsed options, the environment and the file that an option names."""
    file: dict[str, str] = {}
    if asked.config:
        try:
            file = parse_file(asked.config.read_text(encoding="utf-8"), str(asked.config))
        except (OSError, UnicodeDecodeError) as error:
            raise BuildError(f"{asked.config}: {error}") from error
    for key in environment:
        if key.startswith(OWN_PREFIXES):
            _check_key(key, "environment")
    options = {each.key: getattr(asked, each.option[2:].replace("-", "_")) for each in SETTINGS}
    return build_settings(choose(options, environment, file))


def read_list(path: Path) -> list[str]:
    """Return the lines of a list, without comments and empty ones. BuildError when it cannot be read."""
    try:
        lines: Sequence[str] = path.read_text(encoding="utf-8").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise BuildError(f"{path}: {error}") from error
    return [line.strip() for line in lines if line.strip() and not line.lstrip().startswith("#")]
