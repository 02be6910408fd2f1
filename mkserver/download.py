"""GET /image/NAME: the forms of the image, for firmware and for people.

The unified kernel image for UEFI HTTP boot, the ISO for a stick or a BMC's virtual media, the layers that a first stage
fetches, sums and their signature. Nobody is asked for a password, as little as for what nodes boot.

Source: RFC 9110 sections 13 and 14; UEFI Specification, section "HTTP Boot", for the media types.
"""

from __future__ import annotations

from flask import Blueprint, Response
from werkzeug.exceptions import NotFound

from .forms import read_forms
from .image import send_tagged
from .services import services

PREFIX = "/image/"
_TYPES = {".efi": "application/efi", ".iso": "application/vnd.efi-iso", ".json": "application/json"}
_UNKNOWN = "there is no form of the image of that name"


def send_form(name: str) -> Response:
    """GET and HEAD /image/NAME: 200, 206, 304 or 416. Raises NotFound."""
    kernel = services().settings.kernel
    if kernel is None or name not in [form.name for form in read_forms(kernel.parent)]:
        raise NotFound(description=_UNKNOWN)
    path = kernel.parent / name
    try:
        opened = path.open("rb")
    except OSError as error:
        raise NotFound(description=_UNKNOWN) from error
    return send_tagged(opened, _TYPES.get(path.suffix, "application/octet-stream"))


def build_blueprint() -> Blueprint:
    """The route of the forms."""
    routes = Blueprint("download", __name__, url_prefix=PREFIX.rstrip("/"))
    routes.add_url_rule("/<name>", "form", send_form)
    return routes
