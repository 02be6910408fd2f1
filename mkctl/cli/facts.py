"""`mkctl facts`: what a registration would send, as the server's dialect gets it, and what can be asked about it."""

from __future__ import annotations

import argparse
import contextlib
import json
import sys
from collections.abc import Iterable, Sequence

from mkcore.errors import MkError, NotReady, one_line
from mkcore.jsonfields import Json
from mkcore.paths import Paths
from mkctl.cli.config import load_as_service
from mkctl.cli.lookup import find_values
from mkctl.cli.status import Denied, dialect_in_use, duration, read_status
from mkctl.cmdline import read_cmdline
from mkctl.describe import boottime_usec, read_facts_file
from mkctl.dialects.razor import RAZOR, flat_facts
from mkctl.factsview import FactsView
from mkctl.probe.model import FactsFile
from mkctl.registration import INVENTORY
from mkctl.settings import config_error

NO_COLLECTOR = "no collector of the name"


def run_facts(paths: Paths, options: argparse.Namespace) -> int:
    """Do what the command line asks for. Returns the exit status; raises NotReady without facts and for names that are
    none, Denied."""
    status = answer(paths, options, options.names)
    sys.stdout.flush()  # a reader that has gone (`| head`) is met here, and not when Python ends
    return status


def answer(paths: Paths, options: argparse.Namespace, names: list[str]) -> int:
    """Answer the one question that the options ask. Returns and raises as run_facts."""
    if options.schema:
        return show_schema(names)
    content = read_content(paths)
    if options.timing:
        return show_timing(content, names, options.as_json)
    if options.inventory:
        return show_inventory(content, names)
    dialect = options.dialect or dialect_in_use(paths)
    view = open_view(paths, dialect, options.sets or ())
    if options.explain:
        return show_explanations(view, content, [*options.explain, *names], dialect, options.as_json)
    if options.diff:
        return show_diff(paths, view, names, options.as_json)
    built = view.build()
    facts: dict[str, Json] = {**flat_facts(built)} if dialect == RAZOR.name else built
    return show_facts(facts, content, names, options.as_json)


def read_content(paths: Paths) -> FactsFile:
    """Read the whole facts.json. Raises NotReady when there is none that can be used, Denied."""
    try:
        paths.facts.open("rb").close()
    except FileNotFoundError:
        raise NotReady(f"{paths.facts}: no facts yet (systemctl start mk-facts.service)") from None
    except PermissionError:
        raise Denied(f"{paths.facts}: permission denied; run as root or as a member of group mkctl") from None
    except OSError as error:
        raise NotReady(f"{paths.facts}: {error.strerror}") from None
    content, problem = read_facts_file(paths.facts)
    if problem:
        raise NotReady(problem)
    return content


def open_view(paths: Paths, dialect: str, sets: Sequence[str]) -> FactsView:
    """What would be sent in this dialect; `sets` count instead of the configured ones. What of the configuration cannot
    be used is said on standard error."""
    loaded = load_as_service(paths)
    effective = loaded.effective(dialect)
    problems = config_error(loaded, effective)
    if problems:
        print(f"mkctl: not used: {problems}", file=sys.stderr)
    view = FactsView(paths, read_cmdline(paths.proc), lambda: 0.0)
    view.configure(effective.config, sets)
    view.refresh()
    with contextlib.suppress(MkError):  # of a controller that does not run, nobody knows the server
        view.server_source = read_status(paths).server_source
    return view


def show_facts(facts: dict[str, Json], content: FactsFile, names: Sequence[str], as_json: bool) -> int:
    """Print all facts or those named; a name that is not sent is looked for in what was collected."""
    collected: dict[str, Json] = {**content.structured, INVENTORY: {**content.inventory}}
    found, missing = choose(names, [facts, collected, content.inventory]) if names else (facts, [])
    if as_json:
        print(json.dumps(found, indent=1, sort_keys=True, ensure_ascii=False))
    else:
        for name, value in found.items():
            print(f"{name} = {text_of(value)}")
    if not facts:
        print("mkctl: no facts would be sent: see facts.sets and facts.exclude (mkctl config)", file=sys.stderr)
    unsent = [name for name in missing if name in content.facts]
    if unsent:
        raise NotReady(f"not sent: {', '.join(unsent)} (mkctl facts --explain {unsent[0]})")
    return ended(missing)


