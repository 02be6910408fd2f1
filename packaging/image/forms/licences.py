"""Debian's copyright files as SPDX licence expressions.

Most are machine-readable: paragraphs that name a licence for some files, in Debian's short names. Those that SPDX has,
too, become its identifiers; any other becomes a reference with the text that the file has for it, so that nothing is
lost and nothing is guessed. A file in free form is one such reference as a whole.

Source: Debian's copyright-format 1.0; SPDX 2.3, annex D (expressions) and section 10 (other licences).
"""

from __future__ import annotations

import hashlib
import re
from dataclasses import dataclass, field

NONE = "NOASSERTION"

_SAME = """
0BSD AFL-2.0 AFL-2.1 Apache-2.0 Beerware BSD-2-Clause BSD-3-Clause BSD-4-Clause BSD-4-Clause-UC BSL-1.0 bzip2-1.0.6
CC-BY-3.0 CC-BY-4.0 CC-BY-SA-3.0 CC-BY-SA-4.0 CC0-1.0 curl FSFAP FSFUL FSFULLR HPND ISC MIT MIT-0 MPL-1.1 MPL-2.0 NCSA
OFL-1.1 PostgreSQL PSF-2.0 Python-2.0 Ruby Sleepycat Unicode-DFS-2016 Unlicense WTFPL X11 Zlib ZPL-2.1
"""
_KNOWN = {name.lower(): name for name in _SAME.split()} | {
    "apache-2": "Apache-2.0",
    "artistic": "Artistic-1.0-Perl",
    "cc0": "CC0-1.0",
    "expat": "MIT",
    "gpl-2 with linux-syscall-note exception": "GPL-2.0-only WITH Linux-syscall-note",
    "gpl-2+ with bison exception": "GPL-2.0-or-later WITH Bison-exception-2.2",
    "gpl-3+ with bison exception": "GPL-3.0-or-later WITH Bison-exception-2.2",
    "gpl-3+-with-bison-exception": "GPL-3.0-or-later WITH Bison-exception-2.2",
    "apache-2.0 with llvm exception": "Apache-2.0 WITH LLVM-exception",
    "gfdl-niv-1.3": "GFDL-1.3-no-invariants-only",
    "gfdl-niv-1.3+": "GFDL-1.3-no-invariants-or-later",
    "gfdl-1.3+-no-invariant": "GFDL-1.3-no-invariants-or-later",
    "mit/x11": "MIT",
    "mpl-2": "MPL-2.0",
    "psf-2": "PSF-2.0",
}
_GNU_VERSIONS = {"GPL": ("1.0", "2.0", "3.0"), "LGPL": ("2.0", "2.1", "3.0"), "AGPL": ("3.0",)}
_GNU = re.compile(r"(A?GPL|LGPL)-?v?(\d)(?:\.(\d))?(?:\.0)?(\+|-or-later|-only)?", re.IGNORECASE)
_SPLITTERS = ((r",\s+and\s+", "AND"), (r",\s+or\s+|,\s+", "OR"), (r"\s+or\s+", "OR"), (r"\s+and\s+", "AND"))


@dataclass
class Licences:
    """What a copyright file says: an expression, and the text behind each reference in it."""

    expression: str
    texts: dict[str, str] = field(default_factory=dict[str, str])


def find_identifier(name: str) -> str:
    """Return SPDX's identifier for one of Debian's short names, or "".

    Example: "GPL-2+" -> "GPL-2.0-or-later".
    """
    gnu = _GNU.fullmatch(name)
    if gnu:
        family, version = gnu[1].upper(), f"{gnu[2]}.{gnu[3] or '0'}"
        ending = "or-later" if gnu[4] and gnu[4] != "-only" else "only"
        return f"{family}-{version}-{ending}" if version in _GNU_VERSIONS[family] else ""
    return _KNOWN.get(" ".join(name.lower().split()), "")


def make_reference(name: str, text: str) -> str:
    """Build the reference for a licence that SPDX has no identifier for; the same text gives the same one."""
    plain = re.sub(r"[^A-Za-z0-9.-]+", "-", name).strip("-.") or "unnamed"
    return f"LicenseRef-{plain}-{hashlib.sha256(text.encode()).hexdigest()[:8]}"


def parse_paragraphs(text: str) -> list[dict[str, str]]:
    """Return the paragraphs of a machine-readable file: field name in small letters -> value, lines kept."""
    found: list[dict[str, str]] = []
    for block in re.split(r"\n(?:[ \t]*\n)+", text.strip()):
        fields: dict[str, str] = {}
        name = ""
        for line in block.splitlines():
            if line[:1] in (" ", "\t") and name:
                fields[name] += "\n" + ("" if line.strip() == "." else line.rstrip())
            elif ":" in line and not line.startswith("#"):
                name, _, value = line.partition(":")
                name = name.strip().lower()
                fields[name] = value.strip()
        found.append(fields)
    return found


def read_copyright(package: str, text: str) -> Licences:
    """Return the licences of a package's copyright file, of either form."""
    paragraphs = parse_paragraphs(text)
    if "copyright-format" not in paragraphs[0].get("format", paragraphs[0].get("format-specification", "")):
        return _whole(package, text)
    texts: dict[str, str] = {}
    used: list[str] = []
    for paragraph in paragraphs:
        name, _, body = paragraph.get("license", "").partition("\n")
        name = " ".join(name.split())
        if name and body.strip():
            texts.setdefault(name, body.strip("\n"))
        if name and ("files" in paragraph or "format" in paragraph) and name not in used:
            used.append(name)
    made = Licences("")
    parts = sorted({_expression(name, texts, made, text) for name in used})
    made.expression = _join(parts, "AND")
    return made if parts else _whole(package, text)


def _whole(package: str, text: str) -> Licences:
    reference = make_reference(f"{package}-copyright", text)
    return Licences(reference, {reference: text})


def _expression(name: str, texts: dict[str, str], made: Licences, whole: str) -> str:
    """Build the expression of a short name or several, enter the references in ``made``.

    "and" binds closer than "or"; a comma before either turns that round.
    """
    for splitter, word in _SPLITTERS:
        parts = re.split(splitter, name)
        if len(parts) > 1 and not find_identifier(name):
            return _join([_expression(part, texts, made, whole) for part in parts], word)
    known = find_identifier(name)
    if known:
        return known
    text = texts.get(name, whole)
    reference = make_reference(name, text)
    made.texts[reference] = text
    return reference


def _join(parts: list[str], word: str) -> str:
    """Join expressions; each that is joined itself gets brackets."""
    if len(parts) == 1:
        return parts[0]
    return f" {word} ".join(f"({part})" if " AND " in part or " OR " in part else part for part in parts)
