"""Asking for the cloud-config that a Hanlon 3 server's kernel line names (mkctl/cloudconfig.py reads it).

It is asked for until it came once; what it says holds for the boot, as with that server's own system. Who cannot give
one is one line, and the next source counts meanwhile.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from typing import Callable, Optional

from mkcore.errors import BadAnswer, BadInput, MkError
from mkcore.http import exchange
from mkcore.proxy import proxy_to
from mkcore.trust import Trust
from mkctl.addresses import hide_password
from mkctl.cloudconfig import LIMIT_BYTES, CloudConfig, parse_cloud_config
from mkctl.worker import in_thread

DEADLINE_S = 10.0


class CloudSource:
    """`problems` are lines about what could not be used, `found` what it says, None until it came; `asked`: whether
    there is nothing to wait for. said: takes a line for the journal; trust: by what a server behind https:// is known,
    as that which it names is; proxy: by which it is asked, "" for none.
    """

    def __init__(
        self, uris: Sequence[str], said: Callable[[str], None], trust: Callable[[], Trust], proxy: str = ""
    ) -> None:
        self.problems: tuple[str, ...] = ()
        self._uris = uris
        self._say = said
        self._trust = trust
        self._proxy = proxy
        self.found: Optional[CloudConfig] = None
        self.asked = not uris

    async def ask(self, is_up: bool = True) -> None:
        """Ask, where it did not come yet. is_up: whether there is a network in which somebody could answer."""
        problems: list[str] = []
        for uri in self._uris if self.found is None else ():
            try:
                found = await in_thread(partial(fetch, uri, self._trust(), proxy_to(uri, self._proxy)), "cloud-config")
            except MkError as error:
                said = str(error).replace(uri, hide_password(uri))
                problems.append(f"cloud-config: {said}: not used")
                continue
            version = f", of image {found.version}" if found.version else ""
            self._say(f"cloud-config: the server is {found.uri}{version}")
            self.found = found
            break
        self.asked = self.asked or is_up or self.found is not None
        self.problems = tuple(problems) if self.asked else ()


def fetch(uri: str, trust: Optional[Trust] = None, proxy: str = "") -> CloudConfig:
    """Fetch and read one. Raises MkError naming the address."""
    answer = exchange(
        "GET", uri, deadline_s=DEADLINE_S, limit_bytes=LIMIT_BYTES, component="mkctl", trust=trust, proxy=proxy
    )
    if answer.status != 200:
        raise BadAnswer(f"{uri}: status {answer.status}")
    try:
        return parse_cloud_config(answer.body.decode("utf-8"))
    except UnicodeDecodeError as error:
        raise BadInput(f"not UTF-8 at byte {error.start}", uri) from None
    except BadInput as error:
        raise BadInput(str(error), uri) from None
