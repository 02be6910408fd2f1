"""What a mirror answers when it is asked for a file: it is there, it is not there, or nobody can tell now."""

from __future__ import annotations

from pathlib import Path

import pytest

from mkcore.errors import ServerRefused
from mkmirror.gather import is_temporary
from mkmirror.offers import Mirror, Trusting
from mkmirror.trust import Verify
from tests.fakes import WireServer, json_answer


@pytest.mark.parametrize(("status", "there"), [("200 OK", True), ("404 Not Found", False), ("410 Gone", False)])
def test_whether_a_mirror_has_a_file(tmp_path: Path, status: str, there: bool) -> None:
    with WireServer(json_answer(b"", status)) as server:
        assert Mirror(server.uri, False, Trusting(Verify.CHECKSUM, (), tmp_path)).ask(f"{server.uri}/a.raw") is there


@pytest.mark.parametrize(("status", "again"), [("503 Busy", True), ("500 Oops", True), ("403 Forbidden", False)])
def test_a_mirror_that_cannot_tell_now_is_asked_again(tmp_path: Path, status: str, again: bool) -> None:
    """It does not say that the file is not there."""
    with WireServer(json_answer(b"", status)) as server:
        mirror = Mirror(server.uri, False, Trusting(Verify.CHECKSUM, (), tmp_path))
        with pytest.raises(ServerRefused, match=f"a.raw: answers with status {status[:3]}") as caught:
            mirror.ask(f"{server.uri}/a.raw")
    assert is_temporary(caught.value) is again
