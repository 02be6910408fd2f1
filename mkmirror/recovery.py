"""What is installed, found out from the system itself, when the file that says so cannot be read.

Otherwise nothing would be known to be installed, and all of it be swept away as a killed run's remains. What an
extension brought and who asked for it is not found again; a removal takes it away all the same.

Source: protocol 5.3; systemd-sysext(8).
"""

from __future__ import annotations

import logging
from collections.abc import Mapping
from pathlib import Path

from mkcore import files
from mkcore.errors import MkError
from mkcore.jsonfields import Json, get_int, get_object
from mkmirror import merge, packages, tce_install, trust
from mkmirror.formats import sysext, tce, wheel
from mkmirror.installed import LIMIT_BYTES, Extension, Installed, Package
from mkmirror.layers import Layers
from mkmirror.native import kind_of
from mkmirror.staged import By

MAX_BYTES = 8 * LIMIT_BYTES

log = logging.getLogger(__name__)


def recover(layers: Layers, record: Path) -> Installed:
    """Return what is shown now, as a push's; of the damaged `record` only when sums were signed. Raises OSError."""
    extensions: dict[str, Extension] = {}
    for name in files.list_names(layers.run / merge.IMAGES):
        image = layers.image(name)
        if name.endswith(sysext.SUFFIX) and merge.link_of(name, layers.root).is_symlink():
            kind = kind_of(name).value
        elif name.endswith(tce.SUFFIX) and tce_install.place_of(layers.run, name).is_dir():
            kind = tce.SUFFIX[1:]
        else:
            continue
        size_bytes = image.stat().st_size
        extensions[name] = Extension(kind, By.PUSH.value, sha256=trust.digest_file(image), size_bytes=size_bytes)
    return Installed(extensions, _packages(layers.run), signed=_signed(record))


def _packages(run: Path) -> dict[str, Package]:
    found: dict[str, Package] = {}
    for file in packages.unpacked(run):
        try:
            each = wheel.parse_wheel(file)
        except MkError as error:
            log.warning("an unpacked package is not known any longer: %s", error)
            continue
        found[each.name] = Package(str(each.version), file, By.PUSH.value)
    return found


def _signed(record: Path) -> Mapping[str, int]:
    """Return the times of signatures, without which old sums would be accepted again."""
    try:
        document: Mapping[str, Json] = files.read_object(record, MAX_BYTES)
        table = get_object(document, "signed", default={}, where=str(record))
        return {key: get_int(table, key, low=0, where=str(record)) for key in table}
    except MkError as error:
        log.warning("when sums were signed is not known any longer: %s", error)
        return {}
