"""A stock web server for files: nginx with a configuration of a few lines, in the network of test machines.

Source: nginx's documentation of ngx_http_core_module and ngx_http_log_module.
"""

from __future__ import annotations

import shutil
import subprocess
import time
from collections.abc import Sequence
from pathlib import Path

BUILD = Path(__file__).resolve().parent.parent.parent / "build"
_PLACES = ("/usr/sbin/nginx", str(BUILD / "tools/nginx/usr/sbin/nginx"))
_CONFIG = """\
# Not nobody, as nginx has it: a clone may lie in a folder that is closed to others.
user root;
worker_processes 1;
daemon off;
pid {folder}/pid;
error_log {folder}/error.log;
events {{}}
http {{
    access_log {folder}/access.log;
    client_body_temp_path {folder}/body;
    proxy_temp_path {folder}/proxy;
    fastcgi_temp_path {folder}/fastcgi;
    uwsgi_temp_path {folder}/uwsgi;
    scgi_temp_path {folder}/scgi;
    server {{
        listen {address}:{port};
        root {root};
    }}
}}
"""


def find_nginx() -> str:
    """Return the program. Fails with the way to get it where there is none."""
    found = shutil.which("nginx") or next((place for place in _PLACES if Path(place).exists()), None)
    assert found, "nginx is not installed: run packaging/setup test"
    return found


class Nginx:
    """A running nginx that hands out the folder ``root``; leaving its `with` block ends it."""

    def __init__(self, root: Path, folder: Path, address: str, port: int, prefix: Sequence[str] = ()) -> None:
        """Prepare it with its own files in ``folder`` (made anew); ``prefix`` is a command that runs it."""
        shutil.rmtree(folder, ignore_errors=True)
        folder.mkdir(parents=True)
        self._folder, self.uri = folder, f"http://{address}:{port}"
        config = folder / "nginx.conf"
        config.write_text(_CONFIG.format(folder=folder, root=root, address=address, port=port), encoding="utf-8")
        self._argv = [*prefix, find_nginx(), "-e", str(folder / "error.log"), "-c", str(config)]

    def __enter__(self) -> Nginx:
        with (self._folder / "log").open("wb") as log:
            self._process = subprocess.Popen(self._argv, stdin=subprocess.DEVNULL, stdout=log, stderr=log)
        deadline = time.monotonic() + 20
        while not (self._folder / "pid").exists():  # written when its sockets are open
            if self._process.poll() is not None or time.monotonic() > deadline:
                said = [(self._folder / name).read_text() for name in ("log", "error.log")]
                raise RuntimeError(f"nginx did not start: {' '.join(said)}")
            time.sleep(0.02)
        return self

    def __exit__(self, *_: object) -> None:
        if self._process.poll() is None:
            self._process.terminate()
            self._process.wait(10)

    def asked(self) -> str:
        """Return its access log."""
        return (self._folder / "access.log").read_text(encoding="utf-8")
