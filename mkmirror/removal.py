"""What an administrator wants to be gone: which of it can go, and what it takes along.

Something that another installed extension or package needs stays until that one goes, too. What was brought only
because a removed one needed it stays: nobody can tell from here who has come to rely on it; `mkmirror list` shows it.

Source: protocol 5.3; mkmirror(8).
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass
from types import MappingProxyType

from mkmirror.installed import Installed
from mkmirror.requests import Requests, stem


@dataclass(frozen=True)
class Removal:
    """extensions: file names; packages: canonical names; files: of all of them; kept: name -> why it stays."""

    extensions: tuple[str, ...]
    packages: tuple[str, ...]
    files: tuple[str, ...]
    kept: dict[str, str]


def plan_removal(
    installed: Installed, requests: Requests, needs: Mapping[str, Collection[str]] = MappingProxyType({})
) -> Removal:
    """Decide what goes; those that need each other go together when all of them are to go.

    needs: package -> packages that it needs (packages.needed_names).
    """
    asked = set(requests.install)
    wanted = [
        name
        for name in installed.extensions
        if requests.is_removed(name) and name not in asked and stem(name) not in asked
    ]
    wanted += [name for name in installed.packages if name in requests.remove]
    kept: dict[str, str] = {}
    while True:
        going = [name for name in wanted if name not in kept]
        held = {name: users for name in going if (users := _users(installed, name, going, needs))}
        if not held:
            break
        kept.update({name: f"{name}: {', '.join(users)} needs it" for name, users in held.items()})
    extensions = tuple(name for name in going if name in installed.extensions)
    packages = tuple(name for name in going if name in installed.packages)
    files = (*extensions, *(installed.packages[name].file for name in packages))
    return Removal(extensions, packages, files, kept)


def _users(installed: Installed, name: str, going: Collection[str], needs: Mapping[str, Collection[str]]) -> list[str]:
    users = [
        *installed.users_of(name),
        *sorted(user for user, found in needs.items() if user != name and name in found),
    ]
    return [user for user in users if user not in going]
