"""Real agent programs, run as a worker runs them, against the scripted model server: no key, no cost, no network.

They are looked for in ops/agents (make agents) and on the PATH.
"""

import contextlib
import functools
import os
import subprocess
import sys
import threading
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import NoReturn

import pytest

from orchestrator.clock import boot_seconds
from orchestrator.domain.events import (
    EndReason,
    ErrorKind,
    ErrorSeen,
    Event,
    MessageSaid,
    OutputSeen,
    RequestEnded,
    RequestStarted,
    SessionStarted,
    ToolCalled,
    TurnEnded,
)
from orchestrator.domain.jobspec import ModelSpec
from orchestrator.domain.limits import Limits
from orchestrator.domain.outcome import Outcome
from orchestrator.domain.usage import TokenUsage
from orchestrator.domain.watch import StageFrame, Watch
from tests.contract.agents_support import Reading, model, stage
from tests.support.processes import marked
from tests.support.waiting import until
from workers.agents.base import StageContext
from workers.agents.registry import adapter
from workers.gateway.routes import Registration, Route
from workers.gateway.server import Gateway
from workers.judge import judge_agent_end
from workers.supervision.inbox import StageInbox
from workers.supervision.lease import LeaseView
from workers.supervision.supervisor import run_stage

pytestmark = pytest.mark.agents
ROOT = Path(__file__).parents[2]
# Under load a program of these takes a minute to start; nothing waits that long on purpose.
TIMEOUT_SECONDS = 180
# By themselves they ask for half a minute before they give in.
_FEW_RETRIES = {"CLAUDE_CODE_MAX_RETRIES": "1", "MSWEA_MODEL_RETRY_STOP_AFTER_ATTEMPT": "2"}
_HASTY = Limits(grace=2.0)
# The guard waits longer than any answer of the script asks for, so that the agent ends by itself.
_PATIENT = Limits(grace=2.0, rate_limit_wait=86_400.0)

_IN_CI = ("opencode", "codex", "claude", "mini", "reference")

