"""One stage under supervision: real processes, real pipes, the real watch; the agent is a few lines of script."""

import os
import sys
import threading
import time
from collections.abc import Callable, Sequence
from pathlib import Path

import pytest

from orchestrator.clock import boot_seconds
from orchestrator.domain.decision import Action
from orchestrator.domain.events import (
    AgentEnded,
    EndReason,
    Event,
    MessageSaid,
    OutputSeen,
    RequestEnded,
    ToolCalled,
)
from orchestrator.domain.limits import Limits
from orchestrator.domain.outcome import Outcome
from orchestrator.domain.usage import TokenUsage
from orchestrator.domain.watch import StageFrame, Watch
from workers.agents.base import Launch
from workers.supervision.inbox import StageInbox
from workers.supervision.lease import LeaseView
from workers.supervision.process import ShimReason
from workers.supervision.supervisor import StageEnd, run_stage


class LineReader:
    """Every line is a message; `tool NAME` is a tool call. A file `session` in `folder` is read by `poll`."""

    def __init__(self, folder: Path) -> None:
        self.unparsed = 0
        self._session = folder / "session"
        self._rest = b""

    def feed(self, data: bytes) -> Sequence[Event]:
        *lines, self._rest = (self._rest + data).split(b"\n")
        return [self._event(line.decode()) for line in lines]

    def poll(self) -> Sequence[Event]:
        if not self._session.exists():
            return []
        text = self._session.read_text()
        self._session.unlink()
        return [MessageSaid(text=text)]

    def finish(self, exit_code: int | None, stderr_tail: str) -> AgentEnded:
        return AgentEnded(reason=EndReason.FINISHED, exit_code=exit_code, final_text=stderr_tail)

    def _event(self, line: str) -> Event:
        word, _, rest = line.partition(" ")
        return ToolCalled(tool=rest, signature="") if word == "tool" else MessageSaid(text=line)


