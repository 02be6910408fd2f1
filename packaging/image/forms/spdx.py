"""An SPDX document of an image: each package with version, licence, source and purl.

Nothing in it depends on when or where it was made: times are the image's own, names are sorted, and the document's
name space is made of the digest of the files that it describes.

Source: SPDX 2.3; the package-url specification, type deb.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterable, Mapping
from datetime import datetime, timezone
from typing import Any, NamedTuple
from urllib.parse import quote

from lib.lock import OWN
from licences import NONE, Licences

CREATOR = "mksuite"
SPACE = "https://mksuite.org/spdx"
SYSTEM, DOCUMENT = "SPDXRef-Image", "SPDXRef-DOCUMENT"


class Package(NamedTuple):
    """An installed package: fields of its control file, by their names there, and in which part of the image it is.

    release: of the distribution that it came from, "debian-12", where it is not the image's own.
    """

    fields: Mapping[str, str]
    part: str
    release: str = ""

    @property
    def name(self) -> str:
        """Its name."""
        return self.fields["Package"]

    @property
    def version(self) -> str:
        """Its version, with epoch and revision."""
        return self.fields["Version"]

    @property
    def source(self) -> tuple[str, str]:
        """Name and version of the source package: its own where the field is missing, as policy says."""
        match = re.fullmatch(r"(\S+)(?:\s+\((.+)\))?", self.fields.get("Source", "") or self.name)
        return (match[1], match[2] or self.version) if match else (self.name, self.version)

    @property
    def sources(self) -> list[tuple[str, str]]:
        """Name and version of all source packages: its own, and what a loader that others signed was made of."""
        built_using = re.findall(r"(\S+) \(= ([^)]+)\)", self.fields.get("Built-Using", ""))
        return list(dict.fromkeys([self.source, *((name, version) for name, version in built_using)]))


def parse_status(text: str, part: str) -> list[Package]:
    """Return the installed packages of a dpkg status file, or of control files behind one another."""
    found = []
    for stanza in re.split(r"\n(?:[ \t]*\n)+", text.strip()):
        fields = dict(re.findall(r"^([A-Za-z-]+):[ \t]*(.*)$", stanza, re.MULTILINE))
        if "Package" in fields and "Version" in fields and fields.get("Status", "installed").endswith("installed"):
            found.append(Package(fields, part))
    return found


def build_purl(name: str, version: str, architecture: str, release: str) -> str:
    """Build a package URL.

    Example: "pkg:deb/debian/libc6@2.41-12?arch=amd64&distro=debian-13".
    """
    vendor, where = (CREATOR, "") if name in (*OWN, CREATOR) else ("debian", f"&distro={release}" if release else "")
    return f"pkg:deb/{vendor}/{quote(name)}@{quote(version, safe='')}?arch={architecture}{where}"


def _identify(*words: str) -> str:
    return "SPDXRef-" + "-".join(re.sub(r"[^A-Za-z0-9.-]", "-", word.replace("+", "plus")) for word in words)


def _supplier(package: Package) -> str:
    match = re.fullmatch(r"(.*?)\s*<([^>]+)>.*", package.fields.get("Maintainer", ""))
    return f"Organization: {match[1]} ({match[2]})" if match and match[1] else NONE


def _build_package(package: Package, licences: Mapping[str, Licences], release: str) -> dict[str, Any]:
    architecture = package.fields.get("Architecture", "all")
    licence = licences.get(package.name)
    entry = {
        "SPDXID": _identify("Package", package.part, package.name),
        "name": package.name,
        "versionInfo": package.version,
        "supplier": _supplier(package),
        "downloadLocation": NONE,
        "filesAnalyzed": False,
        "licenseConcluded": NONE,
        "licenseDeclared": licence.expression if licence else NONE,
        "copyrightText": NONE,
        "summary": package.fields.get("Description", ""),
        "sourceInfo": f"built from the source package {' and '.join(map(' '.join, package.sources))}",
        "externalRefs": [
            _purl_reference(build_purl(package.name, package.version, architecture, package.release or release))
        ],
    }
    if package.fields.get("Homepage"):
        entry["homepage"] = package.fields["Homepage"]
    return entry


def _identify_source(name: str, version: str, where: str, release: str) -> str:
    """Identify a source package; one of another release than the image's is another one."""
    return _identify("Source", name, version, *([where] if where != release else []))


