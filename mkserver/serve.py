"""`mkserver run`: sockets, database, application, and a thread that notices silence."""

from __future__ import annotations

import logging
import threading
from dataclasses import replace

from mkcore import files, wsgi
from mkcore.errors import BadConfig, NotReady, Unreachable

from .app import build_app, build_services
from .auth import has_password, is_loopback
from .registry import Registry
from .settings import Settings

_LOG = logging.getLogger(__name__)
_SWEEP_S = 5.0
_HUNG_S = 60.0
_SLOW_S = 60.0
_THREADS = 8
_CONNECTIONS = 900  # nodes that download an image hold theirs for minutes, those that check in must not wait for them
_ROOM_BYTES = 16 << 20
"""Bodies up to this size are read in order to be refused in the dialect's own envelope; the limit proper is smaller."""


def parse_listen(text: str) -> tuple[str, int]:
    """Read HOST:PORT, [IPv6]:PORT or a bare port of 127.0.0.1. Raises BadConfig."""
    host, _, port = text.rpartition(":")
    if not port.isdecimal() or int(port) > 65535:
        raise BadConfig(f"--listen {text}: HOST:PORT is needed, e.g. 127.0.0.1:8026")
    return host.strip("[]") or "127.0.0.1", int(port)


def check_exposure(settings: Settings) -> None:
    """Refuse to listen beyond this machine without a password. Raises BadConfig."""
    if not is_loopback(settings.host) and not has_password(settings.data):
        raise BadConfig(
            f"will not listen on {settings.host}:{settings.port} without a password: run `mkserver password` first, "
            "or listen on 127.0.0.1"
        )


def check_image(settings: Settings) -> None:
    """Refuse half an image, and files and folders that are not there. Raises BadConfig."""
    if (settings.kernel is None) != (settings.initrd is None):
        raise BadConfig("--kernel and --initrd belong together: give both or none")
    if settings.mirror is not None and not settings.mirror.is_dir():
        raise BadConfig(f"{settings.mirror}: no such folder")
    for path in (settings.kernel, settings.initrd):
        if path is not None and not path.is_file():
            raise BadConfig(f"{path}: no such file")


def place_image(settings: Settings) -> Settings:
    """Without files named on the command line the data directory's image and mirror are served, once somebody puts them
    there."""
    if settings.mirror is None:
        settings = replace(settings, mirror=settings.data / "mirror")
    if settings.kernel is not None:
        return settings
    return replace(settings, kernel=settings.data / "image/vmlinuz", initrd=settings.data / "image/initrd")


def _sweep(registry: Registry, stop: threading.Event) -> None:
    """Notice nodes that fell silent, until told to stop; a database that does not answer is tried again."""
    while not stop.wait(_SWEEP_S):
        _sweep_once(registry)


def _sweep_once(registry: Registry) -> None:
    try:
        registry.sweep()
    except NotReady as error:
        _LOG.warning("cannot write node states: %s; trying again in %d s", error, _SWEEP_S)


def run(settings: Settings) -> None:
    """Serve until SIGTERM. Raises BadConfig, NotReady, and Unreachable when the address is taken."""
    files.make_dir(settings.data, 0o750)
    check_exposure(settings)
    check_image(settings)
    try:
        sockets = [wsgi.bind(settings.host, settings.port)]
    except OSError as error:
        raise Unreachable(f"cannot listen on {settings.host}:{settings.port}: {error.strerror or error}") from error
    parts = build_services(place_image(settings))
    stop = threading.Event()
    sweeper = threading.Thread(target=_sweep, args=(parts.registry, stop), name="sweep", daemon=True)
    sweeper.start()
    where = f"http://{settings.host if ':' not in settings.host else f'[{settings.host}]'}:{settings.port}"
    _LOG.info("serving on %s", where)
    try:
        wsgi.serve(
            build_app(parts),
            sockets,
            hung_s=_HUNG_S,
            slow_s=_SLOW_S,
            limit_bytes=_ROOM_BYTES,
            status=lambda: f"Serving nodes and people on {where}",
            threads=_THREADS,
            connections=_CONNECTIONS,
        )
    finally:
        stop.set()
        sweeper.join(_SWEEP_S)
        parts.registry.database.close()
