"""How fast each adapter reads: MB per CPU second of a long stream made of a recorded good run. Wanted: 50 or more.

Every agent with recordings is measured as it is recorded, and with 8 kB of source code as the output of every tool,
which is what long runs are made of. Recorded lines alone are short: there the cost is per event and not per byte, so
only the rows with outputs, and those of session files, have to reach what is wanted.
"""

import json
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path

ROOT = Path(__file__).parents[1]
sys.path.insert(0, str(ROOT))

from tests.contract.agent_cases import FIXTURES, agents, manifest, place_session_files, stdout_of  # noqa: E402
from tests.contract.agents_support import stage  # noqa: E402
from workers.agents.base import StreamReader  # noqa: E402
from workers.agents.command import CommandReader  # noqa: E402
from workers.agents.reference import ReferenceReader  # noqa: E402
from workers.agents.registry import adapter  # noqa: E402

WANTED_MB_PER_SECOND = 50
MEGABYTES = 40
CHUNK = 64 * 1024
OUTPUT = (Path(__file__).read_text("utf-8") * 3)[:8_000]
REFERENCE = (
    b'{"type": "turn", "usage": {"prompt_tokens": 900, "completion_tokens": 50, "prompt_tokens_details": '
    b'{"cached_tokens": 700}}, "model": "m", "finish_reason": "tool_calls"}\n'
    b'{"type": "message", "text": "Step 1: running a command."}\n'
    b'{"type": "tool", "name": "shell", "arguments": {"command": "ls -la && cat hello.py"}, "exit_code": 0}\n'
)
Row = tuple[str, float, bool]  # what, MB/s, whether it has to be as fast as wanted


def _repeat(data: bytes) -> bytes:
    return data * max(1, MEGABYTES * 1_000_000 // len(data))


def _with_outputs(data: bytes) -> bytes:
    """The stream with `OUTPUT` in place of every text of several lines: in recorded runs these are tools' outputs."""
    lines = (json.dumps(_outputs(json.loads(line)), separators=(",", ":")) for line in data.splitlines())
    return "".join(f"{line}\n" for line in lines).encode()


def _outputs(value: object) -> object:
    if isinstance(value, dict):
        return {key: _outputs(item) for key, item in value.items()}
    if isinstance(value, list):
        return [_outputs(item) for item in value]
    return OUTPUT if isinstance(value, str) and "\n" in value.strip() else value


def _feed(reader: StreamReader, data: bytes) -> float:
    began = time.process_time()
    for at in range(0, len(data), CHUNK):
        reader.feed(data[at : at + CHUNK])
    return len(data) / 1e6 / (time.process_time() - began)


def _poll(reader: StreamReader, size: int) -> float:
    began = time.process_time()
    reader.poll()
    return size / 1e6 / (time.process_time() - began)


def _stream(name: str, folder: Path) -> Iterator[Row]:
    """The rows of an agent whose standard output is JSON lines."""
    data = stdout_of(FIXTURES / name / "ok")
    if not data.lstrip().startswith(b"{"):
        return
    yield name, _feed(adapter(name).reader(stage(folder)), _repeat(data)), False
    yield f"{name}, 8 kB", _feed(adapter(name).reader(stage(folder)), _repeat(_with_outputs(data))), True


def _files(name: str, folder: Path) -> Iterator[Row]:
    """The row of an agent that tells by session files; the largest file of the recording is the one that grows."""
    case = FIXTURES / name / "ok"
    found = [file for pattern in manifest(name).files for file in case.glob(pattern) if file.is_file()]
    if not found:
        return
    reader = adapter(name).reader(stage(folder))
    reader.feed(stdout_of(case))
    largest = max(found, key=lambda file: file.stat().st_size)
    grown = folder / "recording"
    file = grown / largest.relative_to(case)
    file.parent.mkdir(parents=True)
    file.write_bytes(_grown(largest))
    place_session_files(name, grown, folder, stdout_of(case))
    size, original = file.stat().st_size, largest.read_bytes()
    # What does not grow with the steps is read in no time; and short lines cost by the event, as above.
    short = file.suffix == ".jsonl" and len(original) < 500 * original.count(b"\n")
    yield f"{name} {largest.name}", _poll(reader, size), size > 1_000_000 and not short


def _grown(file: Path) -> bytes:
    """A session file as it is after thousands of steps."""
    data = file.read_bytes()
    if file.suffix != ".json":
        return _repeat(data)
    content = json.loads(data)
    for value in content.values():
        if isinstance(value, list):
            value *= 2_000
    return json.dumps(content, indent=2).encode()


def _rows() -> Iterator[Row]:
    parts: tuple[Callable[[str, Path], Iterator[Row]], ...] = (_stream, _files)
    for name in agents():
        for part in parts:
            with tempfile.TemporaryDirectory() as folder:
                yield from part(name, Path(folder))
    yield "reference", _feed(ReferenceReader(), _repeat(REFERENCE)), False
    yield "any command", _feed(CommandReader(), _repeat(REFERENCE)), True


def main() -> int:
    """Print one line per reader; 1 when one is slower than wanted."""
    slow = 0
    for name, speed, counts in _rows():
        missed = counts and speed < WANTED_MB_PER_SECOND
        slow += missed
        print(f"{name:24} {speed:8.0f} MB/s{' (wanted: 50)' if missed else ''}", flush=True)
    return 1 if slow else 0


if __name__ == "__main__":
    sys.exit(main())
