"""lscpu of real machines, text and JSON, old and new: each parses, and the facts agree with the lines of the text."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest
from capture_files import captures

from mkcore.errors import BadInput
from mkctl.probe.groups import lscpu_group
from mkctl.probe.lscpu import KEYS, flatten_lscpu, parse_lscpu

OLD_NAMES = {"CPU_sockets": r"(?:CPU s|S)ocket\(s\)", "CPU_op-modes": r"CPU op-mode\(s\)"}
ENGLISH = [each for each in captures("lscpu/*.txt", "lscpu/*.json", own="*lscpu*") if "japanese" not in str(each)]


def plain_value(text: str, key: str) -> str:
    """The first value of a key, found in the raw text or JSON by its spelling alone."""
    spelling = OLD_NAMES.get(key, key.replace("_", " ").replace(" cache", "(?: cache)?"))  # nested: without the word
    match = re.search(rf'^\s*(?:"field": ")?{spelling}:(?:",\s*"data": ")?[ ]*([^"\n]*)', text, re.MULTILINE)
    return match.group(1).strip() if match else ""


@pytest.mark.parametrize("path", ENGLISH)
def test_facts(path: Path) -> None:
    text = path.read_text(encoding="utf-8")
    facts = flatten_lscpu(parse_lscpu(path.read_bytes()), "")
    expected = {f"mk_hw_lscpu_{key}": plain_value(text, key) for key in KEYS}
    assert facts == {name: value for name, value in expected.items() if value not in ("", "-")}


@pytest.mark.parametrize("path", ENGLISH)
def test_the_group_fact_holds_every_key(path: Path) -> None:
    pairs = parse_lscpu(path.read_bytes())
    (text,) = lscpu_group(pairs).values()
    assert list(json.loads(text).values()) == list(pairs.values())


@pytest.mark.parametrize("path", captures("lscpu/japanese*"))
def test_another_language_is_refused(path: Path) -> None:
    """Its keys are none of ours; lscpu runs in the C locale, so this means that it did not obey."""
    with pytest.raises(BadInput, match="not those of the C locale"):
        parse_lscpu(path.read_bytes())


@pytest.mark.parametrize("path", captures("lscpu/*.expected.txt"))
def test_text_and_json_of_one_machine_agree(path: Path) -> None:
    other = path.with_name(path.name.replace(".expected.txt", ".lscpu-J.json"))
    if other.exists():
        text, document = (flatten_lscpu(parse_lscpu(each.read_bytes()), "") for each in (path, other))
        assert text.items() <= document.items()
        assert set(document) - set(text) <= {"mk_hw_lscpu_Architecture", "mk_hw_lscpu_Byte_Order"}  # of uname(2)
