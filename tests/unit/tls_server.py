"""Certificates made by openssl, and a real TLS server on loopback that shows them."""

from __future__ import annotations

import contextlib
import socket
import ssl
import subprocess
import threading
from pathlib import Path

from tests.fakes import json_answer

OPENSSL = "/usr/bin/openssl"
DAYS_AGO = "20200101000000Z"
AHEAD = "20900101000000Z"
_SECTIONS = """
[req]
distinguished_name = name
prompt = no
[name]
CN = {subject}
[ca]
default_ca = one
[one]
database = {folder}/index
new_certs_dir = {folder}
serial = {folder}/serial
default_md = sha256
policy = any
unique_subject = no
copy_extensions = copy
[any]
commonName = supplied
[root]
basicConstraints = critical, CA:true
subjectKeyIdentifier = hash
keyUsage = critical, keyCertSign, cRLSign
[leaf]
basicConstraints = CA:false
subjectAltName = {names}
"""


class Authority:
    """A CA with a root and an intermediate, in a folder of its own; `root` is its certificate."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        folder.mkdir()
        self.root = folder / "root.pem"
        self._step("root", "Root", "root", "")
        self._step("issuer", "Issuer", "root", "root")

    def issue(
        self, name: str, names: str = "IP:127.0.0.1", since: str = DAYS_AGO, until: str = AHEAD
    ) -> tuple[Path, Path]:
        """Make a certificate with its chain, and its key; the names are as in subjectAltName."""
        self._step(name, name, "leaf", "issuer", names, since, until)
        chain = self.folder / f"{name}-chain.pem"
        chain.write_text((self.folder / f"{name}.pem").read_text() + (self.folder / "issuer.pem").read_text())
        return chain, self.folder / f"{name}.key"

    def _step(
        self,
        name: str,
        subject: str,
        section: str,
        issuer: str,
        names: str = "DNS:none",
        since: str = DAYS_AGO,
        until: str = AHEAD,
    ) -> None:
        folder = self.folder
        config, request, made = folder / f"{name}.cnf", folder / f"{name}.csr", folder / f"{name}.pem"
        config.write_text(_SECTIONS.format(subject=subject, folder=folder, names=names))
        (folder / "index").touch()
        if not (folder / "serial").exists():
            (folder / "serial").write_text("1000\n")
        key = folder / f"{name}.key"
        made_key = ("-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes", "-keyout", str(key))
        run("req", "-new", *made_key, "-config", str(config), "-out", str(request))
        own = ("-selfsign", "-keyfile", str(key)) if not issuer else ()
        by = ("-cert", str(folder / f"{issuer}.pem"), "-keyfile", str(folder / f"{issuer}.key")) if issuer else ()
        files = ("-config", str(config), "-in", str(request), "-out", str(made))
        dates = ("-startdate", since, "-enddate", until)
        run("ca", "-batch", "-notext", *files, *own, *by, *dates, "-extensions", section)


def run(*arguments: str) -> str:
    """Run openssl and return what it prints."""
    done = subprocess.run([OPENSSL, *arguments], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout


class TlsServer:
    """Answers each request with 200 and `{}`; `requests` are those that came through. `client_ca`: who must vouch for
    clients; `date`: what time it says, "" for none. Whoever is refused is heard out before the connection ends, so that
    the alert arrives."""

    def __init__(
        self,
        chain: Path,
        key: Path,
        client_ca: Path | None = None,
        body: bytes = b"{}",
        date: str = "",
        address: str = "127.0.0.1",
    ) -> None:
        self.requests: list[bytes] = []
        self.date, self._body = date, body
        self.show(chain, key, client_ca)
        self._socket = socket.create_server((address, 0))
        self.port = int(self._socket.getsockname()[1])
        self.uri = f"https://{address}:{self.port}"
        self._thread = threading.Thread(target=self._serve, daemon=True)

    def show(self, chain: Path, key: Path, client_ca: Path | None = None) -> None:
        """Be the one of this certificate from the next connection on."""
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(chain, key)
        if client_ca is not None:
            context.verify_mode = ssl.CERT_REQUIRED
            context.load_verify_locations(client_ca)
        self._context = context

    def __enter__(self) -> TlsServer:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._socket.shutdown(socket.SHUT_RDWR)
        self._thread.join(60)
        self._socket.close()

    def _serve(self) -> None:
        while True:
            try:
                plain, _ = self._socket.accept()
            except OSError:
                return
            plain.settimeout(60)
            with contextlib.suppress(OSError):  # who refuses this server ends the connection as he likes
                self._talk(plain)

    def _talk(self, plain: socket.socket) -> None:
        incoming, outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
        tls = self._context.wrap_bio(incoming, outgoing, server_side=True)
        greeted, received = False, b""
        with plain:
            while True:
                try:
                    if not greeted:
                        tls.do_handshake()
                        greeted = True
                    received += tls.read(65536)
                    if b"\r\n\r\n" in received:
                        self.requests.append(received)
                        tls.write(json_answer(self._body, headers=[f"Date: {self.date}"] if self.date else []))
                        plain.sendall(outgoing.read())
                        return
                except ssl.SSLWantReadError:
                    pass
                except ssl.SSLError:
                    plain.sendall(outgoing.read())
                    plain.shutdown(socket.SHUT_WR)
                    while plain.recv(65536):  # a reset would take the alert with it
                        pass
                    return
                plain.sendall(outgoing.read())
                data = plain.recv(65536)
                if not data:
                    return
                incoming.write(data)
