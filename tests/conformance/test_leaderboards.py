"""Published leaderboards and trial tables: imported, reconciled, and reported like our own runs."""

import csv
import json
from collections import Counter
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from tests.support.lab import Lab

SHARED = Path(__file__).resolve().parents[3] / "shared" / "fixtures"
BOARDS, ROUTING = SHARED / "leaderboards", SHARED / "routing"

pytestmark = pytest.mark.skipif(not BOARDS.is_dir(), reason="the recorded files are not beside this checkout")


@pytest.fixture
def lab(tmp_path: Path) -> Iterator[Lab]:
    with closing(Lab(tmp_path)) as one:
        yield one


def told(lab: Lab, *words: str) -> Any:
    done = lab.bakeoff(*words, "--json")
    assert done.code == 0, done.err
    return json.loads(done.out)


def test_the_frontier_of_the_polyglot_board_has_eight_members(lab: Lab) -> None:
    file = str(BOARDS / "aider_polyglot_leaderboard.yml")
    imports = [told(lab, "import", "leaderboard", file, "--name", "polyglot")["imports"][0] for _ in "12"]
    assert [(one["added"], one["known"]) for one in imports] == [(69 * 225, 0), (0, 69 * 225)]
    assert sum(run["cost_usd"] is None for run in imports[0]["runs"]) == 18
    kinds = Counter(finding["kind"] for finding in imports[0]["findings"])
    assert kinds == {
        "cost_zero": 1,
        "cost_unknown": 1,
        "other_denominator": 5,
        "tasks_missing": 2,
        "tokens_undivided": 1,
        "tasks_unnamed": 1,
        "versions_differ": 1,
    }
    report = told(lab, "report", "polyglot")
    assert [point["label"] for point in report["frontier"]["points"] if point["on_frontier"]] == [
        "gpt-4o-mini-2024-07-18",
        "DeepSeek-Chat-V3-prev",
        "Grok-3-Mini-Beta-high",
        "DeepSeek-V3.2-Exp-Chat",
        "DeepSeek-V3.2-Exp-Reasoner",
        "gpt-5-low",
        "gpt-5-medium",
        "gpt-5-high",
    ]
    assert {point["label"] for point in report["frontier"]["apart"]} >= {"Gemini-2.0-Pro-exp-02-05"}


def test_architect_pairs_and_the_run_over_a_quarter_of_the_tasks(lab: Lab) -> None:
    (one,) = told(lab, "import", "leaderboard", str(BOARDS / "aider_architect.yml"))["imports"]
    assert len(one["runs"]) == 19
    pairs = {run["profile"] for run in one["runs"]}
    assert pairs >= {"o1-preview + claude-3-5-sonnet", "o1-mini + gpt-4o"}
    found = {finding["kind"]: finding["found"] for finding in one["findings"]}
    assert found["set_aside"] == "36 of 133 tasks were tried"
    assert "'claude-3.5-sonnet', then 'claude-3-5-sonnet'" in found["key_twice"]


def test_trials_keep_what_nobody_judged_apart_from_what_failed(lab: Lab) -> None:
    one = told(lab, "import", "trials", str(BOARDS / "tb1_trials.csv.gz"))
    assert (one["experiment"], one["added"], one["infra"], one["not_judged"]) == ("tb1_trials", 3543, 4, 221)
    report = told(lab, "report", "tb1_trials")
    profiles = {entry["label"]: entry for entry in report["profiles"]}
    assert {
        name: (profiles[name]["solved"], profiles[name]["results"], profiles[name]["jobs"])
        for name in ("20250923_droid_claude-4-1-opus", "20250924_droid_gpt-5", "20250711_openhands_claude-4-sonnet")
    } == {
        "20250923_droid_claude-4-1-opus": (235, 400, 400),
        "20250924_droid_gpt-5": (210, 400, 400),
        "20250711_openhands_claude-4-sonnet": (165, 396, 400),
    }


def test_a_local_model_beside_the_cloud(lab: Lab) -> None:
    (one,) = told(lab, "import", "leaderboard", str(ROUTING / "lcb_v6_matrix.json"))["imports"]
    assert {run["profile"]: run["solved"] for run in one["runs"]} == {
        "gpt-5.5 cloud (codex)": 147,
        "qwen3.6-35b-a3b-4bit plain": 70,
        "qwen3.6-35b-a3b DWQ": 71,
        "qwen3.5-27b dense": 67,
        "qwen3.6 DWQ thinking": 39,
        "qwen3.5-35b-a3b": 31,
    }
    found = {finding["kind"]: finding["found"] for finding in one["findings"]}
    assert found["set_aside"] == "141 of 175 tasks were tried", "it is comparable on the shared tasks only"
    assert found["pair_contradicts"] == "the net difference is -31 as published and -32 from the totals"


def test_failures_of_the_environment_say_nothing_about_the_profile(lab: Lab) -> None:
    cells = json.loads((ROUTING / "stress_3x3.json").read_text())["cells"]
    with (lab.root / "stress.csv").open("w", newline="") as file:
        table = csv.writer(file)
        table.writerow(["submission", "task", "trial", "resolved", "failure_mode"])
        for cell in cells:
            mode = "invalid_environment" if cell["true_cause"] else "unset"
            table.writerow(["m", f"{cell['repo']}-{cell['task']}", "1", int(cell["outcome"] == "success"), mode])
    assert told(lab, "import", "trials", "stress.csv")["infra"] == 6
    (profile,) = told(lab, "report", "stress")["profiles"]
    assert (profile["solved"], profile["results"], profile["jobs"]) == (3, 3, 9)
    assert profile["standings"]["infra"] == 6
