"""The forms of the image that mkserver hands out, and which of them a node's iPXE is sent to."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import pytest

from mkserver.forms import read_forms, read_layers
from mkserver.image import read_image
from tests.mkserver_live import Live

UUID = "8F4A1C3E-52D7-4B0A-9C6E-0D1F2A3B4C5D"
MAC = "52:54:00:4d:4b:01"
BOOT = f"/hanlon/api/v1/boot?uuid={UUID}&mac_id={MAC}&dhcp_mac=01-52-54-00-4d-4b-01"
FILES = ("vmlinuz", "initrd", "first-stage", "root.squashfs", "mk.efi", "mk.iso")


def write_manifest(folder: Path) -> None:
    """Describe what lies in the folder, as the forms' programs do."""
    files = {name: {"size_bytes": (folder / name).stat().st_size, "sha256": f"{number:064x}"}
             for number, name in enumerate(FILES)}  # fmt: skip
    files["first-stage"]["layers"] = ["root.squashfs"]  # type: ignore[assignment]
    (folder / "manifest.json").write_text(json.dumps({"files": files}))


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """An image with its forms, and a file that is none."""
    made = tmp_path / "image"
    made.mkdir()
    for number, name in enumerate([*FILES, "secret"]):
        (made / name).write_bytes(bytes([number]) * (1000 + number))
    write_manifest(made)
    return made


@pytest.fixture
def live(tmp_path: Path, folder: Path) -> Iterator[Live]:
    """A server of that image."""
    (tmp_path / "data").mkdir()
    with Live(tmp_path / "data", kernel=folder / "vmlinuz", initrd=folder / "initrd") as live:
        yield live


def lines(live: Live) -> list[str]:
    """The kernel's and the initrd's line of the boot script."""
    return live.get(BOOT).text.split("\n")[1:3]


def test_firmware_and_people_get_a_form(live: Live, folder: Path) -> None:
    """Whole, by HEAD as UEFI asks first, in parts, and not again to who has it."""
    whole = live.get("/image/mk.efi")
    assert (whole.status, whole.body) == (200, (folder / "mk.efi").read_bytes())
    assert (whole.headers["content-type"], whole.headers["accept-ranges"]) == ("application/efi", "bytes")
    head = live.ask("HEAD", "/image/mk.efi")
    assert (head.status, head.body, head.headers["content-length"]) == (200, b"", str(len(whole.body)))
    part = live.get("/image/root.squashfs", Range="bytes=600-")
    assert (part.status, part.body) == (206, (folder / "root.squashfs").read_bytes()[600:])
    assert live.get("/image/mk.iso", If_None_Match=live.get("/image/mk.iso").headers["etag"]).status == 304
    assert live.get("/image/mk.iso", Range="bytes=99999-").status == 416


@pytest.mark.parametrize("name", ["secret", "manifest.json", "..%2fdata", "none", ".mk.iso.1"])
def test_nothing_else_of_the_folder_is_handed_out(live: Live, name: str) -> None:
    assert live.get(f"/image/{name}").status == 404


def test_a_link_is_no_form(live: Live, folder: Path) -> None:
    (folder / "mk.iso").unlink()
    (folder / "mk.iso").symlink_to(folder / "secret")
    assert live.get("/image/mk.iso").status == 404
    assert "mk.iso" not in [form.name for form in read_forms(folder)]


def test_whole_initrd_unless_something_else_is_asked_for(live: Live) -> None:
    kernel, initrd = lines(live)
    assert "mk.root" not in kernel
    assert initrd.endswith("/initrd || goto error")


def test_first_stage_is_told_where_the_layers_are_and_which_card(live: Live) -> None:
    live.send("PATCH", "/api/config", {"set": {"boot_form": "first-stage"}})
    kernel, initrd = lines(live)
    assert " BOOTIF=01-52-54-00-4d-4b-01 mk.next_server=${next-server} " in kernel
    assert kernel.endswith(f" mk.root=http://{live.base}/image initrd=first-stage || goto error")
    address = initrd.split(" ")[1]
    assert address.endswith("/first-stage")
    assert live.get(address.partition(live.base)[2]).status == 200
    strange = live.get(BOOT.replace("01-52-54-00-4d-4b-01", "01-52%20init=/bin/sh")).text
    assert "init=/bin/sh" not in strange


def test_auto_is_the_first_stage_after_a_boot_of_which_nothing_came(live: Live) -> None:
    """The first boot brings the whole; a second one without a word from the node the first stage; then it is well."""
    live.send("PATCH", "/api/config", {"set": {"boot_form": "auto"}})
    assert lines(live)[1].endswith("/initrd || goto error")
    assert lines(live)[1].endswith("/first-stage || goto error")
    live.register(UUID, {"a": "b"}, MAC)
    assert lines(live)[1].endswith("/initrd || goto error")
    assert lines(live)[1].endswith("/first-stage || goto error")


def test_one_node_alone_and_no_word_that_is_unknown(live: Live) -> None:
    lines(live)
    assert live.send("PATCH", "/api/config", {"node": UUID, "set": {"boot_form": "first-stage"}}).status == 200
    assert lines(live)[1].endswith("/first-stage || goto error")
    refused = live.send("PATCH", "/api/config", {"set": {"boot_form": "floppy"}})
    assert (refused.status, "boot_form: must be initrd, first-stage, auto" in refused.text) == (400, True)


@pytest.mark.parametrize("missing", ["root.squashfs", "first-stage", "manifest.json"])
def test_no_first_stage_without_all_that_belongs_to_it(live: Live, folder: Path, missing: str) -> None:
    """The node gets the whole initrd then, and not something that waits for a file for ever."""
    live.send("PATCH", "/api/config", {"set": {"boot_form": "first-stage"}})
    (folder / missing).unlink()
    assert read_layers(folder) == []
    assert lines(live)[1].endswith("/initrd || goto error")


def test_a_layer_of_another_build_is_no_layer(folder: Path) -> None:
    (folder / "root.squashfs").write_bytes(b"another")
    assert read_layers(folder) == []


def test_a_rebuilt_first_stage_has_another_address(folder: Path) -> None:
    """No node boots a kernel with the first stage of another build."""
    before = read_image(folder / "vmlinuz", folder / "initrd")
    (folder / "first-stage").write_bytes(b"new")
    write_manifest(folder)
    after = read_image(folder / "vmlinuz", folder / "initrd")
    assert before is not None and after is not None and before.id != after.id


@pytest.mark.parametrize("text", ["", "[]", "{", '{"files": 5}', '{"files": {"mk.iso": 5, "../x": {}}}'])
def test_a_broken_manifest_costs_the_digests_alone(live: Live, folder: Path, text: str) -> None:
    (folder / "manifest.json").write_text(text)
    assert {form.name for form in read_forms(folder)} == set(FILES)
    assert live.get("/forms").status == 200


def test_page_lists_what_is_there(live: Live, folder: Path) -> None:
    page = live.get("/forms").text
    assert f"http://{live.base}/image/mk.efi" in page
    assert f"{FILES.index('mk.iso'):064x}" in page
    assert "secret" not in page
    for path in folder.iterdir():
        path.unlink()
    assert "No image yet" in live.get("/forms").text
