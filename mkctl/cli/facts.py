"""`mkctl facts`: what a registration would send, as the server's dialect gets it."""

from __future__ import annotations

import fnmatch
import json
from collections.abc import Sequence

from mkcore.errors import NotReady, one_line
from mkcore.jsonfields import Json
from mkcore.paths import Paths
from mkctl.cli.config import load_as_service
from mkctl.cli.status import dialect_in_use
from mkctl.cmdline import read_cmdline
from mkctl.dialects.razor import RAZOR, flat_facts
from mkctl.factsview import FactsView


def show_facts(paths: Paths, names: Sequence[str], dialect: str, as_json: bool) -> int:
    """Print all facts or those named (shell patterns count). Raises NotReady without facts and for a name that is
    none."""
    chosen = dialect or dialect_in_use(paths)
    view = FactsView(paths, read_cmdline(paths.proc), lambda: 0.0)
    view.configure(load_as_service(paths).effective(chosen).config)
    view.refresh()
    if view.problem:
        raise NotReady(view.problem)
    if not view.present:
        raise NotReady(f"{paths.facts}: no facts yet (systemctl start mk-facts.service)")
    built = view.build()
    facts: dict[str, Json] = {**flat_facts(built)} if chosen == RAZOR.name else built
    shown = {
        name: value
        for name, value in facts.items()
        if not names or any(fnmatch.fnmatchcase(name, each) for each in names)
    }
    missing = [each for each in names if not any(fnmatch.fnmatchcase(name, each) for name in facts)]
    if as_json:
        print(json.dumps(shown, indent=1, sort_keys=True, ensure_ascii=False))
    else:
        for name, value in shown.items():
            print(f"{name} = {text_of(value)}")
    if missing:
        raise NotReady(f"no fact of the name {', '.join(missing)}")
    return 0


def text_of(value: Json) -> str:
    """A fact's value on one line: strings without what a terminal would obey, everything else as JSON."""
    return one_line(value) if isinstance(value, str) else json.dumps(value, ensure_ascii=False)
