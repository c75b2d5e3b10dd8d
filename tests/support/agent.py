"""An agent for fault tests that proves, by its own log, when it lived. Run as `python -I -S agent.py LOG GATE MODE`.

It appends one line per happening to LOG, outside of its tree: `word attempt moment`. `start` and `end` frame its
life, `beat` comes every 20 ms between them. It lives until the file GATE is there.

MODE: `quick` does not wait at all; `wait` waits; `daemon` first leaves a grandchild in a session of its own, which
beats as `daemon` for ever; `deaf` is `daemon` that ignores TERM, INT and HUP.
"""

import os
import signal
import sys
import time
from pathlib import Path


def main(log: str, gate: str, mode: str) -> None:
    attempt = os.environ["BAKEOFF_ATTEMPT"]
    out = os.open(log, os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC, 0o600)

    def note(word: str) -> None:
        moment = time.clock_gettime(time.CLOCK_BOOTTIME)
        os.write(out, f"{word} {attempt} {moment:.6f}\n".encode())

    note("start")
    if mode == "deaf":
        for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
            signal.signal(number, signal.SIG_IGN)
    if mode in ("daemon", "deaf") and os.fork() == 0:
        os.setsid()
        if os.fork() == 0:
            for fd in (0, 1, 2):
                os.close(fd)
            while True:
                note("daemon")
                time.sleep(0.02)
        os._exit(0)
    with Path(f"work-{mode}.txt").open("a") as file:
        file.write(f"{attempt}\n")
    sys.stdout.write("working\n")
    sys.stdout.flush()
    while mode != "quick" and not Path(gate).exists():
        note("beat")
        time.sleep(0.02)
    note("end")


if __name__ == "__main__":
    main(*sys.argv[1:])
