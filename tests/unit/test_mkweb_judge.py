"""What a push changes: only sent keys count, by type, protected ones never (B19 to B22, rows 61 to 63)."""

from __future__ import annotations

import re
from dataclasses import replace
from pathlib import Path

import pytest

from mkcore.config import Site, read_site
from mkcore.errors import BadInput
from mkcore.jsonfields import Json, digest
from mkcore.paths import paths_under
from mkcore.rubyregex import compile_ruby
from mkctl.probation import read_apply
from mkctl.settings import load
from mkweb.apply import MAX_REFUSED, begin_apply
from mkweb.factnames import fact_names, known_names
from mkweb.judge import MERGED_LIMIT_BYTES, changed_keys, judge_push, protected_keys
from mkweb.store import Store


def site_of(tmp_path: Path, text: str) -> Site:
    (tmp_path / "etc/mk").mkdir(parents=True)
    (tmp_path / "etc/mk/mk.toml").write_text(text)
    site = read_site(paths_under(str(tmp_path)))
    assert not site.problems
    return site


NO_SITE = Site()
STORED: dict[str, Json] = {"mk_checkin_interval": 60, "mk_log_level": "Logger::ERROR", "mk_extra": {"a": [1]}}


@pytest.mark.parametrize(
    ("sent", "changed"),
    [
        ({}, []),
        (STORED, []),
        ({"mk_checkin_interval": 60}, []),
        ({"mk_checkin_interval": "60"}, []),
        ({"mk_checkin_interval": 61}, ["mk_checkin_interval"]),
        ({"mk_log_level": "ERROR"}, []),
        ({"mk_log_level": "Logger::INFO", "mk_checkin_interval": 60}, ["mk_log_level"]),
        ({"mk_extra": {"a": [1]}}, []),
        ({"mk_extra": {"a": [2]}}, ["mk_extra"]),
        ({"mk_other": None}, ["mk_other"]),
        ({"mk_uri": "http://192.0.2.1:8026"}, []),
        ({"mk_register_path": "/x", "mk_checkin_path": "/y"}, []),
        ({"mk_checkin_skew": 5}, ["mk_checkin_skew"]),
    ],
)
def test_changed_keys(sent: dict[str, Json], changed: list[str]) -> None:
    assert changed_keys(sent, STORED, NO_SITE) == changed


def test_a_key_that_nobody_set_counts_as_changed_even_when_it_is_the_default() -> None:
    # mkctl compares with the defaults of its dialect, which differ; if this were "unchanged" it would post for ever
    assert changed_keys({"mk_log_level": "Logger::INFO"}, {}, NO_SITE) == ["mk_log_level"]


def test_a_value_that_the_site_sets_is_in_use_already(tmp_path: Path) -> None:
    site = site_of(tmp_path, "[checkin]\ninterval_s = 30\n")
    assert changed_keys({"mk_checkin_interval": 30}, {}, site) == []
    assert changed_keys({"mk_checkin_interval": 31}, {}, site) == ["mk_checkin_interval"]


def test_a_push_merges_and_never_removes() -> None:
    judged = judge_push({"mk_checkin_interval": 30}, STORED, NO_SITE)
    assert judged.merged == {**STORED, "mk_checkin_interval": 30}
    assert judged.changed == ("mk_checkin_interval",)


def test_protected_keys_are_stored_with_others_and_reported() -> None:
    judged = judge_push({"mk_uri": "http://192.0.2.1:8026", "mk_checkin_interval": 30}, {}, NO_SITE)
    assert judged.changed == ("mk_checkin_interval",)
    assert judged.protected == ("mk_uri",)
    assert judged.merged["mk_uri"] == "http://192.0.2.1:8026"
    assert protected_keys(judged.merged, NO_SITE) == ["mk_uri"]


def test_a_protected_key_that_the_site_allows_counts(tmp_path: Path) -> None:
    site = site_of(tmp_path, '[apply]\nallow_push = ["mk_uri"]\n')
    judged = judge_push({"mk_uri": "http://192.0.2.1:8026"}, {}, site)
    assert (judged.changed, judged.protected) == (("mk_uri",), ())
    assert protected_keys(judged.merged, site) == []


