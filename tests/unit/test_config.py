"""mkcore.config: one table, its sources in their order, pushes of stock servers and of bad ones, and the documents."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mkcore import config as configuration
from mkcore.config import (
    BY_NAME,
    DIALECT_DEFAULTS,
    KEYS,
    PROTECTED,
    PUSH,
    Config,
    Site,
    differs,
    effective,
    validate_push,
)
from mkcore.errors import BadInput
from mkcore.jsonfields import digest
from mkcore.keys import HANLON_EXCLUDE, RAZOR_EXCLUDE, VOLATILE, Kind, parse_value
from mkcore.paths import Paths, paths_under
from mkcore.site import Source, parse_toml, read_site

ROOT = Path(__file__).resolve().parent.parent.parent

# The maps that stock servers send, copied from the protocol's tables and from a recorded answer, not from our table.
RAZOR_PUSH: dict[str, Any] = {
    "mk_kmod_install_list_uri": "http://localhost:2157/tinycorelinux/kmod-install-list",
    "mk_register_path": "/razor/api/node/register",
    "mk_tce_mirror_uri": "http://localhost:2157/tinycorelinux",
    "mk_uri": "http://192.168.2.1:8026",
    "mk_tce_mirror_port": 2157,
    "mk_checkin_interval": 60,
    "mk_checkin_path": "/razor/api/node/checkin",
    "mk_tce_install_list_uri": "http://localhost:2157/tinycorelinux/tce-install-list",
    "mk_checkin_skew": 5,
    "mk_fact_excl_pattern": "(^facter.*$)|(^id$)|(^kernel.*$)|(^memoryfree$)|(^operating.*$)|(^osfamily$)|(^path$)|(^ps$)|(^ruby.*$)|(^selinux$)|(^ssh.*$)|(^swap.*$)|(^timezone$)|(^uniqueid$)|(^uptime.*$)|(.*json_str$)",  # noqa: E501
    "mk_log_level": "Logger::ERROR",
    "mk_gem_mirror_uri": "http://localhost:2158/gem-mirror",
    "mk_gemlist_uri": "http://localhost:2158/gem-mirror/gems/gem.list",
}
RAZOR_PUSH_WITHOUT_PORT = {
    **RAZOR_PUSH,
    "mk_tce_mirror_uri": "http://localhost:/tinycorelinux",
    "mk_tce_install_list_uri": "http://localhost:/tinycorelinux/tce-install-list",
    "mk_kmod_install_list_uri": "http://localhost:/tinycorelinux/kmod-install-list",
}
HANLON2_PUSH: dict[str, Any] = json.loads(
    r"""{"mk_checkin_interval":60,"mk_checkin_skew":5,"mk_log_level":"Logger::ERROR","mk_gem_mirror":"http://localhost:2158/gem-mirror","mk_gemlist_uri":"/gems/gem.list","mk_tce_mirror":"http://localhost:2157/tinycorelinux","mk_tce_install_list_uri":"/tce-install-list","mk_kmod_install_list_uri":"/kmod-install-list","mk_fact_excl_pattern":"(^facter.*$)|(^id$)|(^kernel.*$)|(^memoryfree$)|(^memoryfree_mb$)|(^operating.*$)|(^osfamily$)|(^path$)|(^ps$)|(^ruby.*$)|(^selinux$)|(^ssh.*$)|(^swap.*$)|(^timezone$)|(^uniqueid$)|(^.*uptime.*$)|(.*json_str$)"}"""
)
HANLON3_KEYS = ("mk_checkin_interval", "mk_checkin_skew", "mk_log_level", "mk_fact_excl_pattern")
STOCK = [
    ("razor", RAZOR_PUSH),
    ("razor", RAZOR_PUSH_WITHOUT_PORT),
    ("hanlon", HANLON2_PUSH),
    ("hanlon", {key: HANLON2_PUSH[key] for key in HANLON3_KEYS}),
]


@pytest.mark.parametrize(("dialect", "push"), STOCK, ids=["razor", "razor-B17", "hanlon2", "hanlon3"])
def test_the_push_of_a_stock_server_changes_nothing(dialect: str, push: dict[str, Any]) -> None:
    site = Site()
    assert differs(push, effective(site, {}, DIALECT_DEFAULTS[dialect])) == []
    stored = validate_push(push, site).stored
    assert stored == push
    assert differs(push, effective(site, stored, DIALECT_DEFAULTS[dialect])) == []


def test_the_recorded_answers_hold_the_same_map() -> None:
    files = sorted((ROOT / "tests/data/wire").rglob("*"))
    found = 0
    for path in files:
        for text in re.findall(rb'"client_config":(\{.*?\})\}', path.read_bytes() if path.is_file() else b""):
            if b"mk_tce_mirror" in text and b"mk_uri" not in text:
                assert json.loads(text) == HANLON2_PUSH
                found += 1
    assert found


# one table


def test_the_dataclass_and_the_table_have_the_same_keys() -> None:
    assert list(Config._fields) == [key.field for key in KEYS]
    assert set(configuration.__all__) <= set(vars(configuration))


@pytest.mark.parametrize("key", KEYS, ids=lambda key: key.name)
def test_defaults_lie_in_their_own_range(key: configuration.Key) -> None:
    assert parse_value(key, list(key.default) if isinstance(key.default, tuple) else key.default) == key.default
    for defaults in DIALECT_DEFAULTS.values():
        if key.name in defaults:
            assert parse_value(key, defaults[key.name]) == defaults[key.name]


def test_push_table_and_protection() -> None:
    assert set(RAZOR_PUSH) | set(HANLON2_PUSH) == set(PUSH)
    assert PROTECTED == ("mk_uri", "mk_checkin_path", "mk_register_path")
    assert RAZOR_PUSH["mk_fact_excl_pattern"] == RAZOR_EXCLUDE
    assert HANLON2_PUSH["mk_fact_excl_pattern"] == HANLON_EXCLUDE


def test_the_defaults_of_an_unconfigured_machine() -> None:
    now = effective(Site(), {}, {})
    assert now.problems == ()
    assert now.digest == digest({})
    assert now.config.actions_allow_power_orders is False
    assert now.config.server_uri == ""
    assert now.config.value("checkin.interval_s") == 60
    assert set(now.origins.values()) == {"default"}
    assert set(now.origins) == set(BY_NAME)


# values

GOOD: list[tuple[str, Any, Any]] = [
    ("mk_checkin_interval", "60", 60),
    ("mk_checkin_interval", 60.0, 60),
    ("mk_checkin_interval", " 3600 ", 3600),
    ("mk_checkin_skew", 0, 0),
    ("mk_log_level", "Logger::DEBUG", "DEBUG"),
    ("mk_log_level", "debug", "DEBUG"),
    ("mk_uri", "HTTP://Razor.Example.:8026/", "http://razor.example.:8026"),
    ("mk_uri", "http://h:80", "http://h"),
    ("mk_uri", "https://[FD00::1]:443/base/", "https://[fd00::1]/base"),
    ("mk_uri", "http://h:/", "http://h"),
    ("mk_tce_mirror_uri", "http://localhost:/t", "http://localhost:2157/t"),
    ("mk_gem_mirror", "http://localhost:/g", "http://localhost:2158/g"),
    ("mk_gemlist_uri", "", ""),
    ("mk_tce_install_list_uri", "/tce-install-list", "/tce-install-list"),
]


@pytest.mark.parametrize(("name", "raw", "value"), GOOD)
def test_values_have_one_form(name: str, raw: Any, value: Any) -> None:
    key = PUSH[name].key
    assert parse_value(key, raw, pushed=True) == value
    assert parse_value(key, value, pushed=True) == value


BAD: list[tuple[str, Any, str]] = [
    ("mk_checkin_interval", 0, "0 is not in 1..3600"),
    ("mk_checkin_interval", 3601, "3601 is not in 1..3600"),
    ("mk_checkin_interval", "sixty", '"sixty" is not in 1..3600'),
    ("mk_checkin_interval", True, "true is not in"),
    ("mk_checkin_interval", 60.5, "60.5 is not in"),
    ("mk_checkin_interval", None, "null is not in"),
    ("mk_checkin_interval", "9" * 5000, "is not in"),
    ("mk_checkin_interval", [60], "[60] is not in"),
    ("mk_checkin_skew", 301, "301 is not in 0..300"),
    ("mk_checkin_skew", -1, "-1 is not in 0..300"),
    ("mk_log_level", "Logger::LOUD", "Logger::FATAL, ERROR, WARN, INFO, DEBUG"),
    ("mk_log_level", 3, "3 is not a log level"),
    ("mk_fact_excl_pattern", "(a", "without an end"),
    ("mk_fact_excl_pattern", 5, "5 is not a regular expression"),
    ("mk_fact_excl_pattern", "a" * 10_001, "is not a regular expression"),
    ("mk_tce_mirror_port", 65_536, "1..65535"),
    ("mk_tce_mirror_uri", "localhost:2157", "is not a URI or path"),
    ("mk_tce_mirror_uri", "ftp://x/", "is not a URI or path"),
    ("mk_gem_mirror", "http://h:99999/", "is not a URI or path"),
    ("mk_gemlist_uri", "/a b", "is not a URI or path"),
    ("mk_tce_mirror", "http://user:pw@h/", "is not a URI or path"),
    ("mk_tce_mirror", "/" + "a" * 3000, "is not a URI or path"),
]


@pytest.mark.parametrize(("name", "raw", "said"), BAD)
def test_a_push_with_a_value_out_of_range_is_refused_with_key_value_and_range(name: str, raw: Any, said: str) -> None:
    with pytest.raises(BadInput) as caught:
        validate_push({"mk_other": 1, name: raw}, Site())
    assert str(caught.value).startswith(f"{name}: ")
    assert said in str(caught.value)
    assert len(str(caught.value)) < 250


@pytest.mark.parametrize("name", ["", "interval", "MK_X", "mk-x", "mk_ x", "mk_" + "x" * 200, "mk_x\n"])
def test_a_push_holds_mk_keys_alone(name: str) -> None:
    with pytest.raises(BadInput, match=r"is not the name of a mk_\* key"):
        validate_push({name: 1}, Site())


def test_a_push_is_bounded() -> None:
    with pytest.raises(BadInput, match="257 keys are more than 256"):
        validate_push({f"mk_{number}": 1 for number in range(257)}, Site())
    with pytest.raises(BadInput, match=r"^mk_big: the value is larger than 16384 bytes$"):
        validate_push({"mk_big": ["x" * 10_000, "x" * 10_000]}, Site())


@given(
    st.dictionaries(
        st.sampled_from([*PUSH, "mk_unknown"]), st.none() | st.booleans() | st.integers() | st.text(max_size=20)
    )
)
def test_any_map_is_refused_or_usable(body: dict[str, Any]) -> None:
    site = Site()
    now = effective(site, body, DIALECT_DEFAULTS["hanlon"])
    assert 1 <= now.config.checkin_interval_s <= 3600
    try:
        stored = validate_push(body, site).stored
    except BadInput:
        assert now.problems
    else:
        assert now.problems == ()
        assert differs(body, effective(site, stored, DIALECT_DEFAULTS["hanlon"])) == []


# pushes


def test_protected_keys_are_stored_reported_and_without_effect() -> None:
    body: dict[str, Any] = {"mk_uri": "http://elsewhere:1", "mk_register_path": 7, "mk_checkin_interval": 30}
    push = validate_push(body, Site())
    assert push.stored == body
    assert push.protected_ignored == ("mk_uri", "mk_register_path")
    now = effective(Site(), push.stored, DIALECT_DEFAULTS["razor"])
    assert (now.config.server_uri, now.config.server_register_path) == ("", "/razor/api/node/register")
    assert now.config.checkin_interval_s == 30
    assert now.origins["checkin.interval_s"] == "pushed by the server"
    assert differs({"mk_uri": "http://third:1", "mk_checkin_path": "/x"}, now) == []
    assert now.digest == digest(body)


def test_the_site_may_allow_a_protected_key() -> None:
    site = Site(values={"apply.allow_push": ("mk_uri",), "server.uri": "http://first:8026"})
    assert validate_push({"mk_uri": "http://other:1", "mk_checkin_path": "/x"}, site).protected_ignored == (
        "mk_checkin_path",
    )
    with pytest.raises(BadInput, match=r"^mk_uri: 7 is not a http"):
        validate_push({"mk_uri": 7}, site)
    before = effective(site, {}, {})
    assert differs({"mk_uri": "http://other:1", "mk_checkin_path": "/x"}, before) == ["mk_uri"]
    assert differs({"mk_uri": "http://FIRST:8026/"}, before) == []
    # the kernel line, DHCP or DNS gave another address than the configuration: what counts is the one in use
    assert differs({"mk_uri": "http://found:8026"}, before, server="http://found:8026") == []
    assert differs({"mk_uri": "http://first:8026"}, before, server="http://found:8026") == ["mk_uri"]
    assert effective(site, {"mk_uri": "http://other:1"}, {}).config.server_uri == "http://other:1"


def test_a_push_cannot_set_what_is_not_in_its_table() -> None:
    body: dict[str, Any] = {
        "mk_allow_power_orders": True,
        "mk_actions_allow_power_orders": True,
        "mk_allow_push": ["mk_uri"],
    }
    now = effective(Site(), validate_push(body, Site()).stored, {})
    assert now.config == effective(Site(), {}, {}).config


def test_differences_are_counted_per_key_sent_and_by_meaning() -> None:
    now = effective(
        Site(), {"mk_checkin_interval": 10, "mk_other": {"a": 1, "b": 2}, "mk_stale": 1}, DIALECT_DEFAULTS["hanlon"]
    )
    same: dict[str, Any] = {"mk_checkin_interval": "10", "mk_other": {"b": 2, "a": 1}, "mk_log_level": "error"}
    assert differs(same, now) == []
    assert differs({}, now) == []
    other: dict[str, Any] = {
        "mk_checkin_interval": 60,
        "mk_other": 1,
        "mk_new": None,
        "mk_checkin_skew": "x",
        "mk_stale": 1,
    }
    assert differs(other, now) == ["mk_checkin_interval", "mk_other", "mk_new", "mk_checkin_skew"]


def test_a_half_good_stored_map_costs_single_keys_only() -> None:
    now = effective(Site(), {"mk_checkin_interval": "x", "mk_checkin_skew": 9, "mk_fact_excl_pattern": "("}, {})
    assert (now.config.checkin_interval_s, now.config.checkin_skew_s) == (60, 9)
    assert [problem.split(":")[1] for problem in now.problems] == [" mk_checkin_interval", " mk_fact_excl_pattern"]


# the site


def make_tree(root: Path, tree: dict[str, Any]) -> Paths:
    for name, content in tree.items():
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content if isinstance(content, bytes) else content.encode())
    return paths_under(str(root))


def test_sources_in_their_order(tmp_path: Path) -> None:
    paths = make_tree(
        tmp_path,
        {
            "usr/lib/mk/mk.toml": "[checkin]\ninterval_s = 1\nskew_s = 1\n[log]\nlevel = 'info'\n[server]\nuri = 'http://l:1'",
            "etc/mk/mk.toml": "[checkin]\ninterval_s = 2\nskew_s = 2\nretry_ceiling_s = 2\n[server]\nuri = 'http://e:1'",
            "etc/mk/mk.toml.d/20-b.toml": "checkin.interval_s = 20",
            "etc/mk/mk.toml.d/10-a.toml": "checkin.interval_s = 10\ncheckin.skew_s = 10",
            "etc/mk/mk.toml.d/.swp.toml": "checkin.interval_s = 30",
            "etc/mk/mk.toml.d/README": "not TOML",
            "run/credentials/mk.toml": "[identity]\ninterfaces = '^eth'\n[server]\nuri = 'http://c:1'",
            "run/credentials/mk.server": "http://CRED:8026/\n",
        },
    )
    site = read_site(paths)
    assert site.problems == []
    assert site.values == {
        "checkin.interval_s": 20,
        "checkin.skew_s": 10,
        "checkin.retry_ceiling_s": 2,
        "log.level": "INFO",
        "identity.interfaces": "^eth",
        "server.uri": "http://cred:8026",
    }
    assert site.origins["checkin.interval_s"] == str(tmp_path / "etc/mk/mk.toml.d/20-b.toml")
    assert site.origins["identity.interfaces"] == "credential mk.toml"
    assert site.origins["server.uri"] == "credential mk.server"
    assert site.sources["log.level"] is Source.SHIPPED < Source.ADMIN < Source.CREDENTIAL is site.sources["server.uri"]
    now = effective(site, {"mk_checkin_skew": 0}, DIALECT_DEFAULTS["razor"])
    assert (now.config.checkin_interval_s, now.config.checkin_skew_s, now.config.log_level) == (20, 0, "INFO")
    assert now.origins["facts.exclude"] == "default of the dialect"


def test_an_image_may_allow_power_orders(tmp_path: Path) -> None:
    paths = make_tree(tmp_path, {"usr/lib/mk/mk.toml": "[actions]\nallow_power_orders = true\n"})
    assert effective(read_site(paths), {}, {}).config.actions_allow_power_orders is True


def test_no_files_at_all(tmp_path: Path) -> None:
    assert read_site(paths_under(str(tmp_path))) == Site()
    assert read_site(Paths(lib=tmp_path, etc=tmp_path)) == Site()


BROKEN: list[tuple[str, Any, str]] = [
    ("not TOML", '[server]\nuri = "http://a:1"\nthis is not TOML\n', "line 3: not TOML: "),
    ("cut off", '[server]\nuri = "http://a', "line 2: not TOML: "),
    ("nested", "a = " + "[" * 5000, "not TOML"),
    ("binary", b"\x00\xff\xfe", "not UTF-8 at byte 1; the file is left out"),
    ("latin-1", b"[facts]\nexclude = '\xe4'\n", "not UTF-8 at byte 19"),
    ("too large", "#" * 300_000, "larger than 262144 bytes"),
]


@pytest.mark.parametrize(("name", "content", "said"), BROKEN, ids=[row[0] for row in BROKEN])
def test_a_broken_file_is_left_out_and_the_rest_counts(tmp_path: Path, name: str, content: Any, said: str) -> None:
    path = "etc/mk/mk.toml.d/50-broken.toml"
    site = read_site(make_tree(tmp_path, {"etc/mk/mk.toml": "[checkin]\nskew_s = 9", path: content}))
    assert site.values == {"checkin.skew_s": 9}
    assert len(site.problems) == 1
    assert site.problems[0].startswith(str(tmp_path / path) + ": ")
    assert said in site.problems[0]
    assert "\n" not in site.problems[0]


def test_a_bad_key_is_left_out_alone_with_its_line(tmp_path: Path) -> None:
    text = (
        "[checkin]\n# interval_s = 5\nskew_s = 9\ninterval_s = '60'\n\n"
        "[sever]\nuri = 'x'\n[server]\nurl = 'x'\nuri = 'x y'\n"
        "[facts]\nexclude = '\\p{L}'\nvolatile = ['ok', '/(/']\nsets = ['lldp', 'lshw']\nmax_age_s = 1979-05-27\n"
        "[apply]\nallow_push = ['mk_uri', 'mk_x']\n"
        "[log]\nlevel = 'loud'\n[actions]\nallow_power_orders = 1\n"
    )
    site = read_site(make_tree(tmp_path, {"etc/mk/mk.toml": text}))
    assert site.values == {"checkin.skew_s": 9}
    place = str(tmp_path / "etc/mk/mk.toml")
    assert [problem.replace(place, "F") for problem in site.problems] == [
        'F: line 4: checkin.interval_s: "60" is not in 1..3600',
        "F: line 6: there is no section [sever]",
        "F: line 9: server.url: there is no such key",
        'F: line 10: server.uri: "x y" is not a http:// or https:// URI',
        r"F: line 12: facts.exclude: the character property \p cannot be translated, at character 1 of the pattern",
        "F: line 13: facts.volatile: a parenthesis without an end, at character 2 of the pattern",
        'F: line 14: facts.sets: "lshw" cannot stand in this list: '
        "only facter, hardware, ipmi, lldp, json, custom, structured, inventory",
        "F: line 15: facts.max_age_s: a value of type date is not in 0..86400",
        'F: line 17: apply.allow_push: "mk_x" cannot stand in this list: '
        "only mk_uri, mk_checkin_path, mk_register_path",
        'F: line 19: log.level: "loud" is not one of Logger::FATAL, ERROR, WARN, INFO, DEBUG',
        "F: line 21: actions.allow_power_orders: 1 is not a true or false",
    ]


def test_sections_of_wrong_type_bad_credentials_and_directories_are_problems(tmp_path: Path) -> None:
    paths = make_tree(
        tmp_path,
        {"etc/mk/mk.toml": "log = 3\n", "run/credentials/mk.server": "ftp://razor\n", "usr/lib/mk/mk.toml/x": ""},
    )
    problems = [problem.replace(str(tmp_path), "") for problem in read_site(paths).problems]
    assert problems == [
        "/usr/lib/mk/mk.toml: Is a directory",
        "/etc/mk/mk.toml: line 1: there is no section [log]",
        'credential mk.server: "ftp://razor" is not a http:// or https:// URI',
    ]


@pytest.mark.parametrize(
    ("text", "uri"),
    [
        ("192.0.2.1\n", "http://192.0.2.1:8026"),
        ("mk.example", "http://mk.example:8026"),
        ("mk.example:8080", "http://mk.example:8080"),
        ("192.0.2.1/hanlon/api/v1", "http://192.0.2.1/hanlon/api/v1"),
        ("[2001:db8::1]", "http://[2001:db8::1]:8026"),
        ("2001:db8::1", "http://[2001:db8::1]:8026"),
        ("[2001:db8::1]:80", "http://[2001:db8::1]"),
        ("https://192.0.2.1", "https://192.0.2.1"),
    ],
)
def test_the_server_s_credential_takes_a_bare_address(tmp_path: Path, text: str, uri: str) -> None:
    site = read_site(make_tree(tmp_path, {"run/credentials/mk.server": text}))
    assert (site.values, site.problems) == ({"server.uri": uri}, [])


# the documents

SHIPPED = (ROOT / "mkcore/mk.toml").read_text(encoding="utf-8")
MANUAL = (ROOT / "man/mk.toml.5").read_text(encoding="utf-8")


def test_the_shipped_file_sets_nothing_and_shows_every_default() -> None:
    assert not [value for value in parse_toml(SHIPPED).values() if value != {}]
    uncommented = re.sub(r"^# ([a-z0-9_]+ = )", r"\1", SHIPPED, flags=re.MULTILINE)
    shown = {
        f"{section}.{name}": parse_value(BY_NAME[f"{section}.{name}"], value)
        for section, table in parse_toml(uncommented).items()
        for name, value in dict(table).items()  # type: ignore[call-overload]
    }
    assert shown == {key.name: key.default for key in KEYS}
    assert BY_NAME["facts.volatile"].default == VOLATILE
    for key in KEYS:
        if key.kind is Kind.INTEGER and key.name != "mirror.tce_mirror_port":
            assert re.search(rf"^# {key.name.split('.')[1]} = .*# {key.range}", SHIPPED, re.MULTILINE), key.name


def manual_keys() -> dict[str, str]:
    part = MANUAL.split(".SH KEYS\n")[1].split("\n.SH ")[0]
    found: dict[str, str] = {}
    for section in part.split(".SS [")[1:]:
        name, _, rest = section.partition("]\n")
        for entry in rest.split(".TP\n.B ")[1:]:
            key, _, text = entry.partition("\n")
            found[f"{name}.{key}"] = text
    return found


def test_the_manual_page_describes_every_key() -> None:
    described = manual_keys()
    assert sorted(described) == sorted(key.name for key in KEYS)
    for key in KEYS:
        text = described[key.name]
        assert "Default: " in text, key.name
        if key.kind is Kind.INTEGER:
            assert f"Range: {key.range}." in text, key.name
            assert f"Default: {key.default}." in text, key.name
        if key.kind is Kind.BOOLEAN:
            assert f"Default: {str(key.default).lower()}." in text, key.name
        for choice in key.choices:
            assert choice in text


def test_the_manual_page_has_the_table_of_pushed_keys() -> None:
    rows = re.findall(r"^(mk_\w+)\t([a-z_.]+)\t(yes|no)$", MANUAL, re.MULTILINE)
    assert rows == [(name, each.key.name, "yes" if each.protected else "no") for name, each in PUSH.items()]
