"""Host names, resolved as this machine resolves them: hosts file, DNS with its search domains.

getaddrinfo cannot be interrupted: whoever needs a bound calls it in a thread that nobody waits for.
Source: getaddrinfo(3), nsswitch.conf(5).
"""

from __future__ import annotations

import socket


def resolve_name(name: str) -> list[str]:
    """Return the addresses of a host, e.g. ["192.0.2.1", "2001:db8::1"], the better first; none where there is none.

    Raises OSError where nobody could be asked.
    """
    try:
        return [str(each[4][0]) for each in socket.getaddrinfo(name, None, type=socket.SOCK_STREAM)]
    except socket.gaierror as error:
        if error.errno in (socket.EAI_NONAME, socket.EAI_NODATA):
            return []
        raise
