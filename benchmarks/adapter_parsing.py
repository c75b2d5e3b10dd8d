"""How fast each adapter reads: MB/s over a long stream made of a recorded run. Wanted: 50 MB/s or more.

The plain rows have lines of 100-400 bytes only, where the cost is per event and not per byte.
"""

import json
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

ROOT = Path(__file__).parents[1]
sys.path.insert(0, str(ROOT))

from workers.agents.base import StreamReader  # noqa: E402
from workers.agents.codex import CodexReader  # noqa: E402
from workers.agents.command import CommandReader  # noqa: E402
from workers.agents.mini import MiniReader  # noqa: E402
from workers.agents.opencode import OpencodeReader  # noqa: E402
from workers.agents.reference import ReferenceReader  # noqa: E402

FIXTURES = ROOT / "tests/fixtures/agents"
MEGABYTES = 40
CHUNK = 64 * 1024
REFERENCE = (
    b'{"type": "turn", "usage": {"prompt_tokens": 900, "completion_tokens": 50, "prompt_tokens_details": '
    b'{"cached_tokens": 700}}, "model": "m", "finish_reason": "tool_calls"}\n'
    b'{"type": "message", "text": "Step 1: running a command."}\n'
    b'{"type": "tool", "name": "shell", "arguments": {"command": "ls -la && cat hello.py"}, "exit_code": 0}\n'
)


def _repeat(data: bytes) -> bytes:
    return data * max(1, MEGABYTES * 1_000_000 // len(data))


def _with_outputs(data: bytes, *path: str) -> bytes:
    """The stream with 8 kB of source code as the output of every tool: what long runs are made of."""
    code = Path(__file__).read_text("utf-8") * 3
    lines = []
    for line in data.splitlines():
        record = place = json.loads(line)
        for key in path[:-1]:
            place = place.get(key, {})
        if path[-1] in place:
            place[path[-1]] = code[:8_000]
        lines.append(json.dumps(record, separators=(",", ":")).encode() + b"\n")
    return b"".join(lines)


def _feed(reader: StreamReader, data: bytes) -> float:
    began = time.perf_counter()
    for at in range(0, len(data), CHUNK):
        reader.feed(data[at : at + CHUNK])
    return len(data) / 1e6 / (time.perf_counter() - began)


def _poll(reader: StreamReader, size: int) -> float:
    began = time.perf_counter()
    reader.poll()
    return size / 1e6 / (time.perf_counter() - began)


def _codex_rollout(folder: Path) -> float:
    recorded = FIXTURES / "codex/ok"
    thread = json.loads((recorded / "stdout").read_bytes().split(b"\n", 1)[0])
    reader = CodexReader(folder)
    reader.feed(json.dumps(thread).encode() + b"\n")
    file = folder / "sessions" / f"rollout-x-{thread['thread_id']}.jsonl"
    file.parent.mkdir()
    data = _repeat((recorded / "rollout.jsonl").read_bytes())
    file.write_bytes(data)
    return _poll(reader, len(data))


def _mini(folder: Path) -> float:
    trajectory = json.loads((FIXTURES / "mini/ok/traj.json").read_text("utf-8"))
    trajectory["messages"] *= 2_000
    file = folder / "traj.json"
    file.write_text(json.dumps(trajectory, indent=2), "utf-8")
    return _poll(MiniReader(file), file.stat().st_size)


def main() -> None:
    """Print one line per reader."""
    opencode, codex = ((FIXTURES / name / "ok/stdout").read_bytes() for name in ("opencode", "codex"))
    runs: dict[str, Callable[[Path], float]] = {
        "opencode": lambda _: _feed(OpencodeReader(None), _repeat(opencode)),
        "opencode, 8 kB": lambda _: _feed(
            OpencodeReader(None), _repeat(_with_outputs(opencode, "part", "state", "output"))
        ),
        "codex stdout, 8 kB": lambda folder: _feed(
            CodexReader(folder), _repeat(_with_outputs(codex, "item", "aggregated_output"))
        ),
        "codex stdout": lambda folder: _feed(CodexReader(folder), _repeat(codex)),
        "codex rollout": _codex_rollout,
        "mini trajectory": _mini,
        "reference": lambda _: _feed(ReferenceReader(), _repeat(REFERENCE)),
        "command": lambda _: _feed(CommandReader(), _repeat(opencode)),
    }
    for name, run in runs.items():
        with tempfile.TemporaryDirectory() as folder:
            print(f"{name:20} {run(Path(folder)):8.0f} MB/s")


if __name__ == "__main__":
    main()
