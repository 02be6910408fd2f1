"""`mkctl facts --explain NAME`: where a fact comes from, whether it is sent, and whether its change counts."""

from __future__ import annotations

from collections.abc import Mapping

from mkcore.jsonfields import Json
from mkctl.cli.lookup import find_values
from mkctl.dialects.razor import RAZOR, flat_facts
from mkctl.factsview import FactsView
from mkctl.probe.model import FactsFile
from mkctl.probe.origins import CUSTOM, FLAT, INVENTORY, STRUCTURED, Origin, find_origin
from mkctl.registration import INVENTORY as INVENTORY_FACT
from mkctl.registration import set_of

Explanation = dict[str, Json]


def explain(name: str, view: FactsView, content: FactsFile, dialect: str) -> list[Explanation]:
    """Return an explanation for each thing that has the name: a fact, a structured fact, a part of the inventory; of a
    pattern, for each fact that it matches.

    `content` is the whole facts.json. There is none for a name that is neither collected nor known.
    """
    sent = view.build()
    flat = {**content.facts, **{key: value for key, value in sent.items() if key not in content.structured}}
    flat.pop(INVENTORY_FACT, None)
    found: list[Explanation] = []
    for key, value in find_values(name, [flat]).items():
        top = _top(key, flat)
        custom = top in content.custom_names
        origin = [CUSTOM] if custom else find_origin(top, FLAT)
        kind = "custom" if custom else set_of(top)
        found.append(_explanation(key, value, origin, kind) | _collector(content, top, "facts"))
    found += _inside(name, content, "structured", STRUCTURED)
    found += _inside(name.removeprefix(f"{INVENTORY_FACT}."), content, "inventory", INVENTORY)
    if name == INVENTORY_FACT:
        found.append(_explanation(name, {**content.inventory} or None, find_origin(name, FLAT), "inventory"))
    if not found:
        known = [] if set(name) & set("*?[") else find_origin(name, FLAT)
        if not known:
            return []
        none: Explanation = {"collector": "none: this machine has no such fact"}
        found.append(_explanation(name, None, known, set_of(name)) | none)
    return [each | _fate(each, view, sent, dialect) for each in found]


def _inside(name: str, content: FactsFile, kind: str, table: tuple[Origin, ...]) -> list[Explanation]:
    """Explain a value of the structured facts or of the inventory by its first step."""
    tree = content.structured if kind == "structured" else content.inventory
    values = find_values(name, [tree])
    if not values:
        return []
    top = _top(name, tree)
    value: Json = next(iter(values.values())) if len(values) == 1 else f"{len(values)} values"
    return [_explanation(name, value, find_origin(top, table), kind) | _collector(content, top, kind)]


def _top(name: str, tree: Mapping[str, Json]) -> str:
    """The key of the tree in which the value of this name lies."""
    return next((key for key in tree if name == key or name.startswith(f"{key}.")), name)


def _explanation(name: str, value: Json, origin: list[Origin], kind: str) -> Explanation:
    known = origin[0] if origin else Origin("", "unknown", "unknown", "unknown")
    path = known.module if "." in known.module else f"mkctl.probe.{known.module}"
    parser = f"{path.replace('.', '/')}.py"
    return {
        "name": name,
        "value": value,
        "set": kind,
        "source": known.source,
        "parser": parser,
        "protocol": known.section,
    }


def _collector(content: FactsFile, name: str, part: str) -> Explanation:
    """Which collectors brought it; "mkctl" for what is made when it is sent (fresh addresses, *_eth0)."""
    brought = [key for key, state in content.collectors.items() if name in getattr(state, part)]
    states = [content.collectors[key] for key in brought]
    told = [f"{key} ({each.status.value}, {each.duration_ms} ms)" for key, each in zip(brought, states)]
    return {"collector": ", ".join(told) or "mkctl, when it registers"}


def _fate(each: Explanation, view: FactsView, sent: dict[str, Json], dialect: str) -> Explanation:
    name, kind = str(each["name"]), str(each["set"])
    top = INVENTORY_FACT if kind == "inventory" else _top(name, sent)
    if kind not in view.sets:
        return {"sent": f"no: the set {kind} is not in facts.sets"}
    if top not in sent:
        excluded = view.is_excluded(top) or view.is_excluded(top.split(".")[0])
        return {"sent": "no: facts.exclude matches its name" if excluded else "no: nothing was collected"}
    path = f"{INVENTORY_FACT}.{name}" if kind == "inventory" and name != INVENTORY_FACT else name
    volatile = not find_values(path, [view.steady(sent)])
    flat = dialect != RAZOR.name or flat_facts({top: sent[top]})
    fate = "yes" if flat else "no: Razor's protocol knows texts alone"
    return {"sent": fate, "change": "no reason to register again" if volatile else "makes the node register again"}
