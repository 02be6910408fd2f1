"""What vouches for content: sums, real signatures by real keys, and everything that does not suffice."""

from __future__ import annotations

import subprocess
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mkcore.errors import BadInput, ToolFailed, Untrusted
from mkmirror import trust
from mkmirror.trust import Verify
from tests.unit.pgp_keys import Gpg

SHA = "a" * 64
EARLY = "20200101T000000"


@pytest.fixture(scope="module")
def gpg() -> Iterator[Gpg]:
    with tempfile.TemporaryDirectory() as folder:  # a short path: the agent's socket lies below it
        made = Gpg(Path(folder))
        made.make_key("site")
        made.make_key("stranger")
        made.make_key("old", made=EARLY, expires="1d")
        yield made
        made.close()


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A folder of a mirror with sums and nothing signed."""
    made = tmp_path / "mirror"
    made.mkdir()
    (made / "a.tcz").write_bytes(b"content")
    (made / trust.SUMS).write_text(trust.build_sums({"a.tcz": trust.digest_file(made / "a.tcz")}))
    (tmp_path / "work").mkdir()
    return made


def keys_of(gpg: Gpg, folder: Path, *names: str, armor: bool = False) -> list[Path]:
    made = []
    for name in names:
        path = folder / f"{name}.{'asc' if armor else 'gpg'}"
        path.write_bytes(gpg.export(name, armor=armor))
        made.append(path)
    return made


def read(folder: Path, keys: list[Path], mode: Verify = Verify.SIGNATURE) -> dict[str, str]:
    sums, signed = trust.read_sums(folder, mode, keys, folder.parent / "work")
    assert (signed is None) == (mode is Verify.CHECKSUM)
    return sums


@pytest.mark.parametrize("armor", [False, True])
def test_signed_by_a_trusted_key(gpg: Gpg, folder: Path, tmp_path: Path, armor: bool) -> None:
    gpg.sign(folder / trust.SUMS, "site")
    keys = keys_of(gpg, tmp_path, "stranger", "site", armor=armor)
    sums, signed = trust.read_sums(folder, Verify.SIGNATURE, keys, tmp_path / "work")
    assert signed is not None
    assert signed.user == "site <site@mk.example>"
    assert len(signed.fingerprint) == 40
    trust.require_sum(folder / "a.tcz", "a.tcz", sums)
    assert not list((tmp_path / "work").iterdir())


def test_a_second_signature_by_an_unknown_key_is_no_harm(gpg: Gpg, folder: Path, tmp_path: Path) -> None:
    for names in (("site", "stranger"), ("stranger", "site")):
        gpg.sign(folder / trust.SUMS, *names)
        assert read(folder, keys_of(gpg, tmp_path, "site"))


def refused(folder: Path, keys: list[Path]) -> str:
    with pytest.raises(Untrusted) as caught:
        read(folder, keys)
    text = str(caught.value)
    assert text.startswith(f"{folder}: ")
    assert text.isprintable()
    assert not list((folder.parent / "work").iterdir())
    return text.removeprefix(f"{folder}: ")


def test_each_way_of_not_being_trusted_is_one_line(gpg: Gpg, folder: Path, tmp_path: Path) -> None:
    sums, keys = folder / trust.SUMS, keys_of(gpg, tmp_path, "site", "old")
    assert refused(folder, keys) == "SHA256SUMS: it is not signed"
    signature = gpg.sign(sums, "stranger")
    assert "is not trusted here" in refused(folder, keys)
    gpg.sign(sums, "old", at="20200101T010000")
    assert "has expired" in refused(folder, keys)
    gpg.sign(sums, "site")
    assert refused(folder, []) == "SHA256SUMS: no key is trusted here; put one into /etc/mk/trust.d"
    good = signature.read_bytes()
    for damaged in (b"", b"not a signature", good[:40], gpg.run("-u", "site@mk.example", "--clearsign", str(sums))):
        signature.write_bytes(damaged)
        if not damaged.startswith(b"-----"):
            assert refused(folder, keys).startswith("SHA256SUMS.gpg: ")
    signature.write_bytes(good)
    sums.write_text(sums.read_text() + f"{SHA} *b.tcz\n")
    assert "does not fit the content" in refused(folder, keys)


def test_gpgv_ends_well_for_an_expired_key_and_is_not_believed(gpg: Gpg, folder: Path, tmp_path: Path) -> None:
    """The trap: exit status 0 with EXPKEYSIG."""
    signature = gpg.sign(folder / trust.SUMS, "old", at="20200101T010000")
    (key,) = keys_of(gpg, tmp_path, "old")
    command = ["gpgv", "--keyring", str(key), str(signature), str(folder / trust.SUMS)]
    assert subprocess.run(command, capture_output=True, check=False).returncode == 0
    assert "has expired" in refused(folder, [key])


def test_a_clear_signed_file_is_no_detached_signature(gpg: Gpg, folder: Path, tmp_path: Path) -> None:
    (folder / trust.SIGNATURE).write_bytes(gpg.run("-u", "site@mk.example", "--sign", "-o", "-", str(folder / "a.tcz")))
    assert refused(folder, keys_of(gpg, tmp_path, "site"))


def test_by_checksum_alone(folder: Path) -> None:
    sums = read(folder, [], Verify.CHECKSUM)
    trust.require_sum(folder / "a.tcz", "a.tcz", sums)
    (folder / "a.tcz").write_bytes(b"Content")
    with pytest.raises(Untrusted, match=r"^a\.tcz: its SHA-256 is"):
        trust.require_sum(folder / "a.tcz", "a.tcz", sums)
    with pytest.raises(Untrusted, match=r"^b\.tcz: SHA256SUMS has no sum"):
        trust.require_sum(folder / "a.tcz", "b.tcz", sums)
    (folder / trust.SUMS).unlink()
    with pytest.raises(Untrusted, match="has no SHA256SUMS"):
        read(folder, [], Verify.CHECKSUM)


def test_without_gpgv(gpg: Gpg, folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    gpg.sign(folder / trust.SUMS, "site")
    keys = keys_of(gpg, tmp_path, "site")
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(ToolFailed, match="gpgv cannot be started"):
        read(folder, keys)


def test_key_folders(tmp_path: Path) -> None:
    usr, etc, credentials = tmp_path / "usr", tmp_path / "etc", tmp_path / "cred"
    for place in (usr, etc, credentials):
        place.mkdir()
    for path in (usr / "a.gpg", usr / "b.asc", usr / "gone.gpg", usr / "README", etc / "a.gpg", etc / "c.pgp"):
        path.write_text("x")
    (etc / "gone.gpg").symlink_to("/dev/null")
    (credentials / "mk.trust").write_text("x")
    (credentials / "other").write_text("x")
    found = trust.key_files([usr, etc, tmp_path / "none"], credentials)
    assert sorted(found) == sorted([credentials / "mk.trust", etc / "a.gpg", usr / "b.asc", etc / "c.pgp"])
    assert trust.key_files([tmp_path / "none"], Path()) == []


def test_keys_that_are_none(gpg: Gpg, tmp_path: Path) -> None:
    armored = gpg.export("site", armor=True)
    assert trust.dearmor(armored, "f") == gpg.export("site")
    assert trust.dearmor(armored.replace(b"\n", b"\r\n"), "f") == gpg.export("site")
    assert trust.dearmor(armored + armored, "f") == gpg.export("site") * 2
    with_headers = armored.replace(b"BLOCK-----\n\n", b"BLOCK-----\nVersion: x\nComment: y z\n\n", 1)
    assert trust.dearmor(with_headers, "f") == gpg.export("site")
    private = armored.replace(b"PUBLIC", b"PRIVATE")
    for data in (b"", b"hello", private, armored[:60], armored.replace(b"m", b"*", 1), b"-----BEGIN X-----"):
        with pytest.raises(BadInput, match=r"^f: "):
            trust.dearmor(data, "f")


def test_sums() -> None:
    text = f"# x\n{SHA}  a.tcz\r\n{SHA.upper()} *b.raw\n{SHA}  ./c.whl\n{SHA} *c-1!2-py3-none-any.whl\n\n{SHA}  a.tcz\n"
    assert trust.parse_sums(text) == dict.fromkeys(("a.tcz", "b.raw", "c.whl", "c-1!2-py3-none-any.whl"), SHA)
    for line in (
        "a.tcz",
        f"{SHA}  ../a.tcz",
        f"{SHA}  x/a.tcz",
        f"{SHA}  /a",
        f"{SHA[1:]}  a",
        f"{SHA} a",
        f"{SHA}  a b",
        f"{SHA}  SHA256SUMS",
        f"{SHA}  a\0",
        f"{SHA}  " + "x" * 4000,
        f"{'b' * 64}  a.tcz",
    ):
        with pytest.raises(BadInput, match=r"^SHA256SUMS:2: "):
            trust.parse_sums(f"{SHA}  a.tcz\n{line}\n")


def test_sums_are_read_by_sha256sum(folder: Path) -> None:
    command = ["sha256sum", "--check", "--strict", trust.SUMS]
    checked = subprocess.run(command, cwd=folder, capture_output=True, check=True)
    assert checked.stdout == b"a.tcz: OK\n"


NAMES = st.from_regex(r"[A-Za-z0-9_+][A-Za-z0-9._+~-]{0,30}", fullmatch=True).filter(trust.is_sum_name)


@given(st.dictionaries(NAMES, st.from_regex(r"[0-9a-f]{64}", fullmatch=True)))
def test_what_is_built_is_read_again(sums: dict[str, str]) -> None:
    assert trust.parse_sums(trust.build_sums(sums)) == sums


@given(st.text(max_size=300))
def test_any_status_without_a_good_signature_is_refused(text: str) -> None:
    for status in (text, f"[GNUPG:] {text}", f"[GNUPG:] NEWSIG\n[GNUPG:] GOODSIG {text}", f"[GNUPG:] VALIDSIG {text}"):
        with pytest.raises(Untrusted) as caught:
            trust.parse_status(status)
        assert str(caught.value).isprintable()


@given(st.sampled_from(["BADSIG", "EXPKEYSIG", "REVKEYSIG", "EXPSIG"]), st.booleans())
def test_a_bad_word_beside_good_ones_is_refused(word: str, first: bool) -> None:
    good = ["[GNUPG:] GOODSIG AB x", "[GNUPG:] VALIDSIG F 2026-01-01 1 0 4 0 22 8 00 F"]
    bad = [f"[GNUPG:] {word} AB x"]
    with pytest.raises(Untrusted):
        trust.parse_status("\n".join(["[GNUPG:] NEWSIG", *(bad + good if first else good + bad)]))