SCRIPT = r"""
models:
  scripted-model:
    - match: {last: "resume please"}
      count_from: last_prompt
      turns: [{say: "Remembered.", repeat: forever}]
    # Who has no tools shows examples of answers in each request, which count as answers: one turn has to do.
    - match: {regex: "edit in blocks|I added these files to the chat"}
      turns:
        - repeat: forever
          error: {kind: rate_limit, retry_after: 1s, times: 1}
          say: "hello.py\n```python\n<<<<<<< SEARCH\nprint(\"hello\")\n=======\nprint(\"bye\")\n>>>>>>> REPLACE\n```"
          usage: {prompt_tokens: 900, completion_tokens: 50, cached_tokens: 700, reasoning_tokens: 12}
    - match: {prompt: "end of a long prompt"}
      turns:
        - say: "Looking."
          error: {kind: rate_limit, retry_after: 1s, times: 1}
          bash: "cat hello.py"
          usage: {prompt_tokens: 900, completion_tokens: 50, cached_tokens: 700, reasoning_tokens: 12}
        - {say: "Writing.", bash: "echo changed > NOTES.md"}
        - {say: "All done.", bash: "echo COMPLETE_TASK_AND_SUBMIT_FINAL_OUTPUT"}
        - {say: "All done."}
    - match: {prompt: "no key"}
      turns: [{repeat: forever, error: {kind: auth}}]
    - match: {prompt: "short limit"}
      turns: [{say: "After the limit.", error: {kind: rate_limit, retry_after: 1s, times: 1}}]
    - match: {prompt: "long limit"}
      turns: [{repeat: forever, error: {kind: rate_limit, retry_after: 3600s}}]
    - match: {prompt: "slow tool"}
      turns: [{bash: "touch started; (sleep 7531 &); sleep 7532"}]
    - match: {prompt: "used up"}
      turns: [{error: {kind: usage_limit, retry_after: 7200s}}]
    - match: {prompt: "too long"}
      turns: [{repeat: forever, error: {kind: context_overflow}}]
    - match: {prompt: "broken pipe"}
      turns: [{say: "After the break.", half_stream: 1}]
    - match: {prompt: "much output"}
      turns: [{bash: "head -c 1000000 /dev/zero | tr '\\0' x; (sleep 3 &)"}, {say: "Read."}]
    - match: {prompt: ""}
      turns: [{say: "Nothing to do."}]
"""


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """Address of a scripted model server that ends with this process."""
    script = tmp_path_factory.mktemp("script") / "script.yaml"
    script.write_text(SCRIPT, "utf-8")
    argv = [sys.executable, "-m", "workers.gateway.scripted", "--script", str(script)]
    argv += ["--parent-pid", str(os.getpid())]
    with subprocess.Popen(argv, cwd=ROOT, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        address = process.stdout.readline().strip()
        assert address, "the scripted model server did not start"
        yield address
        process.terminate()


def _host_env() -> dict[str, str]:
    places = [str(ROOT / "ops/agents/node_modules/.bin"), str(ROOT / "ops/agents/bin")]
    return {"PATH": os.pathsep.join([*places, os.environ.get("PATH", "")])}


@functools.cache
def _installed(name: str) -> bool:
    return adapter(name).version(_host_env()) is not None


def _missing(name: str) -> NoReturn:
    reason = f"{name} is not installed: {adapter(name).install_hint()}"
    if name in _IN_CI and os.environ.get("CI", "").lower() in {"1", "true"}:
        pytest.fail(reason)
    pytest.skip(reason)


@pytest.fixture(scope="module")
def gateway() -> Iterator[Gateway]:
    """The gateway of a worker."""
    running = Gateway()
    running.start()
    yield running
    running.stop()


@dataclass(frozen=True, kw_only=True)
class Run:
    """A stage that has ended: what was seen, and how a worker types it."""

    reading: Reading
    watch: Watch
    outcome: Outcome | None


@dataclass(frozen=True, kw_only=True)
class Bench:
    """Runs one agent in one job folder as a worker does: behind the gateway, under the supervisor."""

    agent: str
    server: str
    gateway: Gateway
    folder: Path

    @property
    def attempt_id(self) -> str:
        """The mark of its processes."""
        return f"{self.agent}-{self.folder.name}"

    def run(
        self,
        prompt: str,
        session_id: str | None = None,
        *,
        limits: Limits = _HASTY,
        cancelled_when: Path | None = None,
    ) -> Run:
        """One stage from launch to end; cancelled by a person as soon as the agent has made a file."""
        with contextlib.closing(StageInbox()) as inbox:
            route = Route(
                attempt_id=self.attempt_id,
                stage="1-build",
                upstream=self.server,
                protocol=self._model().protocol,
                on_event=inbox.put,
            )
            registration = self.gateway.register(route)
            try:
                context = self._context(prompt, session_id, registration)
                if cancelled_when is not None:
                    threading.Thread(target=_cancel, args=(inbox, cancelled_when), daemon=True).start()
                return self._supervised(context, limits, inbox)
            finally:
                self.gateway.unregister(registration)

    def _model(self) -> ModelSpec:
        protocol = adapter(self.agent).protocols[0]
        return model().model_copy(update={"context_window": 400_000, "protocol": protocol})

    def _context(self, prompt: str, session_id: str | None, registration: Registration) -> StageContext:
        context = stage(
            self.folder,
            prompt=prompt,
            base_url=registration.base_url,
            session_id=session_id,
            host_env=_host_env(),
            extra_env=_FEW_RETRIES,
            spec=self._model(),
        )
        (context.worktree / "hello.py").write_text('print("hello")\n')
        if not (context.worktree / ".git").exists():
            subprocess.run(["git", "init", "-q"], cwd=context.worktree, check=True)
        return replace(context, api_key=registration.api_key)

    def _supervised(self, context: StageContext, limits: Limits, inbox: StageInbox) -> Run:
        events: list[Event] = []
        began = boot_seconds()
        watch = Watch(
            StageFrame(
                limits=limits,
                context_window=context.model.context_window,
                prices=None,
                started_at=began,
                attempt_started_at=began,
                self_compacting=adapter(self.agent).compacts,
                model_names=(context.model.name,),
            )
        )
        reader = adapter(self.agent).reader(context)
        end = run_stage(
            launch=adapter(self.agent).launch(context),
            reader=reader,
            watch=watch,
            inbox=inbox,
            lease=LeaseView(began + TIMEOUT_SECONDS),
            transcript=self.folder / "transcript",
            stderr_file=self.folder / "stderr",
            attempt_id=self.attempt_id,
            now=boot_seconds,
            on_event=lambda event, _: events.append(event),
        )
        seen = tuple(event for event in events if not isinstance(event, OutputSeen | RequestStarted | RequestEnded))
        reading = Reading(events=seen, end=end.agent_ended, unparsed=reader.unparsed, output_bytes=end.output_bytes)
        outcome = end.outcome or judge_agent_end(end.agent_ended, watch.last_error).outcome
        return Run(reading=reading, watch=watch, outcome=outcome)


def _cancel(inbox: StageInbox, file: Path) -> None:
    until(file.exists, f"the agent to make {file.name}", TIMEOUT_SECONDS)
    inbox.order_end(Outcome.CANCELLED, "a person has cancelled it")


@pytest.fixture(params=[*_IN_CI, "vibe", "openhands"])
def bench(request: pytest.FixtureRequest, server: str, gateway: Gateway, tmp_path: Path) -> Bench:
    """Each of the agents that work by tools. CI has those of `_IN_CI`, and the others are tried where they are."""
    if not _installed(request.param):
        _missing(request.param)
    return Bench(agent=request.param, server=server, gateway=gateway, folder=tmp_path)


@pytest.fixture
def aider(server: str, gateway: Gateway, tmp_path: Path) -> Bench:
    """aider, which has no tools."""
    if not _installed("aider"):
        _missing("aider")
    return Bench(agent="aider", server=server, gateway=gateway, folder=tmp_path)


@pytest.fixture
def reference(server: str, gateway: Gateway, tmp_path: Path) -> Bench:
    """The reference agent, whose faults are quick to play."""
    return Bench(agent="reference", server=server, gateway=gateway, folder=tmp_path)


def test_an_agent_does_its_task_from_300_kb_in_spite_of_a_refusal_and_is_resumed(bench: Bench) -> None:
    first = bench.run("lorem ipsum " * 25_000 + "\nend of a long prompt")
    reading, told = first.reading, first.watch
    assert (bench.folder / "tree/NOTES.md").read_text() == "changed\n"
    assert (first.outcome, reading.end.final_text, reading.unparsed) == (None, "All done.", 0)
    turn = next(turn.usage for turn in reading.of(TurnEnded) if turn.usage.total is not None)
    assert ((turn.input or 0) + (turn.cache_write or 0), turn.cache_read) == (200, 700)
    assert told.stream_usage.total == told.gateway_usage.total, "the agent's account and the gateway's"
    assert [call.ok for call in reading.of(ToolCalled)][:2] == [True, True]
    assert reading.of(MessageSaid)[0].text == "Looking."
    assert told.models_served == {"scripted-model"}
    if bench.agent != "mini":  # it cannot
        session = reading.of(SessionStarted)[0].session_id
        second = bench.run("resume please", session_id=session)
        assert second.reading.of(SessionStarted)[0].session_id == session
        assert (second.outcome, second.reading.end.final_text) == (None, "Remembered.")


def test_a_wrong_key_is_the_account_s_fault(bench: Bench) -> None:
    run = bench.run("no key")
    assert run.outcome is Outcome.AUTH_ERROR
    assert {error.kind for error in run.reading.of(ErrorSeen)} == {ErrorKind.AUTH}


def test_a_limit_of_an_hour_parks_the_job_at_once(bench: Bench) -> None:
    run = bench.run("long limit")
    assert run.outcome is Outcome.QUOTA_PARKED
    assert run.watch.tick(boot_seconds()).detail.endswith("s to wait (limit 120 s)")


def test_a_cancelled_agent_leaves_nothing_alive(bench: Bench) -> None:
    started = bench.folder / "tree/started"
    run = bench.run("slow tool", cancelled_when=started)
    assert run.outcome is Outcome.CANCELLED
    assert marked([bench.attempt_id]) == {}


def test_aider_edits_by_blocks_and_is_resumed(aider: Bench) -> None:
    first = aider.run("lorem ipsum " * 25_000 + "\nPlease edit in blocks.")
    tree = aider.folder / "tree"
    assert (tree / "hello.py").read_text() == 'print("bye")\n'
    assert (first.outcome, first.reading.unparsed) == (None, 0)
    assert first.reading.end.final_text.startswith("hello.py")
    # What its summaries of a long dialogue take it does not tell: that is known to the gateway.
    assert first.watch.stream_usage == TokenUsage(input=900, output=50)
    listed = subprocess.run(["git", "status", "--short"], cwd=tree, capture_output=True, text=True, check=True)
    assert listed.stdout.split()[1:] == ["hello.py"], "it leaves nothing of its own in the tree"
    assert not any((tree / ".git/refs/heads").iterdir()), "it commits nothing"
    session = first.reading.of(SessionStarted)[0].session_id
    second = aider.run("resume please", session_id=session)
    assert second.reading.of(SessionStarted)[0].session_id == session
    assert (second.outcome, second.reading.end.final_text) == (None, "Remembered.")


@pytest.mark.parametrize(
    ("prompt", "outcome", "kind"),
    [
        ("no key", Outcome.AUTH_ERROR, ErrorKind.AUTH),
        ("too long", Outcome.CONTEXT_KILL, ErrorKind.CONTEXT_OVERFLOW),
    ],
)
def test_aider_exits_in_the_same_way_when_it_failed(
    aider: Bench, prompt: str, outcome: Outcome, kind: ErrorKind
) -> None:
    run = aider.run(prompt)
    assert (run.reading.end.exit_code, run.outcome) == (0, outcome)
    assert {error.kind for error in run.reading.of(ErrorSeen)} == {kind}


def test_the_reference_agent_waits_for_a_short_limit(reference: Bench) -> None:
    reading = reference.run("short limit").reading
    assert (reading.end.reason, reading.end.final_text) == (EndReason.FINISHED, "After the limit.")
    assert (ErrorKind.RATE_LIMIT, 1.0) in [(error.kind, error.retry_after_seconds) for error in reading.of(ErrorSeen)]


@pytest.mark.parametrize(
    ("prompt", "kind", "seconds"),
    [
        ("long limit", ErrorKind.RATE_LIMIT, 3600.0),
        ("used up", ErrorKind.USAGE_LIMIT, 7200.0),
        ("too long", ErrorKind.CONTEXT_OVERFLOW, None),
    ],
)
def test_the_reference_agent_ends_at_what_it_cannot_wait_for(
    reference: Bench, prompt: str, kind: ErrorKind, seconds: float | None
) -> None:
    reading = reference.run(prompt, limits=_PATIENT).reading
    assert (reading.end.reason, reading.end.exit_code) == (EndReason.ERROR, 1)
    (error,) = reading.of(ErrorSeen)
    assert (error.kind, error.retry_after_seconds) == (kind, seconds)


def test_the_reference_agent_asks_again_after_a_broken_answer(reference: Bench) -> None:
    assert reference.run("broken pipe").reading.end.final_text == "After the break."


def test_the_reference_agent_bounds_tool_output_and_leaves_background_children_alone(reference: Bench) -> None:
    reading = reference.run("much output").reading
    assert reading.end.final_text == "Read."
    assert (reading.of(TurnEnded)[-1].usage.input or 0) < 20_000
