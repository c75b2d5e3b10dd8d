"""Ctrl-C ends a run, also where the interpreter swallows it."""

import subprocess
import sys

# A KeyboardInterrupt that is raised while an object goes away is printed and forgotten.
_LOST = """
import os, signal
from orchestrator.cli.run import Interrupt

class Gone:
    def __del__(self):
        os.kill(os.getpid(), signal.SIGINT)

interrupt = Interrupt()
interrupt.heed()
gone = Gone()
del gone
print("lost")
try:
    interrupt.heed()
except KeyboardInterrupt:
    print("heeded")
"""


def test_an_interrupt_that_was_swallowed_is_heeded_at_the_next_look() -> None:
    done = subprocess.run([sys.executable, "-c", _LOST], capture_output=True, text=True, check=True)

    assert done.stdout == "lost\nheeded\n"
    assert "Exception ignored" in done.stderr
