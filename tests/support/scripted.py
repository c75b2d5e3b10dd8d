"""The scripted model server as a process, with one model for each way in which a model can fail."""

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from tests.support.waiting import until

_ROOT = Path(__file__).parents[2]
_WORK = "echo hello, world > hello.txt; echo made > new.txt"
_CROWD = {"prompt_tokens": 86_000, "completion_tokens": 10}
_STEP = {"bash": "echo {{turn}} >> steps.txt"}


def _does(**first: object) -> list[object]:
    """A conversation that works once, with faults put into that turn, and then ends well."""
    usage = {"prompt_tokens": 1000, "cached_tokens": 0, "completion_tokens": 50, "reasoning_tokens": 12}
    after = {"prompt_tokens": 1100, "cached_tokens": 800, "completion_tokens": 10, "reasoning_tokens": 0}
    last = {"say": "Done.", "usage": after}
    return [{"turns": [{"bash": _WORK, "usage": usage, **first}, last]}]


def _for_ever(**turn: object) -> list[object]:
    return [{"turns": [{**_STEP, "repeat": "forever", **turn}]}]


def _breaks(command: str) -> list[object]:
    """Works, breaks something, and sees nothing wrong."""
    return [{"turns": [{"bash": f"{_WORK}; {command}; true"}, {"say": "Done."}]}]


def _told(answer: object) -> str:
    """What a stage of the loop `tasks` answers."""
    return f"Here it is.\n{json.dumps(answer)}"


def _judged(verdicts: dict[str, bool]) -> str:
    return _told({"verdicts": {one: {"accept": yes, "reason": "because"} for one, yes in verdicts.items()}})


