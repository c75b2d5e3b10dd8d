"""Real agent programs, launched by their adapters, against the scripted model server: no key, no cost, no network.

opencode is looked for in ops/agents (make agents) and on the PATH, mini in ops/agents too.
"""

import os
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import NoReturn

import pytest

from orchestrator.domain.events import (
    EndReason,
    ErrorKind,
    ErrorSeen,
    MessageSaid,
    SessionStarted,
    ToolCalled,
    TurnEnded,
)
from tests.contract.agents_support import Reading, model, read, stage
from workers.agents.registry import adapter

pytestmark = pytest.mark.agents
ROOT = Path(__file__).parents[2]
TIMEOUT_SECONDS = 90

SCRIPT = """
models:
  scripted-model:
    - match: {last: "resume please"}
      count_from: last_prompt
      turns: [{say: "Remembered."}]
    - match: {prompt: "end of a long prompt"}
      turns:
        - {say: "Looking.", bash: "cat hello.py", usage: {prompt_tokens: 900, completion_tokens: 50,
                                                          cached_tokens: 700, reasoning_tokens: 12}}
        - {say: "Writing.", bash: "echo changed > NOTES.md"}
        - {say: "All done.", bash: "echo COMPLETE_TASK_AND_SUBMIT_FINAL_OUTPUT"}
        - {say: "All done."}
    - match: {prompt: "no key"}
      turns: [{error: {kind: auth}}]
    - match: {prompt: "short limit"}
      turns: [{say: "After the limit.", error: {kind: rate_limit, retry_after: 1s, times: 1}}]
    - match: {prompt: "long limit"}
      turns: [{error: {kind: rate_limit, retry_after: 3600s}}]
    - match: {prompt: "used up"}
      turns: [{error: {kind: usage_limit, retry_after: 7200s}}]
    - match: {prompt: "too long"}
      turns: [{error: {kind: context_overflow}}]
    - match: {prompt: "broken pipe"}
      turns: [{say: "After the break.", half_stream: 1}]
    - match: {prompt: "much output"}
      turns: [{bash: "head -c 1000000 /dev/zero | tr '\\\\0' x; (sleep 3 &)"}, {say: "Read."}]
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


def _missing(name: str) -> NoReturn:
    reason = f"{name} is not installed: {adapter(name).install_hint()}"
    if os.environ.get("CI", "").lower() in {"1", "true"}:
        pytest.fail(reason)
    pytest.skip(reason)


@dataclass(frozen=True, kw_only=True)
class Bench:
    """Runs one agent in one job folder."""

    agent: str
    server: str
    folder: Path

    def run(self, prompt: str, session_id: str | None = None) -> Reading:
        """One stage from launch to end."""
        context = stage(
            self.folder,
            prompt=prompt,
            base_url=f"{self.server}/attempt/build",
            session_id=session_id,
            host_env=_host_env(),
            spec=model().model_copy(update={"context_window": 400_000}),
        )
        (context.worktree / "hello.py").write_text('print("hello")\n')
        if not (context.worktree / ".git").exists():
            subprocess.run(["git", "init", "-q"], cwd=context.worktree, check=True)
        reader = adapter(self.agent).reader(context)
        launch = adapter(self.agent).launch(context)
        with (launch.stdin_file or Path(os.devnull)).open("rb") as stdin:
            done = subprocess.run(
                launch.argv,
                env=dict(launch.env),
                cwd=launch.cwd,
                stdin=stdin,
                capture_output=True,
                timeout=TIMEOUT_SECONDS,
                check=False,
            )
        return read(reader, [done.stdout], done.returncode)


@pytest.fixture(params=["opencode", "mini", "reference"])
def bench(request: pytest.FixtureRequest, server: str, tmp_path: Path) -> Bench:
    """Each agent that speaks Chat Completions."""
    if adapter(request.param).version(_host_env()) is None:
        _missing(request.param)
    return Bench(agent=request.param, server=server, folder=tmp_path)


@pytest.fixture
def reference(server: str, tmp_path: Path) -> Bench:
    """The reference agent, whose faults are quick to play."""
    return Bench(agent="reference", server=server, folder=tmp_path)


def test_an_agent_does_its_task_from_a_prompt_of_300_kb(bench: Bench) -> None:
    reading = bench.run("lorem ipsum " * 25_000 + "\nend of a long prompt")
    assert (bench.folder / "tree/NOTES.md").read_text() == "changed\n"
    assert (reading.end.reason, reading.end.final_text, reading.unparsed) == (EndReason.FINISHED, "All done.", 0)
    first = reading.of(TurnEnded)[0].usage
    assert (first.input, first.cache_read, first.output, first.reasoning) == (200, 700, 38, 12)
    assert [call.ok for call in reading.of(ToolCalled)][:2] == [True, True]
    assert reading.of(MessageSaid)[0].text == "Looking."


def test_a_wrong_key_is_a_structured_error_and_no_success(bench: Bench) -> None:
    reading = bench.run("no key")
    assert reading.end.reason is EndReason.ERROR
    assert {error.kind for error in reading.of(ErrorSeen)} == {ErrorKind.AUTH}


@pytest.mark.parametrize("name", ["opencode", "reference"])
def test_a_session_is_resumed(name: str, server: str, tmp_path: Path) -> None:
    if adapter(name).version(_host_env()) is None:
        _missing(name)
    bench = Bench(agent=name, server=server, folder=tmp_path)
    first = bench.run("Nothing yet.").of(SessionStarted)[0].session_id
    second = bench.run("resume please", session_id=first)
    assert second.of(SessionStarted)[0].session_id == first
    assert second.end.final_text == "Remembered."


def test_the_reference_agent_waits_for_a_short_limit(reference: Bench) -> None:
    reading = reference.run("short limit")
    assert (reading.end.reason, reading.end.final_text) == (EndReason.FINISHED, "After the limit.")
    assert [(error.kind, error.retry_after_seconds) for error in reading.of(ErrorSeen)] == [
        (ErrorKind.RATE_LIMIT, 1.0)
    ]


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
    reading = reference.run(prompt)
    assert (reading.end.reason, reading.end.exit_code) == (EndReason.ERROR, 1)
    (error,) = reading.of(ErrorSeen)
    assert (error.kind, error.retry_after_seconds) == (kind, seconds)


def test_the_reference_agent_asks_again_after_a_broken_answer(reference: Bench) -> None:
    assert reference.run("broken pipe").end.final_text == "After the break."


def test_the_reference_agent_bounds_tool_output_and_leaves_background_children_alone(reference: Bench) -> None:
    reading = reference.run("much output")
    assert reading.end.final_text == "Read."
    assert (reading.of(TurnEnded)[-1].usage.input or 0) < 20_000
