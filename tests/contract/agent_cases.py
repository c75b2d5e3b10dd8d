"""The recorded cases of every agent, and what a worker makes of one: reader, gateway, guard and judge in turn.

Everything particular to an agent is in its fixture folder, so that adding one is no edit here:

- `<agent>/agent.json` says of its recordings: `files`, where its session files lie (a glob inside the recording, and
  the place below the stage's folders), `session`, the expression that finds the session's id in standard output
  (`{session}` in those places), `context_window` and `model`, which it was configured with. For the conformance suite
  it also names `recordings`, further folders of recordings of the same program, states `more`, the ends of recordings
  that are not kept here, and `unread`, those that no worker reads, with the reason.
- `<agent>/expected.json` states by hand, for each case, what must come out. `outcome` is how a worker types the end.
  `served` names the answer with which the gateway saw the session end, for agents that do not tell it; `then` is
  `silence` where the recording ends with an agent that still ran and said nothing more.
"""

import json
import re
import shutil
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from orchestrator.domain.decision import Action
from orchestrator.domain.events import ErrorKind, ErrorSeen, RequestEnded, RequestStarted, TurnEnded
from orchestrator.domain.limits import Limits
from orchestrator.domain.watch import StageFrame, Watch
from tests.contract.agents_support import Reading, model, read, stage
from workers.agents.registry import adapter
from workers.judge import judge_agent_end

FIXTURES = Path(__file__).parents[1] / "fixtures" / "agents"
GOOD_END = "good end"
FRESH_SESSION = "fresh session"  # the guard had the context compacted: the stage goes on with a hand-over
SILENCE = "silence"
# What the scripted provider of the recordings answered, as the gateway understands it.
ANSWERS: Mapping[str, ErrorSeen] = {
    "429": ErrorSeen(kind=ErrorKind.RATE_LIMIT, status=429, retry_after_seconds=5.0),
    "429long": ErrorSeen(kind=ErrorKind.RATE_LIMIT, status=429, retry_after_seconds=3600.0),
    "usage": ErrorSeen(kind=ErrorKind.USAGE_LIMIT, status=429, retry_after_seconds=7200.0),
    "401": ErrorSeen(kind=ErrorKind.AUTH, status=401),
    "500": ErrorSeen(kind=ErrorKind.SERVER, status=500),
    "ctxlen": ErrorSeen(kind=ErrorKind.CONTEXT_OVERFLOW, status=400),
}


@dataclass(frozen=True, kw_only=True)
class Manifest:
    """What an agent's fixture folder says about its recordings."""

    files: Mapping[str, str] = field(default_factory=dict)
    session: str | None = None
    context_window: int = 32_768
    model: str | None = None
    recordings: tuple[str, ...] = ()
    more: Mapping[str, dict[str, object]] = field(default_factory=dict)
    unread: Mapping[str, str] = field(default_factory=dict)


def manifest(agent: str) -> Manifest:
    """The manifest of `agent`; an agent that needs none has none."""
    file = FIXTURES / agent / "agent.json"
    stated = json.loads(file.read_text("utf-8")) if file.exists() else {}
    return Manifest(**stated | {"recordings": (agent, *stated.get("recordings", ()))})


def stated(agent: str) -> dict[str, dict[str, object]]:
    """What `expected.json` states, by case."""
    cases: dict[str, dict[str, object]] = json.loads((FIXTURES / agent / "expected.json").read_text("utf-8"))
    return cases


def agents() -> list[str]:
    """The agents that have recordings."""
    return sorted(file.parent.name for file in FIXTURES.glob("*/expected.json"))


def all_cases() -> Iterator[tuple[str, str]]:
    """Every agent with each of its cases."""
    yield from ((agent, case) for agent in agents() for case in stated(agent))


def read_recording(
    agent: str, case: Path, folder: Path, chunks: Sequence[bytes], exit_code: int | None, *, stdout: str = "stdout"
) -> Reading:
    """Read the recording in `case`: its session files appear where the running agent would have written them."""
    reader = adapter(agent).reader(stage(folder))
    place_session_files(agent, case, folder, stdout_of(case, stdout))
    return read(reader, chunks, exit_code)


def place_session_files(agent: str, case: Path, folder: Path, stdout: bytes) -> None:
    """Copy a recording's session files (or folders) below `folder`, which is a stage's."""
    about = manifest(agent)
    found = re.search(about.session, stdout.decode("utf-8", "replace")) if about.session else None
    for pattern, place in about.files.items():
        for source in sorted(case.glob(pattern)):
            target = folder / place.format(session=found[1] if found else "unknown", name=source.name)
            target.parent.mkdir(parents=True, exist_ok=True)
            if source.is_dir():
                shutil.copytree(source, target, dirs_exist_ok=True)
            else:
                shutil.copy(source, target)


def stdout_of(case: Path, name: str = "stdout") -> bytes:
    """A recording's standard output; where it is for people it is not kept."""
    file = case / name
    return file.read_bytes() if file.exists() else b""


def outcome_of(agent: str, reading: Reading, *, served: str | None = None, then: str | None = None) -> str:
    """How a worker types the end of this reading; `served` and `then` are those of `expected.json`."""
    about = manifest(agent)
    watch = Watch(
        StageFrame(
            limits=Limits(),
            context_window=about.context_window,
            prices=None,
            started_at=0.0,
            attempt_started_at=0.0,
            self_compacting=adapter(agent).compacts,
            model_names=(about.model,) if about.model else (),
        )
    )
    now = 0.0
    for event in reading.events:
        now += 0.1
        if isinstance(event, TurnEnded) and not event.subagent:
            watch.see(RequestStarted(request_id="next", model=None), now)  # what the gateway saw before
        watch.see(event, now)
    if served is not None:
        watch.see(_served(ANSWERS[served]), now)
    while then == SILENCE and watch.decision.action is Action.CONTINUE:
        now = watch.next_deadline(now)
        watch.tick(now)
    if watch.decision.action is Action.COMPACT:
        return FRESH_SESSION
    outcome = watch.decision.outcome or judge_agent_end(reading.end, watch.last_error).outcome
    return GOOD_END if outcome is None else outcome.value


def _served(error: ErrorSeen) -> RequestEnded:
    return RequestEnded(
        request_id="last",
        model_asked=model().name,
        model_served=None,
        status=error.status,
        usage=None,
        first_byte_seconds=0.1,
        duration_seconds=0.1,
        request_bytes=1,
        response_bytes=1,
        error=error,
    )
