"""What our services complained of, without the one complaint that says nothing of them: a checkin that found only
silence, since the host was busy with something else, and that a later one made good.

Everything else stays: another reason, a server that was not found again, and silence that comes too often to be chance.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from mkcore import events

WARNING = 4
MOST_SILENCES = 2
"""More of them are no busy host's doing: a machine checks in each 5 s for some minutes."""
_SILENCE = (": timed out; trying again in ", ": no complete answer within ")


def is_silence(entry: Mapping[str, str]) -> bool:
    """Tell whether an entry of the journal says that the server, found before, did not answer in time."""
    message = str(entry.get("MESSAGE"))
    return entry.get("MESSAGE_ID") == events.SERVER_LOST.id and any(words in message for words in _SILENCE)


def list_complaints(entries: Iterable[Mapping[str, str]]) -> list[str]:
    """Return the lines at warning or above, oldest first, without silences that SERVER_BACK ended.

    ``entries``: of one boot, in their order, with PRIORITY, MESSAGE, MESSAGE_ID and _SYSTEMD_UNIT.
    """
    kept: list[str] = []
    open_silence: list[str] = []
    answered: list[str] = []
    for entry in entries:
        line = f"{entry.get('_SYSTEMD_UNIT', '')}: {entry.get('MESSAGE')}"
        if is_silence(entry):
            open_silence.append(line)
        elif entry.get("MESSAGE_ID") == events.SERVER_BACK.id:
            answered += open_silence
            open_silence = []
        elif int(entry.get("PRIORITY", "6")) <= WARNING:
            kept.append(line)
    return kept + open_silence + (answered if len(answered) > MOST_SILENCES else [])
