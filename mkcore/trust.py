"""What the site says of an https:// server; `mkcore.tls` makes connections of it.

Apart, because the verbs for people read the configuration and have no use for OpenSSL.
"""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Trust:
    """Files in PEM, "" for none. `fingerprint`: 64 small hexadecimal digits, "" for none, beats `ca`.

    `unusable`: why what the site says cannot be used, "" where it can: then no https:// server is known, as the
    system's CAs would know more servers than the site meant. `any_time`: certificates count outside their dates, too;
    for asking what time it is, and nothing else.
    """

    ca: str = ""
    fingerprint: str = ""
    certificate: str = ""
    key: str = ""
    any_time: bool = False
    unusable: str = ""
