"""The image's settings: file, environment and command line, with the names of the originals (protocol 8.1)."""

from __future__ import annotations

import argparse
import importlib
import sys
from collections.abc import Mapping
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

PACKAGING = Path(__file__).resolve().parent.parent.parent / "packaging/image"


@pytest.fixture(scope="module")
def settings() -> ModuleType:
    sys.path.insert(0, str(PACKAGING))
    try:
        return importlib.import_module("lib.settings")
    finally:
        sys.path.remove(str(PACKAGING))


def read(settings: ModuleType, *argv: str, environment: Mapping[str, str] = {}) -> Any:
    parser = argparse.ArgumentParser()
    settings.add_options(parser)
    return settings.read_settings(parser.parse_args(argv), environment)


def test_default_is_the_image_that_nobody_logs_in_to(settings: ModuleType) -> None:
    made = read(settings)
    assert (made.profile, made.mkosi_profiles, made.folder.name, made.lists) == ("production", (), "image", ())


def test_command_line_beats_environment_beats_file(settings: ModuleType, tmp_path: Path) -> None:
    file = tmp_path / "image.conf"
    file.write_text("# of our site\nMK_IMAGE_PROFILE=debug\n")
    environment = {"MK_IMAGE_PROFILE": "development", "PATH": "/bin"}
    asked = ["--config", str(file)]
    assert read(settings, *asked).profile == "debug"
    assert read(settings, *asked, environment=environment).profile == "development"
    assert read(settings, *asked, "--profile", "production", environment=environment).profile == "production"


def test_another_architecture_has_a_folder_of_its_own(settings: ModuleType) -> None:
    made = read(settings, "--arch", "arm64", environment={"MK_IMAGE_PROFILE": "debug"})
    assert (made.architecture, made.folder.name) == ("arm64", "image-debug-arm64")
    assert read(settings, environment={"MK_IMAGE_ARCH": "arm64"}).folder.name == "image-arm64"
    with pytest.raises(settings.BuildError, match="MK_IMAGE_ARCH: sparc is none of amd64, arm64"):
        read(settings, "--arch", "sparc")


def test_every_setting_is_read_from_all_three(settings: ModuleType, tmp_path: Path) -> None:
    """B58: in the originals, two lists were accepted and never read."""
    for each in settings.SETTINGS:
        if each.metavar == "NAME":  # a word out of a few
            continue
        place = tmp_path / each.option
        place.mkdir() if each.metavar == "DIR" else place.touch()
        name = each.option[2:].replace("-", "_")
        assert getattr(read(settings, each.option, str(place)), name) == place
        for key in filter(None, (each.key, each.of_old)):
            assert getattr(read(settings, environment={key: str(place)}), name) == place
            file = tmp_path / "conf"
            file.write_text(f"export {key}='{place}'\n")
            assert getattr(read(settings, "--config", str(file)), name) == place


@pytest.mark.parametrize("old, new", [("prod", "production"), ("dev", "development"), ("debug", "debug")])
def test_types_of_the_originals(settings: ModuleType, old: str, new: str) -> None:
    assert read(settings, environment={"MK_BUNDLE_TYPE": old}).profile == new


def test_setting_without_a_meaning_is_said_and_does_nothing(
    settings: ModuleType, capsys: pytest.CaptureFixture[str]
) -> None:
    assert read(settings, environment={"MK_BUNDLE_TC_PASSWD": "test1234"}).profile == "production"
    said = capsys.readouterr().err
    assert said.startswith("environment: MK_BUNDLE_TC_PASSWD has no effect: nobody logs in with a password")
    assert "test1234" not in said


@pytest.mark.parametrize(
    "text, said",
    [
        ("MK_IMAGE_PROFILE\n", "conf:1: expected KEY=VALUE"),
        ("\nMK_IMAGE_PROFILE=a b\n", "conf:2: expected KEY=VALUE"),
        ("MK_IMAGE_PROFILE='a\n", "conf:1: No closing quotation"),
        ("MK_IMAGE_PROFIL=debug\n", "conf:1: MK_IMAGE_PROFIL is no setting; there are MK_IMAGE_PROFILE, "),
        ("MK_IMAGE_PROFILE=debug\nMK_IMAGE_PROFILE=debug\n", "conf:2: MK_IMAGE_PROFILE is set twice"),
        ("MK_IMAGE_PROFILE=live\n", "MK_IMAGE_PROFILE: live is none of production, development, debug"),
        ("MK_IMAGE_DRIVERS=/nowhere/list\n", "MK_IMAGE_DRIVERS: /nowhere/list is not there"),
    ],
)
def test_mistake_is_one_line(settings: ModuleType, tmp_path: Path, text: str, said: str) -> None:
    file = tmp_path / "conf"
    file.write_text(text)
    with pytest.raises(settings.BuildError) as raised:
        read(settings, "--config", str(file))
    assert said in str(raised.value) and "\n" not in str(raised.value)


def test_debug_is_the_development_image_with_more(settings: ModuleType) -> None:
    made = read(settings, "--profile", "debug")
    assert made.mkosi_profiles == ("development", "debug")
    assert made.folder.name == "image-debug"
    folders = {path.name for path in (PACKAGING / "mkosi.profiles").iterdir()}
    assert folders == {"development", "debug"}