def show_schema(names: Sequence[str]) -> int:
    """Print the inventory's schema, or parts of it: sections by their own name."""
    from mkctl.probe.schema import build_schema

    schema = build_schema()
    sections = schema["properties"]
    assert isinstance(sections, dict)
    return show_tree([schema, sections], names, "nothing in the schema has the name")


def show_inventory(content: FactsFile, names: Sequence[str]) -> int:
    """Print the inventory document, or values in it, also by the names that `--diff` gives them."""
    tree: dict[str, Json] = {**content.inventory}
    return show_tree([tree, {INVENTORY: tree}], names, "nothing in the inventory has the name")


def show_tree(trees: Sequence[dict[str, Json]], names: Sequence[str], none: str) -> int:
    """Print a document, the first tree, as JSON, or values that one of the trees has."""
    found, missing = choose(names, trees) if names else (trees[0], [])
    print(json.dumps(found, indent=1, ensure_ascii=False))
    return ended(missing, none)


def choose(names: Iterable[str], trees: Sequence[dict[str, Json]]) -> tuple[dict[str, Json], list[str]]:
    """Return the values of all names, and the names that are none."""
    found: dict[str, Json] = {}
    missing: list[str] = []
    for name in names:
        values = find_values(name, trees)
        found.update(values)
        missing += [] if values else [name]
    return found, missing


def ended(missing: list[str], none: str = "no fact of the name") -> int:
    """Return 0; raises NotReady when a name was none."""
    if missing:
        raise NotReady(f"{none} {', '.join(missing)}")
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
        return ended(missing, NO_COLLECTOR)
    width = max([len("COLLECTOR"), *map(len, found)])
    print(f"{'COLLECTOR':{width}}  {'STATUS':9}  {'MS':>6}  {'FACTS':>5}  {'STRUCTURED':>10}  {'INVENTORY':>9}")
    for name in found:
        state = content.collectors[name]
        print(
            f"{name:{width}}  {state.status.value:9}  {state.duration_ms:6}  {len(state.facts):5}"
            f"  {len(state.structured):10}  {len(state.inventory):9}"
        )
        for problem in state.error.split("; ") if state.error else ():
            print(f"  {problem}")
    if content.boottime_usec and not names:
        age_s = (boottime_usec() - content.boottime_usec) / 1e6
        print(f"collection {content.generation} of this boot, {duration(age_s)} ago")
    return ended(missing, NO_COLLECTOR)


def show_diff(paths: Paths, view: FactsView, names: Sequence[str], as_json: bool) -> int:
    """Print what changed since the last registration."""
    from mkctl.cli.factsdiff import find_changes, read_registered, show_changes

    server, before = read_registered(paths)
    changes = find_changes(view, before, view.build())
    if names:
        wanted, _ = choose(names, [{each.name: None for each in changes}])
        changes = [each for each in changes if each.name in wanted or each.name.split(".")[0] in names]
    show_changes(changes, server, as_json, bool(names))
    return 0


def show_explanations(view: FactsView, content: FactsFile, names: Sequence[str], dialect: str, as_json: bool) -> int:
    """Print where facts come from."""
    from mkctl.cli.explain import explain

    explained = {name: explain(name, view, content, dialect) for name in names}
    found = [each for explanations in explained.values() for each in explanations]
    missing = [name for name, explanations in explained.items() if not explanations]
    if as_json:
        print(json.dumps(found, indent=1, ensure_ascii=False))
        return ended(missing)
    for each in found:
        value = "" if each["value"] is None else f" = {text_of(each['value'])}"
        print(f"{each['name']}{value if len(value) <= 200 else value[:199] + '…'}")
        for key in ("set", "source", "parser", "protocol", "collector", "sent", "change"):
            if key in each:
                print(f"  {key + ':':11}{each[key]}")
    return ended(missing)


def text_of(value: Json) -> str:
    """A fact's value on one line: strings without what a terminal would obey, everything else as JSON."""
    return one_line(value) if isinstance(value, str) else json.dumps(value, ensure_ascii=False)
