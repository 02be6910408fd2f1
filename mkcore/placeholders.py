"""SMBIOS UUIDs that firmware makers leave in place of a machine's own.

Every board with such a UUID would be one and the same node to a server, so neither the identity nor the inventory may
trust one. Found in the field, in the databases of inventory tools and in vendors' notes.
"""

from __future__ import annotations

JUNK_UUIDS = frozenset(
    {
        "03000200-0400-0500-0006-000700080009",
        "00020003-0004-0005-0006-000700080009",
        "12345678-1234-5678-90AB-CDDEEFAABBCC",
        "12345678-1234-1234-1234-123456789ABC",
        "FEFEFEFE-FEFE-FEFE-FEFE-FEFEFEFEFEFE",
        "01234567-8910-1112-1314-151617181920",
        "00000000-0000-0000-0000-AC1F6B000000",
        "78563412-3412-7856-90AB-CDDEEFAABBCC",
        "78563412-3412-3412-1234-123456789ABC",
        "00112233-4455-6677-8899-AABBCCDDEEFF",
        "33221100-5544-7766-8899-AABBCCDDEEFF",
        "11111111-2222-3333-4444-555555555555",
        "4C4C4544-0000-2010-8020-80C04F202020",
        "6AB5B300-538D-1014-9FB5-B0684D007B53",
    }
)


def is_junk_uuid(uuid: str) -> bool:
    """Tell whether a UUID in upper case with hyphens is a placeholder: in the list, or one digit all over."""
    return uuid in JUNK_UUIDS or len(set(uuid.replace("-", ""))) <= 1
