"""Boot scripts, the same for both dialects but for the addresses in them."""

from __future__ import annotations

from flask import Response

from ..boot import build_boot, build_local, build_no_image, expand_args, first_stage_args, network_args
from ..forms import FIRST_STAGE
from ..identity import Identity
from ..image import read_image
from ..policy import wants_first_stage
from ..pushed import interval_of
from ..registry import Caller
from ..services import services


def build_script(caller: Caller, identity: Identity, dhcp_mac: str) -> Response:
    """Answer a boot request with an iPXE script: the microkernel, the local disk, or why there is nothing to boot."""
    settings = services().settings
    safe_mac = dhcp_mac if len(dhcp_mac) <= 64 and dhcp_mac.isprintable() else ""
    choice = services().registry.boot(caller, identity, safe_mac)
    image = read_image(settings.kernel, settings.initrd)
    interval_s = interval_of(choice.client_config)
    if choice.local:
        text = build_local(choice.local)
    elif image is None:
        text = build_no_image(interval_s)
    else:
        debug = str(choice.settings["boot_debug_level"])
        given = [debug, settings.cmdline, str(choice.settings["boot_kernel_args"])]
        asked = [expand_args(arg, base=caller.base, uuid=identity.uuid, dialect=caller.dialect) for arg in given]
        args = [*network_args(safe_mac), *asked]  # what a person wrote comes later, and counts more
        initrd = image.initrd_name
        if image.first_stage and wants_first_stage(str(choice.settings["boot_form"]), failed=choice.failed):
            initrd = FIRST_STAGE
            args += first_stage_args(caller.base)
        text = build_boot(caller.dialect, caller.base, image.id, image.kernel_name, initrd, args, interval_s)
    return Response(text, content_type="text/plain; charset=utf-8")
