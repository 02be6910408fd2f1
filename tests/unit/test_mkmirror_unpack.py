"""Wheels: what is read from them, and everything that is refused before or while they are unpacked."""

from __future__ import annotations

import struct
import zipfile
from pathlib import Path

import pytest

from mkcore.errors import BadInput
from mkmirror import unpack
from tests.unit.mirror_trees import digest_of, make_wheel, write_wheel

INFO = "foo-1.0.dist-info"
FILE = "foo-1.0-py3-none-any.whl"
HEAD = "Metadata-Version: 2.1\nName: foo\nVersion: 1.0\n"
PLAIN = {f"{INFO}/METADATA": HEAD, f"{INFO}/WHEEL": "Wheel-Version: 1.0\nTag: py3-none-any\n"}


def wheel(folder: Path, **content: str) -> Path:
    """Make a wheel of `foo` with these files; `__` in a key is a slash."""
    return write_wheel(
        folder / FILE, INFO, {**PLAIN, **{key.replace("__", "/"): text for key, text in content.items()}}
    )


def files_of(folder: Path) -> dict[str, str]:
    return {path.relative_to(folder).as_posix(): path.read_text() for path in folder.rglob("*") if path.is_file()}


def refusal(path: Path, target: Path) -> str:
    """Read and unpack; return why that is refused."""
    with pytest.raises(BadInput) as caught:
        unpack.unpack(path, unpack.read_wheel(path, FILE), target)
    assert len(str(caught.value).splitlines()) == 1
    return str(caught.value)


def test_files_go_where_their_scheme_says(tmp_path: Path) -> None:
    data = "foo-1.0.data"
    content = {
        **PLAIN,
        "foo/__init__.py": "1",
        "foo/data file.txt": "2",
        f"{data}/purelib/pure.py": "3",
        f"{data}/platlib/plat.py": "4",
        f"{data}/scripts/run": "5",
        f"{data}/data/share/foo/x": "6",
        f"{data}/headers/foo.h": "7",
    }
    path = write_wheel(tmp_path / FILE, INFO, content)
    unpack.unpack(path, unpack.read_wheel(path, FILE), tmp_path / "out")
    found = files_of(tmp_path / "out")
    assert found.pop(f"lib/{INFO}/RECORD").startswith(f"{INFO}/METADATA,sha256=")
    assert found == {
        "lib/foo/__init__.py": "1",
        "lib/foo/data file.txt": "2",
        "lib/pure.py": "3",
        "lib/plat.py": "4",
        "local/bin/run": "5",
        "local/share/foo/x": "6",
        "local/include/foo/foo.h": "7",
        f"lib/{INFO}/METADATA": HEAD,
        f"lib/{INFO}/WHEEL": PLAIN[f"{INFO}/WHEEL"],
    }
    assert (tmp_path / "out/local/bin/run").stat().st_mode & 0o777 == 0o755
    assert (tmp_path / "out/lib/pure.py").stat().st_mode & 0o777 == 0o644


def test_what_the_file_says_of_itself(tmp_path: Path) -> None:
    path = make_wheel(tmp_path, "foo", "1.0", "bar >=2", commands={"foo": "foo:main", "foo-x": "foo.cli : Main.run"})
    content = unpack.read_wheel(path, FILE)
    assert (content.metadata.name, str(content.metadata.version)) == ("foo", "1.0")
    assert [str(each) for each in content.metadata.requires] == ["bar>=2"]
    assert content.commands == {"foo": ("foo", "main"), "foo-x": ("foo.cli", "Main.run")}


@pytest.mark.parametrize("name", ["../x", "/etc/x", "a/../../x", "a//x", "./x", "a\x07b", "x" * 5000])
def test_names_that_lead_out_are_refused(name: str, tmp_path: Path) -> None:
    path = write_wheel(tmp_path / FILE, INFO, {**PLAIN, name: "x"})
    assert "is not the path of a file inside" in refusal(path, tmp_path / "out")
    assert sorted(each.name for each in tmp_path.iterdir()) == [FILE]


