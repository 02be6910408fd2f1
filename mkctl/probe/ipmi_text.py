"""What `ipmitool` prints, parsed: `bmc info`, `lan print`, `lan6 print`, `channel info`, `fru print`.

All but the FRU listing are lines of `key : value`. A value ends with its line, whatever colons it holds, so that a MAC
address is a text (defect B51); a line without a key continues a list that nobody reports; a line without a colon is a
message of the tool, on whichever stream it chose (B34), and costs itself alone. A warning that happens to have a colon
becomes a pair under a key that nobody asks for. Source: ipmitool(1), versions 1.8.9 to 1.8.19; protocol 6.11.
"""

from __future__ import annotations

from collections.abc import Iterator

from mkctl.probe.texts import clean_text

FRU_HEADING = "FRU Device Description"
_MISSPELT = {"Gratituous ARP Intrvl": "Gratuitous ARP Intrvl"}  # the tool's older spelling (B52)
CHANNELS = range(1, 12)  # those that can be LANs: 0 is the IPMB, from 12 on they are reserved or no network
_LAN_MEDIUM = "802.3 LAN"
_ADDRESSES = ("IPv6 Static Address", "IPv6 Dynamic Address")


def read_lines(output: bytes, whole: bool = True) -> list[str]:
    """Split an output into lines; of a run that ended badly (not `whole`) a last line that was cut off is left out."""
    lines = output.decode("utf-8", "replace").split("\n")
    return lines if whole else lines[:-1]


def parse_pairs(lines: list[str]) -> dict[str, str]:
    """Return keys and values: {"MAC Address": "00:15:17:fa:e0:36"}; of a repeated key the last value that is not empty.

    The keys are the tool's with blanks collapsed, in the newer of two spellings.
    """
    pairs: dict[str, str] = {}
    for line in lines:
        key, value = _split(line)
        if key and value:
            pairs[_MISSPELT.get(key, key)] = value
    return pairs


def parse_fru(lines: list[str]) -> list[dict[str, str]]:
    """Return the FRU devices in the order of their headings, each with its pairs; the heading is one of them.

    A device that is not there has nothing but its heading, and still its place: facts are numbered by it. Pairs are
    indented, which tells them from messages; pairs without a heading (after `fru print 0`) are a device as well.
    """
    devices: list[dict[str, str]] = []
    inside = False
    for line in lines:
        key, value = _split(line)
        if key == FRU_HEADING:
            devices.append({key: value})
            inside = True
        elif not line.strip():
            inside = False
        elif key and line[0] in " \t":
            if not inside:
                devices.append({})
                inside = True
            if value:
                devices[-1][key] = value
    return devices


def parse_channels(lines: list[str]) -> list[int]:
    """Return the numbers of the channels whose medium is a LAN, from any number of `channel info` listings.

    Numbers are written "0x1" and, by older versions, "1".
    """
    found: list[int] = []
    number = -1
    for line in lines:
        words = line.split()
        if len(words) == 3 and words[0] == "Channel" and words[2] == "info:":
            number = _parse_number(words[1])
        elif _split(line) == ("Channel Medium Type", _LAN_MEDIUM) and number in CHANNELS and number not in found:
            found.append(number)
    return found


def parse_lan6(lines: list[str]) -> list[str]:
    """Return the IPv6 addresses that are in use, without their prefix lengths, in lower case: ["2001:db8::7"].

    A place for an address that holds none says "::/0", some with the status "active". One without a status counts.
    """
    return [address for address, status in _slots(lines) if status == "active" and _is_ipv6(address)]


def _is_ipv6(text: str) -> bool:
    """Tell whether a text in lower case looks like an IPv6 address, and one that is set."""
    return ":" in text and text != "::" and not set(text) - set("0123456789abcdef:.")


def _slots(lines: list[str]) -> Iterator[tuple[str, str]]:
    """Yield address and status of each place that `lan6 print` lists; other parts of the listing have no address."""
    address, status, inside = "", "active", False
    for line in [*lines, "IPv6"]:
        key, value = _split(line)
        if line.startswith("IPv6"):
            if inside:
                yield address, status
            inside = key.startswith(_ADDRESSES)
            address, status = "", "active"
        elif key == "Address":
            address = value.split("/")[0].lower()
        elif key == "Status":
            status = value


def _split(line: str) -> tuple[str, str]:
    key, colon, value = line.partition(":")
    return (" ".join(clean_text(key).split()), clean_text(value)) if colon else ("", "")


def _parse_number(text: str) -> int:
    try:
        return int(text, 0)
    except ValueError:
        return -1
