"""Placeholders that firmware gives out as serial numbers, names and ids.

A value that thousands of machines share must not pass for an identifier: a server that keys on it merges them into one
node. Listed is only what is junk for certain, compared without case, spaces and punctuation; "OEM" or "1" may be real.
Source: the strings that boards, DIMMs and chassis of many vendors carry (SMBIOS types 1, 2, 3, 4 and 17 in the field),
and dmidecode's own words for what is absent, which reach firmware through copied templates.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Union

from mkcore.jsonfields import Json
from mkcore.placeholders import is_junk_uuid

_LIST = """
none na null unknown undefined unspecified invalid empty default reserved noasset noassettag noassetinformation
defaultstring defaultstringvalue oemdefaultstring notspecified notavailable notapplicable notprovided notpresent
notset notsettable notdefined notassigned notinstalled nodimm dimmnotpopulated modulenotinstalled nomoduleinstalled
badindex outofspec noenum oemstring productname productversion manufacturername
systemmanufacturer systemproductname systemversion systemserialnumber systemserial systemsku systemuuid
baseboardserialnumber baseboardmanufacturer baseboardproductname baseboardversion boardserialnumber
mbserialnumber chassisserialnumber chassismanufacturer chassisversion chassisassettag chassistype assettag
assetnumber asset1234567890 serialnumber serialno partnumber skunumber manufacturer manufacturer1 sernum partnum
assettagnum filledbyoem fillbyoem oemserialnumber inputserialnumber xxsysserialnum type1productconfigid
type1sku0 type1family type2boardassettag 0x00000000 0xffffffff
nullstring oemserial serialnumberxxxxxx systemserialnumb sys1234567890 sys9876543210 mb1234567890 sn12345 sn1234567890
a123456789 111222333 01234567890123456789ab fedcba9876543211fedcba9876543211 asusnotebooksku
12345 123456789000 9876543210 unkonwn tbd xx sku family other chassismanufacture noenclosure
"""
_WORDS = frozenset(_LIST.split())
_BEGINNINGS = ("tobefilled", "tobedefined", "pleasechange", "reservedfor", "notsupportedby", "tbdby", "oemdefine")
_COUNTED = "0123456789" * 7
_COUNTED_AFTER = ("bsn", "atn", "csn", "msn", "psn")  # a board's, an asset's, a chassis' and so on, of one maker
_UUID_LENGTH = 36


def is_junk(text: str) -> bool:
    """Tell whether `text` identifies nothing: "", "0000", "Default string", "To Be Filled By O.E.M.", "Not Specified".

    UUIDs known as placeholders count too, in any case of letters. Raises nothing.
    """
    word = "".join(filter(str.isalnum, text.lower()))
    if not word or word in _WORDS or word.startswith(_BEGINNINGS) or word.endswith("notset"):
        return True
    if len(set(word)) == 1 and (word[0] == "0" or len(word) > (3 if word[0] in "fx" else 5)):
        return True
    digits = word[3:] if word.startswith(_COUNTED_AFTER) else word
    if digits.startswith(("012345", "123456")) and (digits in _COUNTED or digits == "0123456789abcdef"):
        return True
    if len(text) == _UUID_LENGTH and is_junk_uuid(text.upper()):
        return True
    return _is_numbered(word)


def _is_numbered(word: str) -> bool:
    """Recognize templates of some firmware: "SerNum0", "DIMM_A1_PartNum", "Manufacturer01", "Array1_PartNumber2"."""
    stem = word.rstrip("0123456789")
    if stem.startswith("array") and stem.endswith("partnumber"):
        return True
    if stem.endswith(("sernum", "partnum", "assettagnum", "assettag")):
        return True
    return stem.endswith(("manufacturer", "modulepartnumber")) and (stem != word or "dimm" in word)


def without_junk(values: Mapping[str, Union[str, int]]) -> dict[str, Json]:
    """Return the texts that are no junk and the numbers that are not 0, as the inventory has them."""
    return {key: value for key, value in values.items() if value and not (isinstance(value, str) and is_junk(value))}
