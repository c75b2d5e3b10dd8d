"""A harness for tests, run as `python -I -S harness.py FOLDER STEPS`: it carries out the JSON list STEPS in order.

A step is a pair: `stage` and `run` append a record to FOLDER's ledgers, `text` appends to iterations.jsonl as it is,
`state` writes state.json, `write` a file in the tree, `wait` is for a file to appear, `kill` ends it as SIGKILL does,
`exit` with a code.
"""

import json
import os
import signal
import sys
import time
from pathlib import Path


def main(folder: str, steps: str) -> None:
    place = Path(folder)
    place.mkdir(parents=True, exist_ok=True)
    ledger = place / "iterations.jsonl"
    for action, value in json.loads(steps):
        if action == "stage":
            append(ledger, json.dumps(value) + "\n")
        elif action == "run":
            append(place / "runs.jsonl", json.dumps(value) + "\n")
        elif action == "text":
            append(ledger, value)
        elif action == "state":
            (place / "state.json").write_text(json.dumps(value))
        elif action == "write":
            Path(value).write_text("done\n")
        elif action == "wait":
            while not Path(value).exists():
                time.sleep(0.02)
        elif action == "kill":
            os.kill(os.getpid(), signal.SIGKILL)
        elif action == "exit":
            sys.exit(value)


def append(path: Path, text: str) -> None:
    with path.open("a") as file:
        file.write(text)


if __name__ == "__main__":
    main(*sys.argv[1:])
