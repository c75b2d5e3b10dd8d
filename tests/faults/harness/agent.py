"""The harness's agent. Run as `python -I -S agent.py LOG MOST_SECONDS`: it works for a while and says when it lived.

Appends `word attempt moment session` to LOG, outside of its tree: `start`, then `beat` every 40 ms, then `end`. A
grandchild in a session of its own, which no clean end stops, writes `daemon` for ever. `session` names one life of
the agent, `moment` is boot time in seconds.
"""

import os
import random
import sys
import time
from pathlib import Path

_BEAT_SECONDS = 0.04


def main(log: str, most_seconds: str) -> None:
    attempt, session = os.environ["BAKEOFF_ATTEMPT"], os.urandom(4).hex()
    out = os.open(log, os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC, 0o600)

    def note(word: str) -> None:
        os.write(out, f"{word} {attempt} {time.clock_gettime(time.CLOCK_BOOTTIME):.6f} {session}\n".encode())

    note("start")
    if os.fork() == 0:
        os.setsid()
        for fd in (0, 1, 2):
            os.close(fd)
        while True:
            note("daemon")
            time.sleep(_BEAT_SECONDS)
    with Path("work.txt").open("a") as file:
        file.write(f"{attempt}\n")
    end = time.monotonic() + random.Random(session).uniform(0.2, float(most_seconds))
    while time.monotonic() < end:
        note("beat")
        time.sleep(_BEAT_SECONDS)
    sys.stdout.write("worked\n")
    note("end")


if __name__ == "__main__":
    main(*sys.argv[1:])
