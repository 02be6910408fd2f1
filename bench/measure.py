"""Runs commands in turn and prints what each took: the one program that measures, on the host and inside a machine.

Given as text to a bare interpreter (`python3 -I -S -c`), so it imports nothing of the project and stays small: a
process's peak memory counts from what it was forked from. Every round runs each entry once, the order turned by one
each time, so that a slow moment of the machine meets all alike.

Input: argv[1], JSON {"rounds": 11, "entries": {"NAME": [[ARGV...], ...]}}; an entry's commands run one after another.
Output: JSON {"NAME": [{"wall_s": 0.1, "peak_rss_kib": 14000, "statuses": [0]}, ...]}.
"""

import json
import os
import sys
import time


def run(commands: list[list[str]]) -> dict[str, object]:
    """Run commands one after another with their output thrown away; return seconds, the largest peak, statuses."""
    null = os.open(os.devnull, os.O_RDWR)
    actions = [(os.POSIX_SPAWN_DUP2, null, number) for number in (0, 1, 2)]
    peak_kib = 0
    statuses: list[int] = []
    began = time.perf_counter()
    for argv in commands:
        try:
            pid = os.posix_spawnp(argv[0], argv, os.environ, file_actions=actions)
        except OSError as error:
            statuses.append(-(error.errno or 1))
            continue
        _, status, usage = os.wait4(pid, 0)
        statuses.append(os.waitstatus_to_exitcode(status))
        peak_kib = max(peak_kib, usage.ru_maxrss)
    wall_s = time.perf_counter() - began
    os.close(null)
    return {"wall_s": wall_s, "peak_rss_kib": peak_kib, "statuses": statuses}


def main() -> None:
    """Measure what argv[1] asks for."""
    asked = json.loads(sys.argv[1])
    names = list(asked["entries"])
    measured: dict[str, list[object]] = {name: [] for name in names}
    for number in range(asked["rounds"]):
        turn = number % len(names)
        for name in names[turn:] + names[:turn]:
            measured[name].append(run(asked["entries"][name]))
    json.dump(measured, sys.stdout)


if __name__ == "__main__":
    main()
