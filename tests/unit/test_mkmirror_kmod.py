"""Lists of kernel modules: exact names, paths, compression, what they need, and what only VMware's machines get."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mkcore.errors import BadInput
from mkmirror.formats import kmod
from mkmirror.formats.kmod import Loaded, Plan, Skipped

LOADED = """\
vmci_helper 16384 0 - Live 0x0000000000000000
dm_log 20480 2 dm_region_hash,dm_mirror, Live 0x0
dm_mirror 24576 0 - Live 0x0
dm_region_hash 24576 1 dm_mirror, Live 0x0 (E)
busy 4096 3 - Live 0x0
short
"""
NEEDS = """\
kernel/drivers/misc/vmw_vmci/vmw_vmci.ko.xz:
kernel/drivers/net/vmxnet3/vmxnet3.ko.zst:
kernel/net/vsock/vsock.ko.gz:
kernel/drivers/md/dm-log.ko: kernel/drivers/md/dm-mod.ko
kernel/drivers/md/dm-mod.ko: kernel/drivers/dax/dax.ko
kernel/drivers/dax/dax.ko:
kernel/drivers/md/dm-mirror.ko: kernel/drivers/md/dm-region-hash.ko kernel/drivers/md/dm-log.ko \
kernel/drivers/md/dm-mod.ko kernel/drivers/dax/dax.ko
kernel/drivers/md/dm-region-hash.ko: kernel/drivers/md/dm-log.ko kernel/drivers/md/dm-mod.ko kernel/drivers/dax/dax.ko
kernel/net/one/twin.ko:
kernel/drivers/two/twin.ko.xz:
vmci.ko:
"""
LOADS, INDEX = kmod.parse_loaded(LOADED), kmod.parse_needs(NEEDS)


@pytest.mark.parametrize(
    ("entry", "name"),
    [
        ("vmci", "vmci"),
        ("vmci.ko", "vmci"),
        ("drivers/misc/vmci.ko", "vmci"),
        ("sound/snd-hda.ko.xz", "snd_hda"),
        ("a.b.ko", "a"),
    ],
)
def test_names(entry: str, name: str) -> None:
    assert kmod.module_name(entry) == name


def test_loaded_modules() -> None:
    assert LOADS["dm_log"] == Loaded(2, ("dm_region_hash", "dm_mirror"))
    assert LOADS["busy"] == Loaded(3, ())
    assert "short" not in LOADS


def test_a_name_within_another_is_not_loaded() -> None:
    """Defect B28: `vmci` was taken for loaded because `vmci_helper` was."""
    plan = kmod.plan(["vmci.ko"], LOADS, INDEX, virtual="vmware")
    assert plan == Plan((), ("vmci.ko",), (), ())


def test_a_path_resolves_an_ambiguous_name() -> None:
    """Defect B29: folders were ignored."""
    with pytest.raises(BadInput, match=r"can mean kernel/drivers/two/twin\.ko\.xz, kernel/net/one/twin\.ko"):
        kmod.find("twin.ko", INDEX)
    assert kmod.find("net/one/twin.ko", INDEX) == "kernel/net/one/twin.ko"
    assert kmod.find("two/twin", INDEX) == "kernel/drivers/two/twin.ko.xz"
    assert kmod.find("/kernel/drivers/two/twin.ko.gz", INDEX) == "kernel/drivers/two/twin.ko.xz"
    for entry in ("o/twin.ko", "three/twin.ko", "net/two/twin.ko", "twi", "win", "", "/", "a b", "x" * 4000):
        with pytest.raises(BadInput):
            kmod.find(entry, INDEX)


def test_compressed_modules_are_found() -> None:
    """Defect B30."""
    assert kmod.find("vsock.ko", INDEX) == "kernel/net/vsock/vsock.ko.gz"
    assert kmod.find("vmxnet3", INDEX) == "kernel/drivers/net/vmxnet3/vmxnet3.ko.zst"
    assert kmod.find("vmw-vmci.ko", INDEX) == "kernel/drivers/misc/vmw_vmci/vmw_vmci.ko.xz"


def test_an_exact_path_wins_over_a_longer_one() -> None:
    assert kmod.find("net/x.ko", ["net/x.ko", "kernel/net/x.ko"]) == "net/x.ko"


def test_what_a_module_needs_is_loaded_before_it() -> None:
    plan = kmod.plan(["md/dm-mirror.ko", "dm-log.ko"], {"dax": Loaded(1, ())}, INDEX)
    assert [kmod.module_name(path) for path in plan.load] == ["dm_mod", "dm_log", "dm_region_hash", "dm_mirror"]


def test_loaded_ones_are_replaced_users_first() -> None:
    plan = kmod.plan(["dm-log", "dm-mirror", "dm-region-hash"], LOADS, INDEX)
    assert plan.unload == ("dm_mirror", "dm_region_hash", "dm_log")
    assert {kmod.module_name(path) for path in plan.load} >= set(plan.unload)
    assert plan.kept == ()


def test_what_something_else_uses_stays() -> None:
    plan = kmod.plan(["dm-log", "busy"], LOADS, {**INDEX, "kernel/busy.ko": ()})
    assert plan.unload == ()
    assert plan.load == ()
    assert plan.kept == (
        Skipped("busy", "is in use by a device or program"),
        Skipped("dm_log", "is in use by dm_mirror, dm_region_hash"),
    )


@pytest.mark.parametrize("entry", ["vmblock.ko", "drivers/misc/vmci.ko", "vmxnet", "vmhgfs.ko", "vmsync", "vmw_vmci"])
def test_vmwares_modules_only_there(entry: str) -> None:
    assert kmod.plan([entry], {}, INDEX, virtual="kvm").skipped == (Skipped(entry, "only for machines of VMware"),)
    assert kmod.plan([entry], {}, INDEX).load == ()
    found = kmod.plan([entry], {}, INDEX, virtual="vmware")
    assert not any("VMware" in each.reason for each in found.skipped)
    assert kmod.plan(["net/vsock/vsock.ko"], {}, INDEX, virtual="physical").load == ("kernel/net/vsock/vsock.ko.gz",)


def test_one_bad_entry_costs_itself_alone() -> None:
    plan = kmod.plan(["gone.ko", "twin.ko", "vsock.ko", "loop.ko"], {}, INDEX, builtin=frozenset(("loop",)))
    assert plan.load == ("kernel/net/vsock/vsock.ko.gz",)
    assert [each.entry for each in plan.skipped] == ["gone.ko", "twin.ko", "loop.ko"]


def test_summary() -> None:
    assert kmod.summary(["a", "b", "c"], ["a", "c", "d"], ["b", "c"]) == "b- c/ d+"
    assert kmod.summary([], [], []) == ""


def test_builtin() -> None:
    assert kmod.parse_builtin("kernel/fs/ext4/ext4.ko\nkernel/drivers/block/loop.ko\n\n") == {"ext4", "loop"}


@given(st.text(max_size=200), st.lists(st.text(max_size=20), max_size=5))
def test_any_text(text: str, entries: list[str]) -> None:
    plan = kmod.plan(entries, kmod.parse_loaded(text), kmod.parse_needs(text), kmod.parse_builtin(text))
    assert set(plan.unload) <= set(kmod.parse_loaded(text))
