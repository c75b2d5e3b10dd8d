"""All recordings of real agents, in full: read without loss, and in agreement with what the model server counted."""

import json
from collections.abc import Mapping
from pathlib import Path

import pytest

from orchestrator.domain.events import ErrorKind, ErrorSeen, TurnEnded
from orchestrator.domain.usage import TokenUsage
from tests.contract.agents_support import Reading, read_recording

_RECORDINGS = Path(__file__).parents[2].parent / "shared/fixtures/agents"
pytestmark = pytest.mark.skipif(not _RECORDINGS.is_dir(), reason="the recordings beside the checkout are not here")

_STREAMS = sorted(
    file
    for agent in ("opencode", "opencodesteps", "codex")
    for file in (_RECORDINGS / agent).rglob("*stdout")
    if "serve" not in file.parent.name  # another interface: an event stream for people's own clients
)
_TRAJECTORIES = sorted((_RECORDINGS / "mini").glob("*/traj.json"))


def _agent(file: Path) -> str:
    name = file.relative_to(_RECORDINGS).parts[0]
    return "opencode" if name == "opencodesteps" else name


def _label(file: Path) -> str:
    return str(file.relative_to(_RECORDINGS))


def _exit_code(file: Path) -> int | None:
    result = file.parent / "result.json"
    code = json.loads(result.read_text("utf-8")).get("exit_code") if result.exists() else None
    return code if isinstance(code, int) else None


def _read(file: Path, folder: Path) -> Reading:
    data = file.read_bytes() if file.suffix != ".json" else b""
    chunks = [data[at : at + 4096] for at in range(0, len(data), 4096)]
    return read_recording(_agent(file), file.parent, folder, chunks, _exit_code(file))


@pytest.mark.parametrize("file", [*_STREAMS, *_TRAJECTORIES], ids=_label)
def test_every_recording_is_read_without_loss(file: Path, tmp_path: Path) -> None:
    assert _read(file, tmp_path).unparsed == 0


def _served(record: Mapping[str, object]) -> TokenUsage:
    usage = record["usage"]
    assert isinstance(usage, dict)
    return TokenUsage(
        input=usage["pt"] - usage["cached"],
        output=usage["out"] - usage["reas"],
        cache_read=usage["cached"],
        reasoning=usage["reas"],
    )


@pytest.mark.parametrize(
    "file",
    [file for file in [*_STREAMS, *_TRAJECTORIES] if (file.parent / "server.jsonl").exists()],
    ids=_label,
)
def test_every_turn_s_usage_is_what_the_server_counted(file: Path, tmp_path: Path) -> None:
    records = [json.loads(line) for line in (file.parent / "server.jsonl").read_text("utf-8").splitlines()]
    # A title is asked for beside the session, without tools: no agent tells it as a turn.
    mains = [request["main"] for request in records if request["m"] == "POST"]
    answers = [record for record in records if record["m"] == "TURN"]
    wanted = [_served(record) for record, main in zip(answers, mains, strict=True) if main]
    turns = [turn.usage for turn in _read(file, tmp_path).of(TurnEnded)]
    assert [(u.input, u.output, u.cache_read, u.reasoning) for u in turns] == [
        (u.input, u.output, u.cache_read, u.reasoning) for u in wanted
    ]


_KINDS = {
    "401": ErrorKind.AUTH,
    "429": ErrorKind.RATE_LIMIT,
    "500": ErrorKind.SERVER,
    "usage": ErrorKind.USAGE_LIMIT,
    "ctxlen": ErrorKind.CONTEXT_OVERFLOW,
}


@pytest.mark.parametrize(
    "file",
    [file for file in [*_STREAMS, *_TRAJECTORIES] if file.parent.name in _KINDS and _exit_code(file) == 1],
    ids=_label,
)
def test_structured_errors_have_their_kind(file: Path, tmp_path: Path) -> None:
    kinds = {error.kind for error in _read(file, tmp_path).of(ErrorSeen)}
    assert kinds == {_KINDS[file.parent.name]}
