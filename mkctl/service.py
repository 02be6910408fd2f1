"""`mkctl run`: the process around the agent; logging first, then the loop."""

from __future__ import annotations

import asyncio

from mkcore import journal
from mkcore.paths import Paths
from mkctl.agent import serve


def run(paths: Paths, mkweb_uri: str) -> int:
    """Be the service until it is told to stop. Returns the exit status."""
    journal.setup("ERROR", component="mkctl")
    asyncio.run(serve(paths, mkweb_uri))
    return 0
