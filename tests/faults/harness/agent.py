"""The harness's agent. Run as `python -I -S agent.py LOG LONG_SECONDS`: it works and says when it lived.

Appends `word attempt moment session tree` to LOG, outside of its tree: `start`, then `beat` every 40 ms, then `end`.
A grandchild in a session of its own, which no clean end stops, writes `daemon` for ever. `session` names one life of
the agent, `moment` is boot time in seconds, `tree` is where it works.

Half of the lives are long, of half of LONG_SECONDS or more: an agent that ends by itself before its worker's lease
does can never be seen to outlive it. The others are over in a second or so.
"""

import os
import random
import sys
import time
from pathlib import Path

_BEAT_SECONDS = 0.04


def main(log: str, long_seconds: str) -> None:
    attempt, session, tree = os.environ["BAKEOFF_ATTEMPT"], os.urandom(4).hex(), Path.cwd()
    out = os.open(log, os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC, 0o600)

    def note(word: str) -> None:
        moment = time.clock_gettime(time.CLOCK_BOOTTIME)
        os.write(out, f"{word} {attempt} {moment:.6f} {session} {tree}\n".encode())

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
    chance, most = random.Random(session), float(long_seconds)
    end = time.monotonic() + (chance.uniform(most / 2, most) if chance.random() < 0.5 else chance.uniform(0.2, 1.5))
    while time.monotonic() < end:
        note("beat")
        time.sleep(_BEAT_SECONDS)
    sys.stdout.write("worked\n")
    note("end")


if __name__ == "__main__":
    main(*sys.argv[1:])
