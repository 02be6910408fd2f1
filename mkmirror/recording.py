"""What is written down, and told, of requests that were installed.

Source: protocol 5.3.
"""

from __future__ import annotations

import logging

from mkcore import events
from mkcore.journal import log_event
from mkmirror.installed import Extension, Installed, Package
from mkmirror.native import is_confext
from mkmirror.transaction import Candidate, Transaction, is_wheel

log = logging.getLogger(__name__)


def record(installed: Installed, candidate: Candidate, transaction: Transaction, now_usec: int) -> Installed:
    """Return `installed` with the files of a candidate that the transaction installed. now_usec: since boot."""
    by, now = candidate.by.value, now_usec
    for number, each in enumerate(candidate.items):
        item = each.item
        if item.name in installed.extensions:
            continue
        if is_wheel(item.name):
            found = transaction.unpacked[item.name]
            package = Package(found.version, item.name, by, each.sha256, each.mirror, now)
            installed = installed.with_packages({found.name: package})
            continue
        content = transaction.contents.get(item.name)
        extension = Extension(
            kind="confext" if is_confext(item.name) else item.kind.value,
            by=by,
            mirror=each.mirror,
            sha256=each.sha256,
            size_bytes=each.size_bytes,
            needs=item.needs,
            units=content.units if content else (),
            signed_by=each.signed_by,
            installed_usec=now + number,  # in the order in which they were installed
        )
        installed = installed.with_extensions({item.name: extension})
    return installed


def tell(candidate: Candidate) -> None:
    """Write the event that a request is installed."""
    last, others = candidate.items[-1], candidate.names[:-1]
    beside = f" with {', '.join(others[:20])}" if others else ""
    signed = f", signed by {last.signed_by}" if last.signed_by else ""
    message = f"{candidate.name} is installed{beside}: from {last.mirror}{signed}, asked for by {candidate.by.value}"
    log_event(log, events.EXTENSION_INSTALLED, message, extension=candidate.name, by=candidate.by.value)
