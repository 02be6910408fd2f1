"""The shapes that are damaged for mkmirror's parsers: what mirrors offer, and what its programs tell each other."""

from __future__ import annotations

import struct
import uuid

_SQUASHFS = struct.Struct("<4sIIIIHHHHHHQQQQ")
SQUASHFS = _SQUASHFS.pack(b"hsqs", 5, 0, 131072, 0, 1, 17, 0, 1, 4, 0, 0, 4096, 0, 2**64 - 1) + bytes(48)
EROFS = bytes(1024) + b"\xe2\xe1\xf5\xe0" + bytes(8) + b"\x0c\0" + bytes(2) + struct.pack("<Q", 9) + bytes(92)
GPT = (
    bytes(512)
    + struct.pack("<8sIIIIQQQQ16sQIII", b"EFI PART", 65536, 92, 0, 0, 1, 99, 6, 90, bytes(16), 2, 2, 128, 0)
    + bytes(420)
    + uuid.UUID("4f68bce3-e8cd-4db1-96e7-fbcaf984b709").bytes_le
    + bytes(16)
    + struct.pack("<QQ", 6, 40)
    + bytes(80)
    + uuid.UUID("2c7357ed-ebd2-46d9-aec1-23d437ec2bf5").bytes_le
    + bytes(16)
    + struct.pack("<QQ", 41, 50)
    + bytes(80)
)
POSTINST = (
    b"#!/bin/sh\nset -e\n# Automatically added by dh_installsystemd/13\n"
    b"deb-systemd-helper enable 'a.service' >/dev/null || true\n# End automatically added section\necho own\n",
    b"#!/bin/sh\n# Automatically added by update-rc.d\n# End automatically added section\n",
)
METADATA = (
    b"Metadata-Version: 2.1\nName: foo\nVersion: 1.0\nRequires-Python: >=3.9\n"
    b'Requires-Dist: bar[x] >=2 ; python_version < "3.12" and os_name != "nt" or extra == "y"\nRequires-Dist: baz @ https://x.example/y.whl\n\ntext\n',
)
GPGV = (
    b"[GNUPG:] NEWSIG\n[GNUPG:] GOODSIG 0123456789ABCDEF A <a@mk.example>\n"
    b"[GNUPG:] VALIDSIG 0123 2026-01-01 1767225600 0 4 0 1 10 00 0123456789ABCDEF\n",
    b"[GNUPG:] NEWSIG\n[GNUPG:] ERRSIG 0123456789ABCDEF 1 10 00 1767225600 9\n[GNUPG:] NO_PUBKEY 0123456789ABCDEF\n",
    b"[GNUPG:] BADSIG 0123456789ABCDEF A\n[GNUPG:] NODATA 4\n",
)
REQUESTS = b'{"version":1,"install":["a.raw"],"packages":["foo >=1"],"remove":["old.tcz"]}'
INSTALLED = (
    b'{"version":1,"extensions":{"a.raw":{"kind":"sysext","by":"push","mirror":"http://m.example","sha256":"","size_bytes":1,'
    b'"needs":["b.tcz"],"units":["x.service"],"signed_by":"","installed_usec":5}},"packages":{"foo":{"version":"1.0",'
    b'"file":"foo-1.0-py3-none-any.whl","by":"site"}},"modules":{"vmci":{"by":"push","state":"kept","reason":"x"}},'
    b'"refused":{"x":{"by":"push","reason":"y","at_usec":7}},"signed":{"http://m.example/x":1767225600}}'
)
STAGED = (
    b'{"version":1,"folders":{"0":{"mirror":"http://m.example/tinycorelinux","path":"15.x/x86_64/tcz","builtin":false}},'
    b'"requests":[{"name":"a.tcz","by":"push","items":[{"kind":"tcz","name":"a.tcz","folder":"0","sha256":"","md5":"",'
    b'"size_bytes":123,"needs":["x.tcz"]}]}],"modules":[{"by":"push","entries":["drivers/misc/vmci.ko"],"list":"x"}],'
    b'"refused":[{"name":"x.tcz","by":"push","reason":"y"}]}'
)
