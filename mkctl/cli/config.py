"""`mkctl config`: the values in effect, where each comes from, and what of a push has no effect."""

from __future__ import annotations

import json
from pathlib import Path

from mkcore import config
from mkcore.config import Effective
from mkcore.jsonfields import Json
from mkcore.keys import PUSH, Value
from mkcore.paths import Paths
from mkctl.cli.status import dialect_in_use
from mkctl.settings import Loaded, load

SERVICE_CREDENTIALS = Path("/run/credentials/mkctl.service")
"""Where systemd keeps what it gave to mkctl.service, readable by root; absent while there is none."""


def load_as_service(paths: Paths) -> Loaded:
    """Load what the service uses: systemd passed the credentials to it, not to this command."""
    return load(paths._replace(credentials=SERVICE_CREDENTIALS) if paths.credentials == Path() else paths)


def show_config(paths: Paths, origin: bool, as_json: bool) -> int:
    """Print the effective configuration as TOML keys, or as JSON. Returns 0; what cannot be used is part of the
    output."""
    loaded = load_as_service(paths)
    effective = loaded.effective(dialect_in_use(paths))
    problems = [each for each in (loaded.fallback, *effective.problems) if each]
    ignored = ignored_keys(effective)
    if as_json:
        print(json.dumps(document(effective, ignored, problems), indent=1, sort_keys=True, ensure_ascii=False))
        return 0
    width = max(len(key.name) for key in config.KEYS)
    for key in config.KEYS:
        text = f"{key.name:{width}} = {toml_value(effective.config.value(key.name))}"
        print(f"{text}  # {effective.origins[key.name]}" if origin else text)
    for name, why in sorted(ignored.items()):
        print(f"# pushed {name} = {json.dumps(effective.pushed[name], ensure_ascii=False)}: {why}")
    for problem in problems:
        print(f"# not used: {problem}")
    return 0


def document(effective: Effective, ignored: dict[str, str], problems: list[str]) -> dict[str, Json]:
    """The whole configuration as one JSON document."""
    values: dict[str, Json] = {}
    origins: dict[str, Json] = {}
    for key in config.KEYS:
        value = effective.config.value(key.name)
        values[key.name] = list(value) if isinstance(value, tuple) else value
        origins[key.name] = effective.origins[key.name]
    return {
        "values": values,
        "origins": origins,
        "pushed": dict(effective.pushed),
        "pushed_without_effect": dict(ignored),
        "digest": effective.digest,
        "problems": list(problems),
    }


def ignored_keys(effective: Effective) -> dict[str, str]:
    """Pushed keys that set nothing here, with the reason."""
    found: dict[str, str] = {}
    for name in effective.pushed:
        pushable = PUSH.get(name)
        if pushable is None:
            found[name] = "stored, means nothing to this version"
        elif pushable.protected and name not in effective.config.apply_allow_push:
            found[name] = "protected, stored without effect (apply.allow_push)"
    return found


def toml_value(value: Value) -> str:
    """A value as TOML writes it (JSON's strings, booleans and lists of strings are TOML's)."""
    return json.dumps(list(value) if isinstance(value, tuple) else value, ensure_ascii=False)