@pytest.mark.parametrize(
    ("name", "reason"),
    [
        ("foo-1.0.data/data/../x", "is not the path of a file inside"),
        ("foo-1.0.data/other/x", "has no place here"),
        ("foo-1.0.data/data/tce.installed/x", "has no place here"),
        ("foo-1.0.data/data/x", "has no place here"),
        ("foo-1.0.data/scripts", "has no place here"),
        (
            "foo-1.0.data/data/lib/python3.13/dist-packages/requests.py",
            "would be imported by the programs of the suite",
        ),
        ("foo-1.0.data/data/lib/systemd/system/mkctl.service", "changes a unit of the suite"),
        ("foo-1.0.data/scripts/mkctl", "belongs to the suite"),
        ("foo-1.0.data/purelib/foo.py", "would be written twice"),
    ],
)
def test_places_that_are_not_a_packages(name: str, reason: str, tmp_path: Path) -> None:
    path = write_wheel(tmp_path / FILE, INFO, {**PLAIN, "foo.py": "", name: "x"})
    said = refusal(path, tmp_path / "out")
    assert reason in said
    assert not (tmp_path / "out").exists()


def test_a_file_that_is_another_ones_folder(tmp_path: Path) -> None:
    path = wheel(tmp_path, foo="file", foo__x="in it")
    assert "'lib/foo' would be written twice" in refusal(path, tmp_path / "out")


def rewrite(path: Path, **changes: object) -> Path:
    """Write the archive again with changes: a text for RECORD, more members, a compression."""
    with zipfile.ZipFile(path) as archive:
        content = {each: archive.read(each).decode() for each in archive.namelist()}
    record = changes.get("record")
    if isinstance(record, str):
        content[f"{INFO}/RECORD"] = record.format(record=content[f"{INFO}/RECORD"])
    compression = changes.get("compression", zipfile.ZIP_STORED)
    assert isinstance(compression, int)
    with zipfile.ZipFile(path, "w", compression) as archive:
        for name, text in content.items():
            archive.writestr(name, text)
        more = changes.get("more")
        if isinstance(more, zipfile.ZipInfo):
            archive.writestr(more, "x")
    return path


@pytest.mark.parametrize(
    ("record", "reason"),
    [
        ("", "RECORD has no digest of 'foo.py'"),
        ("foo.py,,1\n", "RECORD has no digest of 'foo.py'"),
        ("foo.py,md5=1B2M2Y8AsgTpgAmY7PhCfg,1\n", "is not a digest"),
        ("foo.py,sha256=AAAA,1\n", "is not a digest"),
        (f"foo.py,{digest_of('y')},1\n", "'foo.py' is not what RECORD says"),
        (f"foo.py,{digest_of('x')},2\n", "'foo.py' has 1 bytes, RECORD says 2"),
        (f"foo.py,{digest_of('x')},-1\n", "is not a size"),
        ("{record}../x,,\n", "is not the path of a file inside"),
        ("{record}gone.py," + digest_of("x") + ",1\n", "lacks 'gone.py', which RECORD has"),
        ("{record}foo.py,,\n", "'foo.py' comes twice"),
        ("foo.py\n", "not of the form PATH,DIGEST,SIZE"),
    ],
)
def test_each_file_is_what_record_says(record: str, reason: str, tmp_path: Path) -> None:
    path = rewrite(wheel(tmp_path, **{"foo.py": "x"}), record=record)
    with zipfile.ZipFile(path) as archive:
        others = [f"{each},{digest_of(archive.read(each).decode())},\n" for each in PLAIN]
    if "{record}" not in record:
        rewrite(path, record=record + "".join(others))
    assert reason in refusal(path, tmp_path / "out")


def test_links_and_devices_are_refused(tmp_path: Path) -> None:
    for kind in (0o120777, 0o060644, 0o010644):
        link = zipfile.ZipInfo("foo.py")
        link.external_attr = kind << 16
        path = rewrite(wheel(tmp_path), more=link)
        assert "'foo.py' is no plain file" in refusal(path, tmp_path / "out")


@pytest.mark.filterwarnings("ignore:Duplicate name")
def test_two_files_of_one_name(tmp_path: Path) -> None:
    path = rewrite(wheel(tmp_path, **{"foo.py": "x"}), more=zipfile.ZipInfo("foo.py"))
    assert "'foo.py' is in it twice" in refusal(path, tmp_path / "out")


def test_small_archives_that_become_large(tmp_path: Path) -> None:
    path = rewrite(wheel(tmp_path, big="0" * (20 << 20)), compression=zipfile.ZIP_DEFLATED)
    assert "more than 200 times its size" in refusal(path, tmp_path / "out")
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("compression", [zipfile.ZIP_BZIP2, zipfile.ZIP_LZMA])
def test_compressions_without_a_bound_are_refused(compression: int, tmp_path: Path) -> None:
    path = rewrite(wheel(tmp_path), compression=compression)
    assert "is compressed or encrypted as no wheel is" in refusal(path, tmp_path / "out")


