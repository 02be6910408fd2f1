"""`mkctl facts`: what a registration would send, as the server's dialect gets it, and what can be asked about it."""

from __future__ import annotations

import argparse
import json
from collections.abc import Iterable, Sequence

from mkcore.errors import NotReady, one_line
from mkcore.jsonfields import Json
from mkcore.paths import Paths
from mkctl.cli.config import load_as_service
from mkctl.cli.lookup import find_values
from mkctl.cli.status import dialect_in_use, duration
from mkctl.cmdline import read_cmdline
from mkctl.describe import boottime_usec, read_facts_file
from mkctl.dialects.razor import RAZOR, flat_facts
from mkctl.factsview import FactsView
from mkctl.probe.model import FactsFile


def run_facts(paths: Paths, options: argparse.Namespace) -> int:
    """Do what the command line asks for. Returns the exit status; raises NotReady without facts and for names that are
    none."""
    names: list[str] = options.names
    if options.schema:
        from mkctl.probe.schema import build_schema

        return show_tree(build_schema(), names)
    content = read_content(paths)
    if options.timing:
        return show_timing(content, names, options.as_json)
    if options.inventory:
        return show_tree(content.inventory, names)
    dialect = options.dialect or dialect_in_use(paths)
    view = open_view(paths, dialect, options.sets or ())
    if options.explain:
        return show_explanations(view, content, [*options.explain, *names], options.as_json)
    if options.diff:
        return show_diff(paths, view, names, options.as_json)
    built = view.build()
    facts: dict[str, Json] = {**flat_facts(built)} if dialect == RAZOR.name else built
    return show_facts(facts, content, names, options.as_json)


def read_content(paths: Paths) -> FactsFile:
    """Read the whole facts.json. Raises NotReady when there is none that can be used."""
    content, problem = read_facts_file(paths.facts)
    if problem:
        raise NotReady(problem)
    if not paths.facts.exists():
        raise NotReady(f"{paths.facts}: no facts yet (systemctl start mk-facts.service)")
    return content


def open_view(paths: Paths, dialect: str, sets: Sequence[str]) -> FactsView:
    """What would be sent in this dialect; `sets` count instead of the configured ones."""
    view = FactsView(paths, read_cmdline(paths.proc), lambda: 0.0)
    view.configure(load_as_service(paths).effective(dialect).config, sets)
    view.refresh()
    return view


def show_facts(facts: dict[str, Json], content: FactsFile, names: Sequence[str], as_json: bool) -> int:
    """Print all facts or those named; a name that is not sent is looked for in what was collected."""
    found, missing = choose(names, [facts, content.structured, content.inventory]) if names else (facts, [])
    if as_json:
        print(json.dumps(found, indent=1, sort_keys=True, ensure_ascii=False))
    else:
        for name, value in found.items():
            print(f"{name} = {text_of(value)}")
    return ended(missing)


def show_tree(tree: dict[str, Json], names: Sequence[str]) -> int:
    """Print a document, or values in it, as JSON."""
    found, missing = choose(names, [tree]) if names else (tree, [])
    print(json.dumps(found, indent=1, ensure_ascii=False))
    return ended(missing)


def choose(names: Iterable[str], trees: Sequence[dict[str, Json]]) -> tuple[dict[str, Json], list[str]]:
    """Return the values of all names, and the names that are none."""
    found: dict[str, Json] = {}
    missing: list[str] = []
    for name in names:
        values = find_values(name, trees)
        found.update(values)
        missing += [] if values else [name]
    return found, missing


def ended(missing: list[str]) -> int:
    """Return 0; raises NotReady when a name was none."""
    if missing:
        raise NotReady(f"no fact of the name {', '.join(missing)}")
    return 0


def show_timing(content: FactsFile, names: Sequence[str], as_json: bool) -> int:
    """Print what each collector cost and how it went, the slowest first."""
    states: dict[str, Json] = {}
    for name, state in sorted(content.collectors.items(), key=lambda item: -item[1].duration_ms):
        counts = {"facts": len(state.facts), "structured": len(state.structured), "inventory": len(state.inventory)}
        states[name] = {"status": state.status.value, "duration_ms": state.duration_ms, "error": state.error, **counts}
    found, missing = choose(names, [states]) if names else (states, [])
    if as_json:
        print(json.dumps(found, indent=1, ensure_ascii=False))
        return ended(missing)
    width = max([len("COLLECTOR"), *map(len, found)])
    print(f"{'COLLECTOR':{width}}  {'STATUS':9}  {'MS':>6}  {'FACTS':>5}")
    for name in found:
        state = content.collectors[name]
        line = f"{name:{width}}  {state.status.value:9}  {state.duration_ms:6}  {len(state.facts):5}  {state.error}"
        print(line.rstrip())
    if content.boottime_usec and not names:
        age_s = (boottime_usec() - content.boottime_usec) / 1e6
        print(f"collection {content.generation} of this boot, {duration(age_s)} ago")
    return ended(missing)


def show_diff(paths: Paths, view: FactsView, names: Sequence[str], as_json: bool) -> int:
    """Print what changed since the last registration."""
    from mkctl.cli.factsdiff import find_changes, read_registered, show_changes

    server, before = read_registered(paths)
    changes = find_changes(view, before, view.build())
    if names:
        wanted, _ = choose(names, [{each.name: None for each in changes}])
        changes = [each for each in changes if each.name in wanted or each.name.split(".")[0] in names]
    show_changes(changes, server, as_json)
    return 0


def show_explanations(view: FactsView, content: FactsFile, names: Sequence[str], as_json: bool) -> int:
    """Print where facts come from."""
    from mkctl.cli.explain import explain

    found = [each for name in names for each in explain(name, view, content)]
    if as_json:
        print(json.dumps(found, indent=1, ensure_ascii=False))
        return 0
    for each in found:
        value = text_of(each["value"])
        print(f"{each['name']} = {value if len(value) <= 200 else value[:199] + '…'}")
        for key in ("set", "source", "parser", "protocol", "collector", "sent", "change"):
            if key in each:
                print(f"  {key + ':':11}{each[key]}")
    return 0


def text_of(value: Json) -> str:
    """A fact's value on one line: strings without what a terminal would obey, everything else as JSON."""
    return one_line(value) if isinstance(value, str) else json.dumps(value, ensure_ascii=False)