class Stage:
    """Runs scripts as agents and keeps what was seen."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.inbox = StageInbox()
        self.lease = LeaseView(boot_seconds() + 60)
        self.events: list[Event] = []
        self.first_event = threading.Event()

    def run(
        self,
        script: str,
        limits: Limits | None = None,
        *,
        argv: tuple[str, ...] | None = None,
        cwd: Path | None = None,
    ) -> StageEnd:
        now = boot_seconds()
        frame = StageFrame(
            limits=limits or Limits(grace=0.5),
            context_window=1000,
            prices=None,
            started_at=now,
            attempt_started_at=now,
        )
        return run_stage(
            launch=Launch(
                argv=argv or (sys.executable, "-I", "-S", "-u", "-c", script),
                env={"PATH": os.environ["PATH"]},
                cwd=cwd or self.folder,
            ),
            reader=LineReader(self.folder),
            watch=Watch(frame),
            inbox=self.inbox,
            lease=self.lease,
            transcript=self.folder / "out",
            stderr_file=self.folder / "err",
            attempt_id="attempt-1",
            now=boot_seconds,
            on_event=self._record,
        )

    def when_running(self, act: Callable[[], None]) -> threading.Thread:
        """Do something in another thread once the agent has said something."""

        def wait() -> None:
            assert self.first_event.wait(10)
            act()

        thread = threading.Thread(target=wait)
        thread.start()
        return thread

    def _record(self, event: Event, watch: Watch) -> None:
        self.events.append(event)
        self.first_event.set()


@pytest.fixture
def stage(tmp_path: Path) -> Stage:
    return Stage(tmp_path)


SILENT = "import time; print('ready'); time.sleep(60)"


def test_an_agent_that_ends_by_itself(stage: Stage) -> None:
    end = stage.run("import sys; print('one'); print('two'); print('oops', file=sys.stderr); sys.exit(3)")
    assert (end.outcome, end.detail, end.agent_ended.exit_code) == (None, "", 3)
    assert end.shim_end.reason is ShimReason.EXIT
    assert end.agent_ended in stage.events
    assert [event.text for event in stage.events if isinstance(event, MessageSaid)] == ["one", "two"]
    assert sum(event.size_bytes for event in stage.events if isinstance(event, OutputSeen)) == 8
    assert ((stage.folder / "out").read_text(), (stage.folder / "err").read_text()) == ("one\ntwo\n", "oops\n")
    assert (end.stderr_tail, end.output_bytes, end.truncated) == ("oops\n", 13, False)
    assert end.started_at < end.ended_at < end.started_at + 5


def test_an_agent_killed_by_a_signal_of_its_own(stage: Stage) -> None:
    end = stage.run("import os; os.kill(os.getpid(), 11)")
    assert (end.outcome, end.agent_ended.exit_code, end.shim_end.signal) == (None, -11, 11)


def test_a_program_that_is_not_there_is_no_exit_code_127(stage: Stage) -> None:
    end = stage.run("", argv=("no-such-agent", "--version"))
    assert (end.outcome, end.agent_ended.exit_code) == (Outcome.INFRA_ERROR, None)
    assert "no-such-agent" in end.detail
    assert Stage(stage.folder).run("raise SystemExit(127)").agent_ended.exit_code == 127


def test_a_working_directory_that_is_not_there(stage: Stage) -> None:
    end = stage.run(SILENT, cwd=stage.folder / "gone")
    assert end.outcome is Outcome.INFRA_ERROR
    assert "gone" in end.detail


@pytest.mark.parametrize(
    ("limits", "outcome"),
    [
        ({"stage_timeout": 1.2}, Outcome.STAGE_TIMEOUT),
        ({"wall_timeout": 1.2}, Outcome.WALL_TIMEOUT),
        ({"idle_timeout": 1.2}, Outcome.IDLE_TIMEOUT),
    ],
)
def test_a_silent_agent_is_ended_by_its_limit(stage: Stage, limits: dict[str, float], outcome: Outcome) -> None:
    end = stage.run(SILENT, Limits(grace=0.5, **limits))
    assert end.outcome is outcome
    assert end.shim_end.reason is ShimReason.KILLED
    assert end.ended_at - end.started_at >= 1.2


def test_an_agent_that_floods_its_output_is_ended_by_its_limit(stage: Stage) -> None:
    flood = "import os, signal\nsignal.signal(15, signal.SIG_IGN)\nwhile True: os.write(1, b'x' * 200 + b'\\n')"
    end = stage.run(flood, Limits(grace=0.2, stage_timeout=1.0, max_output_bytes=1 << 32))
    assert end.outcome is Outcome.STAGE_TIMEOUT
    assert end.ended_at - end.started_at >= 1.2


def test_the_transcript_is_bounded_and_parsing_goes_on(stage: Stage) -> None:
    end = stage.run("for _ in range(300): print('y' * 49)", Limits(max_output_bytes=4096))
    kept = (stage.folder / "out").read_bytes()
    assert (end.outcome, end.truncated, end.output_bytes) == (None, True, 15000)
    assert kept.startswith(b"y" * 49)
    assert b"\n[bakeoff: only the first 4096 bytes are kept]\n[bakeoff: there were " in kept
    assert len(kept) < 4096 + 100
    assert sum(isinstance(event, MessageSaid) for event in stage.events) == 300


@pytest.mark.parametrize("stream", [1, 2])
def test_output_beyond_four_times_the_limit_ends_the_stage(stage: Stage, stream: int) -> None:
    end = stage.run(
        f"import os\nwhile True: os.write({stream}, b'x' * 4096)", Limits(max_output_bytes=4096, grace=0.2)
    )
    assert end.outcome is Outcome.OUTPUT_LIMIT
    assert (stage.folder / ("out" if stream == 1 else "err")).stat().st_size < 4200


def test_an_order_to_end_is_carried_out_at_once(stage: Stage) -> None:
    ordered: list[float] = []

    def cancel() -> None:
        ordered.append(boot_seconds())
        stage.inbox.order_end(Outcome.CANCELLED, "a user asked")
        stage.inbox.order_end(Outcome.PAUSED, "too late to count")

    thread = stage.when_running(cancel)
    end = stage.run(SILENT)
    thread.join()
    assert (end.outcome, end.detail) == (Outcome.CANCELLED, "a user asked")
    assert end.shim_end.signal == 15  # it obeyed, so nothing waited for the grace
    assert end.ended_at - ordered[0] < 0.5


def test_an_order_given_before_the_start(stage: Stage) -> None:
    stage.inbox.order_end(Outcome.CANCELLED, "early")
    assert stage.run(SILENT).outcome is Outcome.CANCELLED


def test_events_of_the_gateway_reach_the_watch(stage: Stage) -> None:
    request = RequestEnded(
        request_id="r1",
        model_asked="m",
        model_served="m",
        status=200,
        usage=TokenUsage(input=700, output=1),
        first_byte_seconds=0.1,
        duration_seconds=0.2,
        request_bytes=1,
        response_bytes=1,
    )

    def answer_twice() -> None:
        stage.inbox.put(request)
        stage.inbox.put(request)

    thread = stage.when_running(answer_twice)
    end = stage.run(SILENT, Limits(grace=0.5, max_tokens=1402))
    thread.join()
    assert end.outcome is Outcome.TOKEN_LIMIT
    assert stage.events.count(request) == 2
    assert [notice.action for notice in end.notices] == [Action.WARN]


def test_what_the_agent_did_last_counts_also_when_it_is_gone(stage: Stage) -> None:
    end = stage.run("print('tool bash\\n' * 8, end='')")
    assert end.outcome is Outcome.LOOP_DETECTED


def test_the_session_file_is_read_while_the_agent_is_silent_and_at_its_end(stage: Stage) -> None:
    stage.run("import time; open('session', 'w').write('a'); time.sleep(1.5); open('session', 'w').write('b')")
    assert [event.text for event in stage.events if isinstance(event, MessageSaid)] == ["a", "b"]


def test_a_lease_that_is_not_renewed_ends_the_tree(stage: Stage) -> None:
    stage.lease = LeaseView(boot_seconds() + 0.7)
    end = stage.run(SILENT)
    assert (end.outcome, end.shim_end.reason) == (Outcome.LEASE_LOST, ShimReason.LEASE)


def test_a_renewed_lease_lets_the_tree_live(stage: Stage) -> None:
    stage.lease = LeaseView(boot_seconds() + 0.7)
    thread = stage.when_running(lambda: stage.lease.renew_until(boot_seconds() + 60))
    end = stage.run("import time; print('ready'); time.sleep(1)")
    thread.join()
    assert (end.outcome, end.shim_end.reason) == (None, ShimReason.EXIT)


def test_a_fault_of_the_recorder_leaves_no_process(stage: Stage) -> None:
    class Full(OSError):
        """No space left."""

    def fail(event: Event, watch: Watch) -> None:
        raise Full

    stage._record = fail  # type: ignore[method-assign]
    marker = stage.folder / "alive"
    with pytest.raises(Full):
        stage.run(f"import time\nprint('x')\nwhile True: open({str(marker)!r}, 'w').close(); time.sleep(.01)")
    marker.unlink(missing_ok=True)
    time.sleep(0.1)  # a survivor would make the file again: absence has no event to wait for
    assert not marker.exists()


def test_many_stages_at_once_share_no_descriptor(tmp_path: Path) -> None:
    stages = [Stage(tmp_path / str(number)) for number in range(8)]
    ends: dict[int, StageEnd] = {}

    def run(number: int) -> None:
        stages[number].folder.mkdir()
        listing = "import os; print(sorted(map(int, os.listdir('/proc/self/fd'))))"
        ends[number] = stages[number].run(listing)

    before = len(list(Path("/proc/self/fd").iterdir()))
    threads = [threading.Thread(target=run, args=(number,)) for number in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert [end.outcome for end in ends.values()] == [None] * 8
    # 3 is the listing's own view of the directory.
    assert {(stage.folder / "out").read_text() for stage in stages} == {"[0, 1, 2, 3]\n"}
    assert len(list(Path("/proc/self/fd").iterdir())) == before
