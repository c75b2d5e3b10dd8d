"""Results of other programs, as a user imports them: told, stored once, reported, and never run."""

import json
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest

from orchestrator.domain.errors import ExitCode
from tests.support.lab import Lab

BOARD = """
- dirname: one
  test_cases: 8
  model: o1
  editor_model: mini
  pass_rate_2: 75.0
  total_cost: 0.80
  seconds_per_case: 60
- dirname: two
  test_cases: 8
  model: mini
  pass_rate_2: 25.0
  total_cost: 0.0
- dirname: some
  test_cases: 2
  model: mini
  pass_rate_2: 100.0
"""
TRIALS = "submission,task,trial,resolved,failure_mode\n" + "".join(
    f"{arm},{task},{task}.{trial},{int(arm == 'a' or task == 'x')},unset\n"
    for arm in "ab"
    for task in "xyz"
    for trial in (1, 2)
)


@pytest.fixture
def lab(tmp_path: Path) -> Iterator[Lab]:
    with closing(Lab(tmp_path)) as one:
        (tmp_path / "board.yml").write_text(BOARD)
        (tmp_path / "trials.csv").write_text(TRIALS + "b,z,z.3,,parse_error\nb,x,x.3,0,agent_installation_failed\n")
        yield one


def test_a_leaderboard_is_reported_like_our_own_runs(lab: Lab) -> None:
    done = lab.bakeoff("import", "leaderboard", "board.yml")
    assert (done.code, done.out.splitlines()[0]) == (
        ExitCode.OK,
        "board: 2 runs compared, 16 jobs added, 0 were there already.",
    )
    assert "  set_aside  board.yml:14 (some)" in done.out.splitlines()
    report = json.loads(lab.bakeoff("report", "board", "--json").out)
    assert [(one["label"], one["solved"], one["results"]) for one in report["profiles"]] == [
        ("o1-mini", 6, 8),
        ("mini", 2, 8),
    ]
    assert [(one["label"], one["cost_usd_micros"]) for one in report["frontier"]["points"]] == [("o1-mini", 100_000)]
    assert lab.bakeoff("requeue", "board").code == ExitCode.OK
    assert {row["state"] for row in lab.results.jobs()} == {"done", "failed"}, "nothing of it is ever run"
    assert lab.bakeoff("import", "leaderboard", "board.yml", "./board.yml").code == ExitCode.USAGE
    again = lab.bakeoff("import", "trials", "trials.csv", "--name", "board")
    assert again.code == ExitCode.CONFLICT
    assert "was imported from leaderboard" in again.err


def test_trials_are_stored_once_and_a_grown_table_adds_the_rest(lab: Lab) -> None:
    told = [json.loads(lab.bakeoff("import", "trials", "trials.csv", "--json").out) for _ in "12"]
    assert [(one["added"], one["known"], one["infra"], one["not_judged"]) for one in told] == [
        (14, 0, 1, 1),
        (0, 14, 1, 1),
    ]
    with (lab.root / "trials.csv").open("a") as file:
        file.write("a,x,x.3,0,agent_timeout\n")
    assert json.loads(lab.bakeoff("import", "trials", "trials.csv", "--json").out)["added"] == 1
    report = json.loads(lab.bakeoff("report", "trials", "--json").out)
    assert [(one["label"], one["solved"], one["results"], one["unjudged"]) for one in report["profiles"]] == [
        ("a", 6, 7, 0),
        ("b", 2, 7, 1),
    ]
    assert [(row["target"], row["repeat"]) for row in lab.results.jobs() if row["profile"] == "a"] == [
        *[(task, repeat) for task in "xyz" for repeat in (1, 2)],
        ("x", 3),
    ]


def test_a_file_that_breaks_off_is_refused_and_what_was_read_is_not_lost(lab: Lab) -> None:
    (lab.root / "trials.csv").write_text(TRIALS + 'a,x,"never ends')
    done = lab.bakeoff("import", "trials", "trials.csv")
    assert done.code == ExitCode.INVALID_INPUT
    assert "is no CSV" in done.err
    (lab.root / "trials.csv").write_text(TRIALS)
    assert lab.bakeoff("import", "trials", "trials.csv").code == ExitCode.OK
    assert len(lab.results.jobs()) == 12


def test_past_runs_are_priced_again_and_a_model_without_a_price_is_refused(lab: Lab) -> None:
    (lab.root / "t.csv").write_text(
        "submission,task,trial,resolved,in_tok,out_tok,cost_usd\n20250101_droid_big,x,1,1,1000000,100,3.5\n20250101_droid_big,x,2,1,,,\n"
    )
    assert lab.bakeoff("import", "trials", "t.csv").code == ExitCode.OK
    (lab.root / "p.toml").write_text("[models.small]\ndated = 2026-01-01\ninput = 5.0\n")
    refused = lab.bakeoff("reprice", "t", "--prices", "p.toml")
    assert (refused.code, "models.'big': is missing, and 1 stages used it" in refused.err) == (3, True)
    (lab.root / "p.toml").write_text("[models.big]\ndated = 2026-01-01\ninput = 5.0\noutput = 25.0\n")
    done = json.loads(lab.bakeoff("reprice", "t", "--prices", "p.toml", "--json").out)
    assert done == {
        "experiment": "t",
        "dated": ["2026-01-01"],
        "profiles": [
            {
                "label": "20250101_droid_big",
                "stages": 2,
                "before_usd_micros": 3_500_000,
                "before_known": 1,
                "after_usd_micros": 5_002_500,
                "after_known": 1,
                "compared": 1,
                "difference_usd_micros": 1_502_500,
                "undivided": 1,
            }
        ],
    }
    shown = lab.bakeoff("reprice", "t", "--prices", "p.toml").out.splitlines()
    assert shown[1].startswith(
        "  20250101_droid_big: 3.5000 USD (1 of 2 known) before, 5.0025 USD (1 of 2 known) now; +1.5025"
    )
