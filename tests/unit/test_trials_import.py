"""Tables of trials: how every end is read, what does not fit, and that nothing is read twice."""

import gzip
from pathlib import Path

import pytest

from orchestrator.domain.errors import InvalidInput, NotFound
from orchestrator.interop.tally import Tally
from orchestrator.interop.trials import Counts, note_missing, to_results
from orchestrator.interop.trials_file import read_lines
from orchestrator.storage.imports import ImportedRun

HEADER = "submission,task,trial,resolved,failure_mode,in_tok,out_tok,started,ended,cost_usd\n"


class Read:
    """A table as it was read."""

    def __init__(self, path: Path) -> None:
        self.tally, self.counts = Tally(), Counts()
        lines = read_lines(path, self.tally)
        self.runs: list[ImportedRun] = list(to_results("x", path.name, lines, self.tally, self.counts))
        note_missing(self.counts, self.tally)
        self.found = {one.kind: (one.where, one.found, one.read_as) for one in self.tally.findings()}


def table(tmp_path: Path, *rows: str) -> Read:
    path = tmp_path / "t.csv"
    path.write_text(HEADER + "".join(row + "\n" for row in rows))
    return Read(path)


@pytest.mark.parametrize(
    ("resolved", "mode", "end"),
    [
        ("1", "unset", ("complete", "pass")),
        ("0", "unset", ("complete", "fail")),
        ("0", "agent_timeout", ("wall_timeout", "fail")),
        ("1", "agent_timeout", ("complete", "pass")),
        ("", "parse_error", ("complete", "error")),
        ("", "test_timeout", ("complete", "error")),
        ("", "unset", ("complete", "error")),
        ("0", "agent_installation_failed", ("setup_failed", None)),
        ("1", "agent_installation_failed", ("setup_failed", None)),
        ("0", "unknown_agent_error", ("agent_error", "fail")),
        ("", "agent_timeout", ("wall_timeout", None)),
        ("0", "context_length_exceeded", ("context_kill", "fail")),
        ("0", "moon_phase", ("interrupted", None)),
        ("maybe", "unset", ("complete", "error")),
    ],
)
def test_how_an_end_is_read(tmp_path: Path, resolved: str, mode: str, end: tuple[str, str | None]) -> None:
    (run,) = table(tmp_path, f"20250101_droid_gpt-5,t,1,{resolved},{mode},5,7,,,").runs
    assert (run.outcome, run.check and run.check["status"]) == end


def test_a_trial_with_all_its_numbers(tmp_path: Path) -> None:
    start, end = "2025-01-01T00:00:00+00:00", "2025-01-01T00:01:00+00:00"
    read = table(tmp_path, f"20250101_droid_gpt-5,fix it,1,1,unset,5,7,{start},{end},0.25")
    (run,) = read.runs
    assert (run.target["label"], run.cell["profile"]) == ("fix-it", "20250101_droid_gpt-5")
    assert (run.cell["spec"]["agent"], run.cell["spec"]["models"]["build"]) == ("droid", {"name": "gpt-5"})
    assert run.values["wall_seconds"] == 60.0
    stage = run.stages[0].values
    assert (stage["input_tokens"], stage["output_tokens"], stage["cost_usd_micros"]) == (5, 7, 250_000)
    assert run.record is not None
    assert run.record["record"]["task"] == "fix it", "as it stood"
    assert set(read.found) == {"time_unknown", "tokens_undivided"}, "its agent's own time is not told"


def test_what_is_not_told_is_unknown_and_never_zero(tmp_path: Path) -> None:
    read = table(tmp_path, "a_b,t,1,0,unset,0,0,2025-01-02T00:00:00,2025-01-01,0", "a_b,t,2,0,unset,,x,soon,,nan")
    values = [(run.values["wall_seconds"], *map(run.stages[0].values.get, _STAGE)) for run in read.runs]
    assert values == [(None, None, None, None)] * 2
    assert {kind: text[1] for kind, text in read.found.items() if kind in _KINDS} == {
        "tokens_zero": "1 rows say 0 tokens in and out",
        "cost_zero": "1 rows say a cost of 0",
        "no_number": "1 rows have no number in 'cost_usd'",
        "ends_before_start": "1 durations end before they begin",
        "no_time": "1 rows have a time in 'started' that cannot be read",
        "no_time_zone": "1 rows have no time zone in 'ended'",
    }


_STAGE = ("input_tokens", "output_tokens", "cost_usd_micros")
_KINDS = {"tokens_zero", "cost_zero", "no_number", "ends_before_start", "no_time", "no_time_zone"}


def test_a_trial_that_is_there_twice_counts_once(tmp_path: Path) -> None:
    read = table(
        tmp_path, "a_b,t,1,0,unset,,,,,", "a_b,t,1,0,unset,,,,,", "a_b,t,1,1,unset,,,,,", "a_b,t,2,1,unset,,,,,"
    )
    assert [run.check and run.check["status"] for run in read.runs] == ["fail", "pass"]
    assert read.found["duplicate_row"][:2] == ("t.csv:3", "1 rows are there again, word for word")
    assert read.found["duplicate_contradicts"][:2] == ("t.csv:4", "1 trials are there again, with other content")


def test_cells_with_fewer_trials_are_told(tmp_path: Path) -> None:
    rows = [f"{arm},{task},{trial},1,unset,,,,," for arm in "ab" for task in "xyz" for trial in (1, 2)]
    read = table(tmp_path, *[row for row in rows if not row.startswith(("a,x,2", "b,z"))])
    assert read.found["trials_missing"][:2] == ("a", "1 tasks have fewer than the usual 2 trials")
    assert read.found["tasks_missing"][:2] == ("b", "1 of 3 tasks have no trial")


def test_rows_that_do_not_fit_are_left_out_with_a_word(tmp_path: Path) -> None:
    read = table(tmp_path, "a_b,t,1,0,unset,,,,,", "torn,off", "", "a_b,t,2,0,unset,,,,,")
    assert len(read.runs) == 2
    assert read.found["torn_row"] == ("t.csv:3", "1 rows have 2 fields, and the header 10", "left out")


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "has no column submission, task, resolved"),
        (b"task,resolved\n", "has no column submission"),
        (b"submission,task,resolved,task\n", "has a column twice"),
        (b"submission,task,resolved\n\xff,b,c\n", "is not UTF-8"),
        (b'submission,task,resolved\na,b,"' + b"x\n" * 100_000, "is no CSV"),
        (gzip.compress(HEADER.encode() * 500)[:-20], "compressed data is damaged"),
    ],
)
def test_what_is_no_table_is_refused_in_words(tmp_path: Path, content: bytes, message: str) -> None:
    (tmp_path / "t.csv").write_bytes(content)
    with pytest.raises(InvalidInput, match=message):
        Read(tmp_path / "t.csv")


def test_a_file_that_is_not_there(tmp_path: Path) -> None:
    with pytest.raises(NotFound):
        Read(tmp_path / "none.csv")
