"""The facts file: what is written can be read, and what cannot be read is named."""

from __future__ import annotations

import json
import subprocess
import sys

import pytest

from mkcore.errors import BadInput
from mkctl.probe.model import CollectorState, FactsFile, Status, build_facts_file, parse_facts_file

FULL = FactsFile(
    generation=3,
    complete=True,
    boottime_usec=81_230_000,
    uevent_seqnum=1840,
    collectors={
        "lshw": CollectorState(Status.OK, 912, "", ("mk_hw_nic_count",)),
        "ipmi": CollectorState(Status.TIMED_OUT, 30000, "did not end within 30 s"),
    },
    facts={"is_virtual": False, "processorcount": 4, "processors": {"count": 4}, "mk_hw_nic_count": "2"},
)


def encode(body: object) -> bytes:
    return json.dumps(body).encode()


def test_written_and_read_again() -> None:
    assert parse_facts_file(encode(build_facts_file(FULL))) == FULL
    assert parse_facts_file(encode(build_facts_file(FactsFile()))) == FactsFile()


def test_unknown_keys_are_no_error() -> None:
    body = build_facts_file(FULL)
    body["later"] = 1
    assert parse_facts_file(encode(body)) == FULL


@pytest.mark.parametrize(
    ("key", "value", "named"),
    [
        ("version", 2, "version"),
        ("generation", -1, "generation"),
        ("generation", "3", "generation"),
        ("complete", 1, "complete"),
        ("boottime_usec", 1.5, "boottime_usec"),
        ("uevent_seqnum", None, "uevent_seqnum"),
        ("facts", [], "facts"),
        ("collectors", {"lshw": {"status": "dead"}}, "lshw"),
        ("collectors", {"lshw": 1}, "lshw"),
        ("collectors", {"lshw": {"status": "ok", "facts": [1]}}, "facts"),
    ],
)
def test_a_bad_value_is_named(key: str, value: object, named: str) -> None:
    body = {**build_facts_file(FULL), key: value}
    with pytest.raises(BadInput, match=named):
        parse_facts_file(encode(body), "/run/mk-facts/facts.json")


@pytest.mark.parametrize("data", [b"", b"{", b"[]", b"\xff", b'{"version": 1}'])
def test_half_a_file_is_bad_input(data: bytes) -> None:
    with pytest.raises(BadInput):
        parse_facts_file(data)


def test_reading_the_file_is_cheap() -> None:
    """Commands for people import the model: no collector, no process, no loop may come with it."""
    code = "import sys, mkctl.probe.model; print(*sorted(sys.modules))"
    loaded = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout.split()
    assert not {"subprocess", "asyncio", "requests", "dbus_next", "threading", "argparse", "logging"} & set(loaded)
    assert {name for name in loaded if name.startswith("mkctl.probe.")} == {"mkctl.probe.model"}