_MODELS: dict[str, list[object]] = {
    "silent": [{"turns": [{"silence": "start"}]}],
    "slow": _for_ever(delay="1s"),
    # Some seconds of many short requests.
    "busy": [{"delay": "400ms", "turns": [{**_STEP, "repeat": 8}, {"say": "Done."}]}],
    "patient": _for_ever(error={"kind": "rate_limit", "retry_after": "2s"}),
    "full": _does(usage={"prompt_tokens": 9800, "completion_tokens": 10}),
    "chatty": _for_ever(),
    "hungry": _for_ever(usage={"prompt_tokens": 600_000, "completion_tokens": 10}),
    "dear": _for_ever(usage={"prompt_tokens": 20_000, "completion_tokens": 10}),
    "circles": [{"turns": [{"bash": "ls", "repeat": "forever"}]}],
    "clumsy": [{"turns": [{"bash": "kill -9 $PPID"}]}],  # the agent itself
    "wordy": [{"turns": [{"error": {"kind": "context_overflow"}}]}],
    "lazy": [{"turns": [{"say": "Nothing to do."}]}],
    "imposter": _does(served_as="somebody-else"),
    "limited": _does(error={"kind": "rate_limit", "retry_after": "1s", "times": 1}),
    "used-up": _does(error={"kind": "usage_limit", "retry_after": "3s", "times": 1}),
    # Says that it waits, and waits until somebody opens the gate.
    "gated": [
        {"match": {"stage": "plan"}, "turns": [{"say": "First this, then that."}]},
        {"turns": [{"bash": "touch part-$$ $REACHED; until [ -e $GATE ]; do sleep 0.05; done"}, {"say": "Done."}]},
    ],
    # Meets the limit in the middle of its work.
    "interrupted": [
        {"match": {"first": "# Hand-over"}, "turns": [{"bash": "echo two >> steps.txt"}, {"say": "Done."}]},
        {
            "turns": [
                {"bash": "echo one >> steps.txt"},
                {"bash": "echo two >> steps.txt", "error": {"kind": "usage_limit", "retry_after": "3s", "times": 1}},
                {"say": "Done."},
            ]
        },
    ],
    # Meets the limit in a context that is too full to be taken up again.
    "brimful": [
        {"match": {"first": "# Hand-over"}, "turns": [{"bash": "echo two >> steps.txt"}, {"say": "Done."}]},
        {
            "turns": [
                {"bash": "echo one >> steps.txt", "usage": {"prompt_tokens": 82_000, "completion_tokens": 10}},
                {"say": "Never.", "error": {"kind": "usage_limit", "retry_after": "3s", "times": 1}},
            ]
        },
    ],
    # Plans two tasks and refuses the first try at one of them.
    "manager": [
        {"match": {"stage": "plan"}, "turns": [{"say": _told({"tasks": ["write one", "write two"]})}]},
        {"match": {"stage": "investigate"}, "turns": [{"say": "Both are new files."}]},
        {"match": {"stage": "verify", "first": "half of one"}, "turns": [{"say": _judged({"1": False, "2": True})}]},
        {"match": {"stage": "verify", "first": "whole"}, "turns": [{"say": _judged({"1": True, "2": True})}]},
        {"match": {"stage": "build", "first": "because"}, "turns": [{"bash": "echo 1 > one"}, {"say": "whole"}]},
        {
            "match": {"stage": "build", "first": "## Task 1"},
            "turns": [{"bash": "echo bad > wrong; echo bad >> hello.txt"}, {"say": "half of one"}],
        },
        {"match": {"stage": "build"}, "turns": [{"bash": "echo 2 > two"}, {"say": "two"}]},
    ],
    # Answers its plan without the contract first, and refuses its one task until it is split.
    "splitter": [
        {"match": {"stage": "plan", "first": "could not be used"}, "turns": [{"say": _told({"tasks": ["all"]})}]},
        {"match": {"stage": "plan"}, "turns": [{"say": "First all."}]},
        {"match": {"stage": "investigate"}, "turns": [{"say": "Nothing."}]},
        {"match": {"stage": "decompose"}, "turns": [{"say": _told({"tasks": ["part", "rest"]})}]},
        {
            "match": {"stage": "verify", "first": "## Task 1.1"},
            "turns": [{"say": _judged({"1.1": True, "1.2": True})}],
        },
        {"match": {"stage": "verify", "first": "## Task 1.2"}, "turns": [{"say": _judged({"1.2": True})}]},
        {"match": {"stage": "verify"}, "turns": [{"say": _judged({"1": False})}]},
        {"match": {"stage": "build", "first": "## Task 1.1"}, "turns": [{"bash": "echo 1 > one"}, {"say": "done"}]},
        {"match": {"stage": "build", "first": "## Task 1.2"}, "turns": [{"bash": "echo 2 > two"}, {"say": "done"}]},
        {"match": {"stage": "build"}, "turns": [{"bash": "echo bad > wrong"}, {"say": "tried"}]},
    ],
    "promising": [{"turns": [{"say": "Soon.\nSTATUS: CONTINUE"}]}],
    # Does two tasks, the second one badly, believes itself, and repairs what the checks find. Looks into the ledger's
    # file, and scribbles in it.
    "careless": [
        {"match": {"stage": "plan"}, "turns": [{"say": _told({"tasks": ["write one", "write two"]})}]},
        {"match": {"stage": "investigate"}, "turns": [{"say": "Nothing."}]},
        {
            "match": {"stage": "verify", "first": "## Task c1"},
            "turns": [{"say": _judged({"c1": True})}],
        },
        {"match": {"stage": "verify"}, "turns": [{"say": _judged({"1": True, "2": True})}]},
        {
            "match": {"stage": "build", "first": "## Task c1"},
            "turns": [{"bash": "cp .git/bakeoff/tasks.json seen-3; echo good > two"}, {"say": "repaired"}],
        },
        {
            "match": {"stage": "build", "first": "## Task 1"},
            "turns": [{"bash": "mv .git/bakeoff/tasks.json seen-1; echo 1 > one"}, {"say": "one"}],
        },
        {
            "match": {"stage": "build"},
            "turns": [{"bash": "cp .git/bakeoff/tasks.json seen-2; echo bad > two"}, {"say": "two"}],
        },
    ],
    # As `gated`, in the second task of a plan.
    "gated-tasks": [
        {"match": {"stage": "plan"}, "turns": [{"say": _told({"tasks": ["write one", "write two"]})}]},
        {"match": {"stage": "investigate"}, "turns": [{"say": "Nothing."}]},
        {"match": {"stage": "verify"}, "turns": [{"say": _judged({"1": True, "2": True})}]},
        {"match": {"stage": "build", "first": "## Task 1"}, "turns": [{"bash": "echo 1 > one"}, {"say": "one"}]},
        {
            "turns": [
                {"bash": "echo 2 > two; [ -e $GATE ] || touch x $REACHED; until [ -e $GATE ]; do sleep 0.05; done"},
                {"say": "two"},
            ]
        },
    ],
    # Reads as much as crowds the others, into a larger window.
    "reader": [{"turns": [{"bash": "ls", "usage": _CROWD}, {"say": "First this, then that.", "usage": _CROWD}]}],
    "crowded": [
        {"match": {"first": "# Hand-over"}, "turns": [{"bash": "echo two >> steps.txt"}, {"say": "Done."}]},
        {"turns": [{"bash": "echo one >> steps.txt", "usage": _CROWD}, {"silence": "start"}]},
    ],
    # As opencode asks it when it makes room by itself.
    "squeezed": [
        {
            "match": {"last": "anchored summary"},
            "turns": [{"say": "One is done.", "usage": {"prompt_tokens": 80_000}}],
        },
        {
            "match": {"last": "Continue if you have next steps"},
            "count_from": "last_prompt",
            "turns": [{"bash": "echo two >> steps.txt"}, {"say": "Done."}],
        },
        {"turns": [{"bash": "echo one >> steps.txt", "usage": _CROWD}, {"silence": "start"}]},
    ],
    "crammed": [
        {"match": {"first": "# Hand-over"}, "turns": [{"bash": "ls", "usage": {"prompt_tokens": 81_000}}]},
        {"turns": [{"bash": "echo one >> steps.txt", "usage": _CROWD}, {"silence": "start"}]},
    ],
    "glutton": [{"turns": [{"bash": "python3 -c 'x = bytes([1]) * 300_000_000; import time; time.sleep(600)'"}]}],
    "swarm": [{"turns": [{"bash": "for i in $(seq 40); do sleep 600 & done; wait"}]}],
    "hoarder": [{"turns": [{"bash": "head -c 30000000 /dev/urandom > big; sleep 600"}]}],
    "locked": [{"turns": [{"error": {"kind": "auth"}}]}],
    # Break the git data beside their tree, or what they have of it themselves.
    "burns-objects": _breaks("rm -rf ../git/objects"),
    "burns-run": _breaks("rm -rf ../git ../logs ../home ../lock"),
    "fills-index": _breaks("head -c 99 /dev/urandom > ../git/index"),
    "plants-in-check": _breaks("echo 'rm -rf ../../git/objects' > check.sh"),
    "burns-own-git": _breaks("rm -rf .git/objects; chmod 000 .git; git gc --prune=now; rm -rf .git; echo x > .git"),
    "*": _does(),
}


@contextmanager
def scripted_models(folder: Path, *, at_once: int | None = None) -> Iterator[str]:
    """Run the server for as long as the block lasts; yields its base URL. It dies with this process too.

    It answers `at_once` requests at a time, if given.
    """
    script, port_file, log = folder / "models.yaml", folder / "port", folder / "models.log"
    script.write_text(json.dumps({"models": _MODELS, "at_once": at_once}))
    argv = [sys.executable, "-m", "workers.gateway.scripted", "--script", str(script), "--port-file", str(port_file)]
    argv += ["--parent-pid", str(os.getpid())]
    with log.open("wb") as sink, subprocess.Popen(argv, cwd=_ROOT, stdout=sink, stderr=sink) as server:
        try:
            until(lambda: port_file.exists() or server.poll() is not None, "the scripted models")
            assert server.poll() is None, log.read_text()
            yield f"http://127.0.0.1:{port_file.read_text().strip()}"
        finally:
            server.terminate()
