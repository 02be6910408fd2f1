"""The pure parts of mk-fetch: the document between network and root, sources, wishes, requests, `.when`."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mkcore.config import DIALECT_DEFAULTS, Site, effective
from mkcore.errors import BadInput, MkError
from mkcore.jsonfields import Json, canonical
from mkmirror.bringing import Teller
from mkmirror.formats import wheel
from mkmirror.offers import Mirror, Trusting, folder_id
from mkmirror.package_plan import PackagePlanner
from mkmirror.remote import Fetching
from mkmirror.requests import Requests, build_requests, parse_requests
from mkmirror.sources import Own, find_sources, own_sources
from mkmirror.staged import (
    By,
    Folder,
    Item,
    Kind,
    Modules,
    Refused,
    Request,
    Staged,
    build_staged,
    parse_staged,
)
from mkmirror.staging import Staging
from mkmirror.trust import Verify, build_sums, digest_file
from mkmirror.wanted import (
    Want,
    WantedPackage,
    file_names,
    is_allowed,
    may_push,
    merge_packages,
    merge_wants,
    modules_of,
    parse_names,
    parse_package_list,
)
from mkmirror.when import parse_when
from tests.unit.mirror_trees import StaticServer, make_wheel

A = Item(Kind.TCZ, "a.tcz", "0", "a" * 64, "b" * 32, 4096)
WHOLE = Staged(
    {
        "0": Folder("http://m/tinycorelinux", "15.x/x86_64/tcz", False),
        "f00": Folder("https://[::1]:8/g", "wheels", True),
    },
    (
        Request("b.tcz", By.PUSH, (A, Item(Kind.TCZ, "b.tcz", "0", needs=("a.tcz",)))),
        Request("foo", By.ADMIN, (Item(Kind.WHEEL, "foo-1!2.0-py3-none-any.whl", "f00", size_bytes=1),)),
    ),
    (Modules(By.SITE, ("drivers/misc/vmci.ko", "loop"), "http://m/list"),),
    (Refused("x\ny", By.BUILTIN, "because\x1b[1m " + "z" * 400),),
)


def document() -> dict[str, Any]:
    found: dict[str, Any] = json.loads(canonical(build_staged(WHOLE)))
    return found


def test_the_document_comes_back_as_it_was() -> None:
    found = parse_staged(canonical(build_staged(WHOLE)))
    assert (found.folders, found.requests, found.modules) == (WHOLE.folders, WHOLE.requests, WHOLE.modules)
    (refused,) = found.refused
    assert refused.name == "x y"
    assert len(refused.reason) == 300 and refused.reason.isprintable()
    assert parse_staged(canonical(build_staged(found))) == found
    assert parse_staged(b'{"version": 1}') == Staged()
    assert Staged().is_empty and not found.is_empty


def change(*path: Any, to: Any) -> bytes:
    whole = document()
    place: Any = whole
    for key in path[:-1]:
        place = place[key]
    place[path[-1]] = to
    return json.dumps(whole).encode()


ITEM = ("requests", 0, "items", 0)
WHEEL = ("requests", 1, "items", 0)


UNREADABLE = [
    (b"[]", "a JSON object is wanted"),
    (b"{", "not JSON"),
    (change("version", to=2), "has the version 2"),
    (change("folders", "../x", to={"mirror": "http://m", "path": "a", "builtin": True}), '"../x" does not fit'),
    (change("folders", "0", "path", to="../../etc"), "is not the name of a folder of a mirror"),
    (change("folders", "0", "path", to="/etc"), "is not the name of a folder of a mirror"),
    (change("folders", "0", "mirror", to="file:///etc"), "does not fit here"),
    (change("folders", "0", "mirror", to="http://m/\nx"), "does not fit here"),
    (change("folders", "0", "mirror", to="http://[x"), "is no address"),
    (change("modules", to=[{"by": "push", "entries": ["a"] * 600}] * 2), "more than 1000"),
    (change(*WHEEL, "name", to="foo.whl"), "Invalid wheel filename"),
    (change("folders", "0", "builtin", to=1), "must be true or false"),
    (change(*ITEM, "name", to="../a.tcz"), "is not the name of such a file"),
    (change(*ITEM, "name", to=".a.tcz"), "is not the name of such a file"),
    (change(*ITEM, "name", to="a\0.tcz"), "is not the name of such a file"),
    (change(*ITEM, "name", to="n" * 4000 + ".tcz"), "is not the name of such a file"),
    (change(*ITEM, "name", to="SHA256SUMS"), "is not the name of such a file"),
    (change(*ITEM, "name", to="a.raw"), "is not the name of such a file"),
    (change(*ITEM, "name", to="b.tcz"), "each name once"),
    (change(*ITEM, "kind", to="deb"), "is not one of sysext, tcz, wheel"),
    (change(*ITEM, "folder", to="1"), "is not one of the folders"),
    (change(*ITEM, "sha256", to="A" * 64), "does not fit here"),
    (change(*ITEM, "size_bytes", to=-1), "-1 is not in 0"),
    (change(*ITEM, "size_bytes", to=True), "must be an integer"),
    (change(*ITEM, "needs", to=["../x"]), "is not the name of such a file"),
    (change("requests", 0, "name", to="a.tcz"), '"a.tcz" is not the last of its items'),
    (change("requests", 0, "name", to="b.tcz\n"), "is not the last of its items"),
    (change("requests", 1, "name", to="bar"), "is not the last of its items"),
    (change("requests", 0, "items", to=[]), "must have items"),
    (change("requests", 0, "by", to="root"), "is not one of push, site, admin, builtin"),
    (change("requests", to=document()["requests"] * 2), "the same name comes twice"),
    (change("requests", 0, to="b.tcz"), "must be an object"),
    (change("modules", 0, "entries", to=["-r"]), "'-r' is not the name of a module"),
    (change("modules", 0, "entries", to=["/tmp/x.ko"]), "is not the name of a module"),
    (change("modules", 0, "entries", to=["x"] * 10_001), "more than 10000"),
]


@pytest.mark.parametrize(("data", "said"), UNREADABLE, ids=[said for _, said in UNREADABLE])
def test_what_root_would_not_read(data: bytes, said: str) -> None:
    with pytest.raises(BadInput) as caught:
        parse_staged(data)
    assert said in str(caught.value)
    assert len(str(caught.value)) < 300


JSON: st.SearchStrategy[Json] = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=4), inner, max_size=3),
    max_leaves=6,
)
PATHS = st.sampled_from(
    [
        ("folders",),
        ("folders", "0"),
        ("folders", "0", "path"),
        ("requests",),
        ("requests", 0),
        ("requests", 0, "items"),
        ITEM,
        *((*ITEM, key) for key in ("kind", "name", "folder", "sha256", "md5", "size_bytes", "needs")),
        ("modules",),
        ("modules", 0),
        ("modules", 0, "entries"),
        ("refused",),
        ("refused", 0, "reason"),
    ]
)


@settings(max_examples=300, deadline=None, derandomize=True, database=None)
@given(PATHS, JSON)
def test_any_damage_is_bad_input_or_the_same_again(path: tuple[Any, ...], value: Json) -> None:
    try:
        found = parse_staged(change(*path, to=value))
    except MkError:
        return
    assert parse_staged(canonical(build_staged(found))) == found


@settings(max_examples=200, deadline=None, derandomize=True, database=None)
@given(st.binary(max_size=60))
def test_any_bytes_are_bad_input(data: bytes) -> None:
    text = data.decode("utf-8", "replace")
    for parse in (
        lambda: parse_staged(data),
        lambda: parse_requests(data, "requests"),
        lambda: parse_names(data, "list", By.PUSH),
        lambda: parse_package_list(data, "list", By.PUSH),
        lambda: parse_when(text, "when"),
    ):
        complaint = complain(parse)
        assert "\n" not in complaint


def complain(parse: Callable[[], object]) -> str:
    """Return what a parser says against its input, "" for nothing."""
    try:
        parse()
    except MkError as error:
        return str(error)
    return ""


# sources

OWN = Own()
T, G = OWN.extensions, OWN.packages


def sources(pushed: Mapping[str, Json], dialect: str = "", **site: str) -> list[tuple[str, str]]:
    used = effective(Site({f"mirror.{name}": value for name, value in site.items()}), pushed, {})
    if site:
        used.origins.update(dict.fromkeys((f"mirror.{name}" for name in site), "/etc/mk/mk.toml"))  # type: ignore[attr-defined]
    if dialect:
        used = effective(Site(), pushed, DIALECT_DEFAULTS[dialect])
    found = find_sources(used, OWN)
    every = (found.extensions, found.packages, found.extension_list, found.module_list, found.package_list)
    return [(each.uri, "own" if each.own else each.by.value) for each in every]


STOCK = [
    (T, "own"),
    (G, "own"),
    (f"{T}/tce-install-list", "own"),
    (f"{T}/kmod-install-list", "own"),
    (f"{G}/gems/gem.list", "own"),
]


@pytest.mark.parametrize(
    "pushed",
    [
        {},
        {"mk_tce_mirror_uri": "http://localhost:/tinycorelinux", "mk_tce_mirror_port": 2157},  # defect B17
        {"mk_tce_install_list_uri": "http://localhost:/tinycorelinux/tce-install-list"},
        {"mk_tce_mirror": "http://127.0.0.1:2157/tinycorelinux/", "mk_gem_mirror": "http://[::1]:2158/gem-mirror"},
        {"mk_gemlist_uri": "http://localhost:2158/gem-mirror"},  # defect B18
        {"mk_gemlist_uri": "http://localhost:2158/gem-mirror/gems/"},
        {
            "mk_gem_mirror": "http://localhost:2158",
            "mk_gemlist_uri": "/gem-mirror/gems/gem.list",
        },  # Hanlon's own default
    ],
)
def test_what_stock_servers_push_is_the_own_mirror(pushed: Mapping[str, Json]) -> None:
    for dialect in ("", "razor", "hanlon"):
        found = sources(pushed, dialect)
        assert found[:4] == STOCK[:4]
        assert found[4][1] == "own"
    assert sources(pushed)[4][0].endswith("/gem-mirror/gems/gem.list")


def test_the_spelling_that_somebody_set_counts() -> None:
    """A push before the site; Razor's whole address for a list, Hanlon's rest of one."""
    pushed = sources({"mk_tce_mirror": "http://h/t", "mk_tce_install_list_uri": "/l"})
    assert pushed[0] == ("http://h/t", "push")
    assert pushed[2:4] == [("http://h/t/l", "push"), ("http://h/t/kmod-install-list", "push")]
    both = sources({"mk_tce_mirror": "http://h/t"}, tce_mirror_uri="http://site/t")
    assert both[0] == ("http://h/t", "push")
    assert sources({}, tce_mirror_uri="http://site/t/")[0] == ("http://site/t", "site")
    assert sources({}, tce_mirror="http://site/t", gem_mirror="http://g/x")[:2] == [
        ("http://site/t", "site"),
        ("http://g/x", "site"),
    ]
    razor = sources({"mk_tce_mirror_uri": "http://r/t", "mk_tce_install_list_uri": f"{T}/tce-install-list"})
    assert razor[0] == ("http://r/t", "push")
    assert razor[2] == (f"{T}/tce-install-list", "own")  # the machine's names, from the mirror that was pushed
    other = sources({"mk_gem_mirror_uri": "http://r/g", "mk_gemlist_uri": "http://elsewhere/list"})
    assert other[4] == ("http://elsewhere/list", "push")


def test_other_ports_of_loopback_are_not_the_own_mirror() -> None:
    for uri in ("http://localhost:8080/t", "http://localhost/t", "http://127.0.0.1.evil.example:2157/t"):
        assert sources({"mk_tce_mirror": uri})[0] == (uri, "push")


@pytest.mark.parametrize(
    "host", ["169.254.169.254", "2852039166", "0xa9.254.0251.1", "[fe80::1]", "[::ffff:169.254.1.1]"]
)
def test_a_server_may_not_name_an_address_of_the_link(host: str) -> None:
    """There metadata services and management controllers answer whoever asks from this machine."""
    uri = f"http://{host}/latest/"
    pushed = {"mk_tce_mirror": uri, "mk_gemlist_uri": uri}
    found = find_sources(effective(Site(), pushed, {}), OWN)
    assert (found.extensions.uri, found.package_list.uri) == ("", "")
    assert any("may not name an address of this link" in each for each in found.problems)
    assert sources({}, tce_mirror=uri)[0] == (uri.rstrip("/"), "site")


def test_no_list_at_all() -> None:
    used = effective(Site(), {"mk_tce_install_list_uri": "", "mk_gem_mirror": ""}, {})
    assert own_sources(OWN, used.config).extension_list.uri == ""
    assert own_sources(OWN, used.config).module_list.uri == f"{T}/kmod-install-list"
    found = find_sources(used, OWN)
    assert (found.packages.uri, found.package_list.uri) == ("", "")
    assert found.problems == (
        "mirror.gemlist_uri: there is no mirror that /gems/gem.list could lie in (pushed by the server)",
    ) or found.problems == ("mirror.gemlist_uri: there is no mirror that /gems/gem.list could lie in (default)",)


# wishes


@pytest.mark.parametrize(
    ("allow", "name", "may"),
    [
        (("/.*/",), "anything.raw", True),
        ((), "anything.raw", False),
        (("nano",), "nano.tcz", True),
        (("nano.tcz",), "nano.tcz", True),
        (("nano.tcz",), "nano.raw", False),
        (("nan",), "nano.tcz", False),
        (("/^nan/",), "nano.tcz", True),
        (("smart",), "smart.evil.raw", False),
        (("smart",), "smart.evil.tcz", False),
        (("snd_hda",), "snd-hda", False),
        (("snd_hda",), "sound/snd-hda.ko.raw", False),
        (("foo",), "foo", True),
        (("/\\Afoo\\z/",), "foobar", False),
    ],
)
def test_what_a_push_may(allow: tuple[str, ...], name: str, may: bool) -> None:
    assert may_push(allow, name) is may


@pytest.mark.parametrize(
    ("allow", "name", "may"),
    [
        (("vmci",), "drivers/misc/vmci.ko", True),
        (("snd_hda",), "sound/snd-hda.ko.xz", True),
        (("drivers/misc/vmci.ko",), "drivers/misc/vmci.ko", True),
        (("vmci",), "drivers/misc/vmci_other.ko", False),
    ],
)
def test_which_modules_a_push_may_load(allow: tuple[str, ...], name: str, may: bool) -> None:
    assert may_push(allow, name, module=True) is may
    _, refused = modules_of([name], By.PUSH, "list", allow, [])
    assert [each.name for each in refused] == ([] if may else [name])


def test_a_pattern_that_cannot_be_understood_allows_nothing() -> None:
    with pytest.raises(BadInput):
        is_allowed(("/(/",), "x")


def test_who_may_most_wants_a_name() -> None:
    wants = [Want("a", By.PUSH, "l"), Want("b", By.BUILTIN, "l"), Want("a", By.SITE, "s"), Want("c.raw", By.PUSH, "l")]
    found = merge_wants([*wants, Want("d", By.ADMIN, "r")], Requests(remove=("c.tcz", "d")))
    assert [(each.name, each.by) for each in found] == [("a", By.SITE), ("b", By.BUILTIN), ("d", By.ADMIN)]


def test_who_may_most_wants_a_package_in_all_their_versions() -> None:
    def package(text: str, by: By) -> WantedPackage:
        return WantedPackage(wheel.parse_wanted(text, "list"), by, "list")

    wants = [package("foo >=1", By.PUSH), package("Foo <2", By.SITE), package("bar", By.BUILTIN)]
    (found,) = merge_packages(wants, Requests(remove=("bar",)))
    assert (found.by, found.wanted.name, sorted(map(str, found.wanted.versions))) == (By.SITE, "foo", ["<2", ">=1"])


def test_names_of_files() -> None:
    assert file_names("nano", "6.1") == ("nano.raw", "nano.tcz")
    assert file_names("mods-KERNEL", "6.1") == ("mods-KERNEL.raw", "mods-6.1.tcz")
    assert file_names("mods-KERNEL.tcz", "6.1") == ("mods-6.1.tcz",)
    for name in ("", "a/b", ".tcz", "../x", "x" * 300):
        with pytest.raises(BadInput):
            file_names(name, "6.1")


def test_one_bad_name_costs_itself() -> None:
    found = parse_names(b'["a.tcz", 7, "../b", "a.tcz", "c/d.ko"]', "list", By.BUILTIN)
    assert found.names == ("a.tcz", "c/d.ko")
    assert [each.name for each in found.refused] == ["entry 1", "'../b'"]
    assert parse_names(b"---\n- a.tcz  # one\n", "list", By.PUSH).names == ("a.tcz",)
    packages, refused = parse_package_list(b"foo >= 1  # x\n\n-e .\nbar\n", "gem.list", By.SITE)
    assert [str(each.wanted) for each in packages] == ["foo >=1", "bar"]
    assert [(each.name, each.reason) for each in refused] == [
        ("'-e .'", "gem.list:3: not of the form NAME [requirement]: '-e .'")
    ]


def test_requests_come_back_as_they_were() -> None:
    asked = Requests(("debug-tools.raw", "nano"), ("foo >=1",), ("old.tcz",))
    assert parse_requests(canonical(build_requests(asked)), "x") == asked
    assert asked.is_removed("old") and asked.is_removed("old.raw") and not asked.is_removed("older")
    for bad in ('{"version": 2}', '{"version": 1, "install": ["/x"]}', '{"version": 1, "packages": ["-e ."]}', "{}"):
        with pytest.raises(BadInput):
            parse_requests(bad.encode(), "x")


def test_for_which_machines() -> None:
    assert parse_when("", "w").fits("anything")
    some = parse_when("# a\nvirtualization vmware\nvirtualization  none\n", "w")
    assert [some.fits(word) for word in ("vmware", "none", "kvm")] == [True, True, False]


def test_a_place_in_staging_is_always_the_same() -> None:
    """So that another run goes on with half a file."""
    assert folder_id("http://m/t", "sysext/x86_64") == folder_id("http://m/t", "sysext/x86_64")
    assert folder_id("http://m/t", "sysext/x86_64") != folder_id("http://m", "t/sysext/x86_64")
    assert len(folder_id("", "")) == 12


def test_nothing_is_chosen_without_a_mirror() -> None:
    def bring(item: Item, _folder: object, _uri: str) -> Path:
        raise AssertionError(item)

    with pytest.raises(BadInput, match="foo is not in any mirror"):
        PackagePlanner({}, lambda _: "", bring).plan(wheel.parse_wanted("foo", "x"), By.SITE, ())


def test_more_than_the_document_holds(tmp_path: Path) -> None:
    """The first ones that fit; the rest comes with the next run."""
    folders = {"0": Folder("http://m/t", "sysext/x86_64", True)}
    needs = tuple(Item(Kind.SYSEXT, f"{'n' * 150}{number}.raw", "0", "a" * 64) for number in range(300))
    owners = [Request(f"o{at}.raw", By.SITE, (*needs, Item(Kind.SYSEXT, f"o{at}.raw", "0"))) for at in range(70)]
    written = Staging(tmp_path, 1, Fetching()).publish(Staged(folders, tuple(owners)))
    document = tmp_path / "staged.json"
    assert 3 << 20 < document.stat().st_size <= 4 << 20
    assert parse_staged(document.read_bytes()) == written
    assert 30 < len(written.requests) < 70
    (refused,) = written.refused
    assert refused.name == f"o{len(written.requests)}.raw"
    assert refused.reason.endswith(
        f"and {69 - len(written.requests)} more: too much is wanted at once; the next run has them"
    )
    assert Staging(tmp_path, 1, Fetching()).publish(Staged()).is_empty
    assert not document.exists()


def test_how_a_download_goes_on_is_told(caplog: pytest.LogCaptureFixture) -> None:
    """In the status each second, in the journal each ten."""
    now, said = [0.0], list[str]()
    teller = Teller(said.append, lambda: now[0])
    with caplog.at_level("INFO", "mkmirror"):
        for second in range(21):
            for part in (0.0, 0.5):
                now[0] = second + part
                teller.moved("a.tcz", int(now[0] * 1_000_000), 40_000_000 if second < 15 else None)
    assert len(said) == 20
    assert said[0] == "Fetching a.tcz: 1.0 MB of 40.0 MB (2 %)"
    assert said[-1] == "Fetching a.tcz: 20.0 MB"
    assert [record.getMessage() for record in caplog.records] == [said[9], said[19]]


@pytest.mark.parametrize(("system", "fetched"), [("2.0", False), ("0.5", True), ("unknown", True), ("", True)])
def test_what_the_system_has_is_not_fetched_for_others(tmp_path: Path, system: str, fetched: bool) -> None:
    """If it will do; a version that is none will not."""
    for args in (("tool", "1.0", "helper>=1"), ("helper", "1.5")):
        make_wheel(tmp_path / "wheels", *args)
    with StaticServer(tmp_path) as server:
        mirror = Mirror(server.uri, True, Trusting(Verify.CHECKSUM, (), tmp_path))
        sums = {each.name: digest_file(each) for each in (tmp_path / "wheels").iterdir()}
        (tmp_path / "wheels/SHA256SUMS").write_text(build_sums(sums))
        provided = {"helper": system}
        planner = PackagePlanner({}, lambda name: provided.get(name, ""), lambda item, *_: here(tmp_path, item))
        planned = planner.plan(wheel.parse_wanted("tool", "x"), By.SITE, (mirror,))
    assert planned is not None
    assert [item.name.split("-")[0] for item in planned.request.items] == ["helper"] * fetched + ["tool"]


def here(folder: Path, item: Item) -> Path:
    return folder / "wheels" / item.name