def _build_source(name: str, version: str, where: str, release: str) -> dict[str, Any]:
    """Build a source package's entry; where: the release that it is of."""
    return {
        "SPDXID": _identify_source(name, version, where, release),
        "name": name,
        "versionInfo": version,
        "downloadLocation": NONE,
        "filesAnalyzed": False,
        "licenseConcluded": NONE,
        "licenseDeclared": NONE,
        "copyrightText": NONE,
        "primaryPackagePurpose": "SOURCE",
        "externalRefs": [_purl_reference(build_purl(name, version, "source", where))],
    }


def _purl_reference(purl: str) -> dict[str, str]:
    return {"referenceCategory": "PACKAGE-MANAGER", "referenceType": "purl", "referenceLocator": purl}


def _relate(first: str, how: str, second: str) -> dict[str, str]:
    return {"spdxElementId": first, "relationshipType": how, "relatedSpdxElement": second}


def _build_system(version: str, files: Mapping[str, str]) -> dict[str, Any]:
    return {
        "SPDXID": SYSTEM,
        "name": "mk-image",
        "versionInfo": version,
        "supplier": f"Organization: {CREATOR}",
        "downloadLocation": NONE,
        "filesAnalyzed": False,
        "licenseConcluded": NONE,
        "licenseDeclared": NONE,
        "copyrightText": NONE,
        "primaryPackagePurpose": "OPERATING-SYSTEM",
        "comment": "\n".join(f"{name}: SHA-256 {digest}" for name, digest in sorted(files.items())),
    }


def _digest(files: Mapping[str, str]) -> str:
    return hashlib.sha256(repr(sorted(files.items())).encode()).hexdigest()


def build_document(
    version: str, epoch: int, files: Mapping[str, str], packages: Iterable[Package],
    licences: Mapping[str, Licences], release: str,
) -> dict[str, Any]:  # fmt: skip
    """Build the document.

    files: name -> SHA-256 of what is described. licences: by package. release: for example "debian-13".
    """
    listed = sorted(packages, key=lambda each: (each.part, each.name))
    sources = sorted({(*each, package.release or release) for package in listed for each in package.sources})
    made_at = datetime.fromtimestamp(epoch, timezone.utc).strftime("%Y-%m-%dT%H:%M:%SZ")
    entries = [_build_package(package, licences, release) for package in listed]
    relations = [_relate(DOCUMENT, "DESCRIBES", SYSTEM)]
    for package, entry in zip(listed, entries):
        relations.append(_relate(SYSTEM, "CONTAINS", entry["SPDXID"]))
        for source in package.sources:
            identity = _identify_source(*source, package.release or release, release)
            relations.append(_relate(entry["SPDXID"], "GENERATED_FROM", identity))
    texts = {reference: text for each in licences.values() for reference, text in each.texts.items()}
    return {
        "spdxVersion": "SPDX-2.3",
        "dataLicense": "CC0-1.0",
        "SPDXID": DOCUMENT,
        "name": f"mk-image-{version}",
        "documentNamespace": f"{SPACE}/{quote(version)}/{_digest(files)}",
        "creationInfo": {"created": made_at, "creators": [f"Organization: {CREATOR}", "Tool: sbom.py"]},
        "packages": [_build_system(version, files), *entries, *(_build_source(*each, release) for each in sources)],
        "hasExtractedLicensingInfos": [
            {"licenseId": reference, "extractedText": text} for reference, text in sorted(texts.items())
        ],
        "relationships": relations,
    }
