"""Giving up capabilities for good, before programs of others are started.

mk-facts is root with few capabilities, and what a site puts into its facts.d needs none of them. Linux keeps them per
thread, and a program gets those of the thread that starts it; so the collecting thread gives up its own. A root process
would get them back at the next exec, but with no_new_privs it does not: the kernel then lets a program
have no more than its caller had. Source: capabilities(7), capset(2), PR_SET_NO_NEW_PRIVS in prctl(2).
"""

from __future__ import annotations

import os

from mkcore.errors import ToolFailed

_PR_SET_NO_NEW_PRIVS = 38
_CAPABILITY_VERSION_3 = 0x20080522


def drop_capabilities() -> None:
    """Take all capabilities from the calling thread and from everything that it starts; others keep theirs.

    Raises ToolFailed where the kernel or a filter of system calls refuses: then nothing may be started.
    """
    try:
        import ctypes  # slow to import, and only who has such programs needs it

        libc = ctypes.CDLL(None, use_errno=True)
        header = (ctypes.c_uint32 * 2)(_CAPABILITY_VERSION_3, 0)  # 0: the calling thread
        none = (ctypes.c_uint32 * 6)()  # effective, permitted and inheritable, twice 32 bits
        failed = "prctl" if libc.prctl(_PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) else ""
        failed = failed or ("capset" if libc.capset(header, none) else "")
        reason = f"{failed}: {os.strerror(ctypes.get_errno())}" if failed else ""
    except (ImportError, AttributeError, MemoryError, OSError) as error:  # no ctypes, no such function in this libc
        reason = str(error)
    if reason:
        raise ToolFailed(f"capabilities cannot be given up: {reason}")