def test_sizes_that_are_not_true(tmp_path: Path) -> None:
    """The directory of the archive claims fewer bytes than come out, and more than 512 MB in all."""
    path = rewrite(wheel(tmp_path, big="0" * 100_000), compression=zipfile.ZIP_DEFLATED)
    data = path.read_bytes()
    size = struct.pack("<I", 100_000)
    assert data.count(size) == 2
    path.write_bytes(data.replace(size, struct.pack("<I", 1000)))
    assert "RECORD says 100000" in refusal(path, tmp_path / "out")
    path.write_bytes(data.replace(size, struct.pack("<I", 600 << 20)))
    assert "more than 536870912" in refusal(path, tmp_path / "out")


def test_too_many_files_are_refused_before_they_are_listed(tmp_path: Path) -> None:
    path = wheel(tmp_path)
    data = bytearray(path.read_bytes())
    data[-10:-6] = struct.pack("<I", 100 << 20)  # bytes of the directory
    path.write_bytes(bytes(data))
    assert refusal(path, tmp_path / "out") == f"{FILE}: has more than 20000 files"
    with zipfile.ZipFile(path, "w") as archive:
        for number in range(20_001):
            archive.writestr(f"f{number}", "")
    assert refusal(path, tmp_path / "out") == f"{FILE}: has 20001 files, more than 20000"


@pytest.mark.parametrize(
    "data", [b"", b"PK", b"nothing" * 100, b"PK\5\6" + b"\0" * 18, b"PK\5\6" + b"\xff" * 16 + b"\0\0"]
)
def test_what_is_no_archive(data: bytes, tmp_path: Path) -> None:
    path = tmp_path / FILE
    path.write_bytes(data)
    assert refusal(path, tmp_path / "out").startswith(f"{FILE}: ")


def test_each_damaged_byte_is_a_clear_refusal_or_no_harm(tmp_path: Path) -> None:
    path = rewrite(wheel(tmp_path, **{"foo.py": "x" * 50}), compression=zipfile.ZIP_DEFLATED)
    data = path.read_bytes()
    for position in range(0, len(data), 3):
        path.write_bytes(data[:position] + bytes([data[position] ^ 0x55]) + data[position + 1 :])
        target = tmp_path / f"out{position}"
        try:
            unpack.unpack(path, unpack.read_wheel(path, FILE), target)
        except BadInput:
            continue
        assert (target / "lib/foo.py").read_text() == "x" * 50


def test_other_packages_and_formats_are_refused(tmp_path: Path) -> None:
    path = write_wheel(tmp_path / FILE, INFO, {**PLAIN, f"{INFO}/METADATA": HEAD.replace("1.0", "2.0")})
    assert refusal(path, tmp_path / "out") == f"{FILE}: holds foo 2.0"
    path = write_wheel(tmp_path / FILE, INFO, {**PLAIN, f"{INFO}/WHEEL": "Wheel-Version: 2.0\n"})
    assert "format that is not known" in refusal(path, tmp_path / "out")
    path = write_wheel(tmp_path / FILE, INFO, {**PLAIN, "bar-1.0.dist-info/METADATA": HEAD})
    assert "has 2 folders *.dist-info" in refusal(path, tmp_path / "out")
    path = write_wheel(tmp_path / FILE, "bar-1.0.dist-info", {"bar-1.0.dist-info/METADATA": HEAD})
    assert "which is another package's" in refusal(path, tmp_path / "out")


@pytest.mark.parametrize(
    "line", ["foo = os;x:y", "a/b = foo:main", "foo = foo", "= foo:main", "foo = foo:main\\nimport os"]
)
def test_commands_that_are_none(line: str) -> None:
    with pytest.raises(BadInput) as caught:
        unpack.parse_commands(f"[console_scripts]\n{line}\n", "e")
    assert str(caught.value).startswith("e:2: not of the form NAME = MODULE:OBJECT")


def test_commands_of_the_suite_are_not_replaced(tmp_path: Path) -> None:
    path = make_wheel(tmp_path, "foo", "1.0", commands={"mkctl": "foo:main"})
    assert refusal(path, tmp_path / "out") == f"{FILE}: 'mkctl' belongs to the suite"


def test_commands_of_other_sections_are_none() -> None:
    text = "# x\n[gui_scripts]\nx = y:z\n[console_scripts]\nfoo = foo.cli:main [extra]\n; y\n[other]\n* = broken\n"
    assert unpack.parse_commands(text, "e") == {"foo": ("foo.cli", "main")}
