"""Highest exposure of each service, as systemd-analyze(1) scores it: 0 is none, 10 is all of the system."""

from __future__ import annotations

NODE = {
    "mkctl": 1.4,
    "mkweb": 0.6,
    "mkmirror": 0.6,
    "mk-facts": 3.4,
    "mk-fetch": 1.4,
    "mk-extensions": 4.0,
    "mk-clock": 1.0,
}
"""The services of a node."""
LIMITS = {**NODE, "mkserver": 1.4}
"""All. mkserver is held to what mkctl is, which talks to a network as well."""
