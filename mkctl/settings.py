"""Loading the configuration so that there always is one: the pushed one, the one before it, or the site's alone.

A configuration never ends mkctl (protocol B56). What cannot be used is said in one line, which the bus shows as
ConfigError and the journal as an event, and the next best is taken; the node goes on checking in, and so can be given
a better one.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from mkcore import config
from mkcore.config import Effective, Site, Source
from mkcore.errors import BadInput
from mkcore.files import read_object
from mkcore.jsonfields import Json
from mkcore.keys import BY_NAME, parse_value
from mkcore.paths import Paths
from mkcore.trust import Trust
from mkctl.candidate import Configured
from mkctl.cmdline import Token, last_value
from mkctl.plan import Settings

PUSHED_LIMIT_BYTES = 8 << 20


@dataclass(frozen=True)
class Loaded:
    """What was read: the site's configuration, the pushed map in use ({} for none), and why another is not in use
    ("")."""

    site: Site
    pushed: Mapping[str, Json]
    fallback: str = ""

    def effective(self, dialect: str = "") -> Effective:
        """The values in use with a dialect's defaults below them; "" while no dialect is known."""
        return config.effective(self.site, self.pushed, config.DIALECT_DEFAULTS.get(dialect, {}))


def load(paths: Paths) -> Loaded:
    """Read site and pushed configuration; never raises."""
    site = config.read_site(paths)
    pushed, problem = _read_pushed(paths.pushed)
    if not problem:
        return Loaded(site, pushed)
    previous, other = _read_pushed(paths.pushed_previous)
    if other or not paths.pushed_previous.exists():
        rest = f"; {other}" if other else ""
        return Loaded(site, {}, f"{problem}{rest}; the site's configuration alone is in use")
    return Loaded(site, previous, f"{problem}; the configuration pushed before it is in use")


def _read_pushed(path: Path) -> tuple[dict[str, Json], str]:
    try:
        return read_object(path, PUSHED_LIMIT_BYTES), ""
    except FileNotFoundError:
        return {}, ""
    except BadInput as error:
        return {}, str(error)
    except OSError as error:
        return {}, f"{path}: {error.strerror}"


def config_error(loaded: Loaded, effective: Effective) -> str:
    """ConfigError: everything that could not be used, one line; "" when all of it is."""
    return "; ".join(part for part in (loaded.fallback, *effective.problems) if part)


def server_sources(loaded: Loaded) -> tuple[str, str, Configured]:
    """What the configuration says of the server, as `mkctl.discovery.discover` takes it: (pushed, credential,
    configured)."""
    effective = loaded.effective()
    values, site = effective.config, loaded.site
    uri = str(site.values.get("server.uri", ""))
    by_credential = site.sources.get("server.uri") is Source.CREDENTIAL
    pushed = values.server_uri if effective.origins["server.uri"] == config.ORIGIN_PUSH else ""
    configured = Configured(
        uri="" if by_credential else uri,
        source=site.origins.get("server.uri", ""),
        checkin_path=values.server_checkin_path,
        register_path=values.server_register_path,
        dialect=values.server_dialect,
        shipped=site.sources.get("server.uri") is Source.SHIPPED,
    )
    return pushed, uri if by_credential else "", configured


def server_trust(loaded: Loaded, paths: Paths, tokens: Sequence[Token]) -> Trust:
    """By what an https:// server is known and what is shown to it: kernel line (`mk.fingerprint=`), credentials,
    configuration.

    What was refused, and a fingerprint that is empty, makes the whole unusable.
    """
    site = loaded.site.values
    fingerprint = str(site.get("server.fingerprint", ""))
    unusable = loaded.site.unusable.get("server.fingerprint", "")
    if any(token.name == "mk.fingerprint" for token in tokens):
        fingerprint, unusable = _pinned(last_value(tokens, "mk.fingerprint"))

    def file(credential: str, key: str) -> str:
        """Return the path of a credential that there is, else what the configuration names, "" for neither."""
        path = paths.credentials / credential
        return str(path) if paths.credentials != Path() and path.exists() else str(site.get(key, ""))

    by_credential = paths.credentials != Path() and (paths.credentials / "mk.ca").exists()
    if not fingerprint and not by_credential:  # which count more than a file's CA
        unusable = unusable or loaded.site.unusable.get("server.ca", "")
    return Trust(
        ca=file("mk.ca", "server.ca"),
        fingerprint=fingerprint,
        certificate=file("mk.certificate", "server.client_certificate"),
        key=file("mk.key", "server.client_key"),
        unusable=unusable,
    )


def _pinned(text: str) -> tuple[str, str]:
    """Return (fingerprint, "") of what the kernel line says, or ("", why it is none)."""
    if not text.strip():
        return "", "kernel line: mk.fingerprint= is empty"
    try:
        return str(parse_value(BY_NAME["server.fingerprint"], text)), ""
    except BadInput as error:
        return "", f"kernel line: mk.fingerprint=: {error}"


def without_effect(trust: Trust, uri: str) -> str:
    """Say what of the site's trust counts for nothing with this server, "" where all of it does."""
    said = [
        ("a CA", trust.ca),
        ("a fingerprint", trust.fingerprint),
        ("a CA or fingerprint that cannot be used", trust.unusable),
        ("a client certificate", trust.certificate or trust.key),
    ]
    named = " and ".join(name for name, value in said if value)
    if named and uri.startswith("http://"):
        return f"{uri}: {named} of the site counts for https:// alone: this server is not verified"
    if trust.key and not trust.certificate and uri.startswith("https://"):
        return f"{uri}: a client key without its certificate (server.client_certificate) is not shown to the server"
    return ""


def decision_settings(effective: Effective) -> Settings:
    """The values that decisions depend on."""
    values = effective.config
    return Settings(
        interval_s=float(values.checkin_interval_s),
        retry_ceiling_s=float(values.checkin_retry_ceiling_s),
        facts_max_age_s=float(values.facts_max_age_s),
        allow_power_orders=values.actions_allow_power_orders,
    )
