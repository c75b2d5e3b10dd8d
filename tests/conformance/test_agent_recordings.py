"""All recordings of real agents: read without loss, typed rightly, and in agreement with the model server."""

import json
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

import pytest

from orchestrator.domain.events import ErrorKind, ErrorSeen, TurnEnded
from orchestrator.domain.usage import TokenUsage
from tests.contract.agent_cases import agents, manifest, outcome_of, read_recording, stated
from tests.contract.agents_support import Reading

_RECORDINGS = Path(__file__).parents[2].parent / "shared/fixtures/agents"
pytestmark = pytest.mark.skipif(not _RECORDINGS.is_dir(), reason="the recordings beside the checkout are not here")


@dataclass(frozen=True, kw_only=True)
class Recording:
    """One run of one agent: its folder, the name of its standard output, and by which name its end is stated."""

    agent: str
    folder: Path
    stdout: str
    name: str

    @property
    def label(self) -> str:
        """Agent and name."""
        return f"{self.agent}-{self.name}"

    @property
    def stated(self) -> Mapping[str, object] | None:
        """Its entry in the agent's fixture folder: its own, or the one of the folder of several like it."""
        entries = stated(self.agent) | dict(manifest(self.agent).more)
        return entries.get(self.name) or entries.get(self.name.rsplit("/", 1)[0])

    @property
    def result(self) -> Mapping[str, object]:
        """What the recorder noted."""
        file = self.folder / "result.json"
        noted: dict[str, object] = json.loads(file.read_text("utf-8")) if file.exists() else {}
        return noted

    def read(self, folder: Path) -> Reading:
        """Read it in pieces, as from a pipe."""
        file = self.folder / self.stdout
        data = file.read_bytes() if file.exists() else b""
        chunks = [data[at : at + 4096] for at in range(0, len(data), 4096)]
        # Where none was noted the run had ended well.
        code = self.result.get("exit_code", 0)
        assert isinstance(code, int)
        return read_recording(self.agent, self.folder, folder, chunks, code, stdout=self.stdout)


def _recordings(agent: str) -> Iterator[Recording]:
    for root in (_RECORDINGS / name for name in manifest(agent).recordings):
        outputs = {*root.rglob("*stdout"), *(file.with_name("stdout") for file in root.rglob("result.json"))}
        for output in sorted(outputs):
            part = output.name.removesuffix("stdout").rstrip(".")
            path = output.parent.relative_to(root if root.name == agent else _RECORDINGS)
            name = (path / part if part else path).as_posix()
            if name.partition("/")[0] not in manifest(agent).unread:
                yield Recording(agent=agent, folder=output.parent, stdout=output.name, name=name)


_ALL = [recording for agent in agents() for recording in _recordings(agent)]


@pytest.mark.parametrize("recording", _ALL, ids=lambda recording: recording.label)
def test_every_recording_is_read_without_loss_and_typed_as_stated(recording: Recording, tmp_path: Path) -> None:
    entry = recording.stated
    assert entry is not None, f"no outcome is stated for it: see tests/fixtures/agents/{recording.agent}/agent.json"
    reading = recording.read(tmp_path)
    play = {name: str(entry[name]) for name in ("served", "then") if name in entry}
    assert (reading.unparsed, outcome_of(recording.agent, reading, **play)) == (0, entry["outcome"])


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
    "recording",
    [each for each in _ALL if (each.folder / "server.jsonl").exists()],
    ids=lambda recording: recording.label,
)
def test_every_turn_s_usage_is_what_the_server_counted(recording: Recording, tmp_path: Path) -> None:
    records = [json.loads(line) for line in (recording.folder / "server.jsonl").read_text("utf-8").splitlines()]
    # A title is asked for beside the session, without tools: no agent tells it as a turn.
    mains = [request["main"] for request in records if request["m"] == "POST"]
    answers = [record for record in records if record["m"] == "TURN"]
    wanted = [_served(record) for record, main in zip(answers, mains, strict=True) if main]
    turns = recording.read(tmp_path).of(TurnEnded)
    sent, wanted_sent = ([_sent(usage) for usage in usages] for usages in (_main(turns), wanted))
    assert sent == wanted_sent
    # Some tell what was answered with each turn and some in the end.
    assert _answered(turn.usage for turn in turns) == _answered(wanted)


def _main(turns: Iterable[TurnEnded]) -> list[TokenUsage]:
    return [turn.usage for turn in turns if not turn.subagent]


def _sent(usage: TokenUsage) -> tuple[int, int]:
    """Tokens that were new, and those from a cache: which of the new ones go into a cache not every server tells."""
    return (usage.input or 0) + (usage.cache_write or 0), usage.cache_read or 0


def _answered(usages: Iterable[TokenUsage]) -> int:
    return sum((usage.output or 0) + (usage.reasoning or 0) for usage in usages)


_KINDS = {
    "401": ErrorKind.AUTH,
    "429": ErrorKind.RATE_LIMIT,
    "500": ErrorKind.SERVER,
    "usage": ErrorKind.USAGE_LIMIT,
    "ctxlen": ErrorKind.CONTEXT_OVERFLOW,
}


@pytest.mark.parametrize(
    "recording",
    [each for each in _ALL if each.name in _KINDS and each.result.get("exit_code") == 1],
    ids=lambda recording: recording.label,
)
def test_structured_errors_have_their_kind(recording: Recording, tmp_path: Path) -> None:
    kinds = {error.kind for error in recording.read(tmp_path).of(ErrorSeen)}
    # With a key instead of a subscription Claude Code takes a used-up window for any other limit.
    assert kinds == {_KINDS[recording.name]} or (recording.label, kinds) == ("claude-usage", {ErrorKind.RATE_LIMIT})