@pytest.mark.parametrize(
    ("sent", "why"),
    [
        ({"mk_checkin_interval": 0}, "mk_checkin_interval"),
        ({"mk_checkin_interval": 3601}, "mk_checkin_interval"),
        ({"mk_checkin_interval": True}, "mk_checkin_interval"),
        ({"mk_checkin_interval": [60]}, "mk_checkin_interval"),
        ({"mk_checkin_skew": -1}, "mk_checkin_skew"),
        ({"mk_log_level": "Logger::LOUD"}, "mk_log_level"),
        ({"mk_fact_excl_pattern": "(?<="}, "mk_fact_excl_pattern"),
        ({"mk_fact_excl_pattern": r"\p{Alpha}"}, "mk_fact_excl_pattern"),
        ({"mk_tce_mirror": "not a uri"}, "mk_tce_mirror"),
        ({"other": 1}, "other"),
        ({"mk_a b": 1}, "mk_a b"),
        ({f"mk_{number}": 1 for number in range(300)}, "keys"),
    ],
)
def test_refused_with_the_keys_name(sent: dict[str, Json], why: str) -> None:
    with pytest.raises(BadInput, match=re.escape(why)):
        judge_push(sent, {}, NO_SITE)


def test_invented_keys_cannot_fill_the_store() -> None:
    stored: dict[str, Json] = {f"mk_{number}": "x" for number in range(250)}
    with pytest.raises(BadInput, match="keys"):
        judge_push({f"mk_more_{number}": 1 for number in range(10)}, stored, NO_SITE)
    large: dict[str, Json] = {f"mk_{number}": "x" * 16000 for number in range(16)}
    assert judge_push(large, {}, NO_SITE).merged == large
    with pytest.raises(BadInput, match=str(MERGED_LIMIT_BYTES)):
        judge_push({"mk_last": "x" * 16000}, large, NO_SITE)


def test_only_a_new_pattern_needs_a_trial() -> None:
    pattern = "(^facter.*$)|(.*json_str$)"
    assert judge_push({"mk_fact_excl_pattern": pattern}, {}, NO_SITE).pattern == pattern
    stored: dict[str, Json] = {"mk_fact_excl_pattern": pattern}
    assert judge_push({"mk_fact_excl_pattern": pattern, "mk_checkin_interval": 30}, stored, NO_SITE).pattern == ""


def test_the_names_of_facts_cover_the_protocols_families() -> None:
    names = fact_names()
    assert len(names) == len(set(names)) > 250
    for family in (
        "^facter",
        "^memoryfree_mb$",
        "^ssh",
        "json_str$",
        "^mk_hw_lscpu_",
        r"^mk_hw_nic\d+_serial$",
        "^lldp_neighbor_",
    ):
        assert any(compile_ruby(family).search(name) for name in names), family


def test_the_nodes_own_names_are_added_where_they_may_be_read(tmp_path: Path) -> None:
    paths = paths_under(str(tmp_path))
    assert known_names(paths) == ()
    paths.run_facts.mkdir(parents=True)
    paths.facts.write_text('{"facts": {"custom_b": "1", "custom_a": "2"}}')
    assert known_names(paths) == ("custom_a", "custom_b")
    paths.facts.write_text('{"facts": [')
    assert known_names(paths) == ()


def test_what_nests_too_deeply_is_refused() -> None:
    value: Json = 1
    for _ in range(11):
        value = [value]
    with pytest.raises(BadInput, match="mk_deep: the value is nested deeper than 10"):
        judge_push({"mk_deep": value}, {}, NO_SITE)


def test_the_largest_configuration_can_be_read_by_all_who_must(tmp_path: Path) -> None:
    """Nested and full of short items: what would grow most if files were laid out for people."""
    largest: dict[str, Json] = {f"mk_{number:02}": [[[[[[[[[[0] * 8000]]]]]]]]] for number in range(16)}
    judged = judge_push(largest, {}, NO_SITE)
    name = digest(judged.merged)
    store = Store(tmp_path, "boot")
    started = begin_apply(judged.merged, name, judged.merged, name, None, 1, "boot", 60)
    store.write_apply(replace(started, refused_digests=(name,) * MAX_REFUSED))
    store.put_files(started)
    assert store.read_apply(2) is not None
    assert read_apply(tmp_path / "apply.json").is_open_for(name)
    assert load(paths_under(str(tmp_path))._replace(run_mkweb=tmp_path)).pushed == judged.merged
