"""The figures that `bakeoff analyze` must print for published results."""

import re
from contextlib import closing
from pathlib import Path

import pytest

from tests.support.lab import Lab

SHARED = Path(__file__).resolve().parents[3] / "shared" / "fixtures"

pytestmark = pytest.mark.skipif(not SHARED.is_dir(), reason="the recorded files are not beside this checkout")

BOARDS = ("aider_polyglot_leaderboard.yml", "aider_architect.yml", "tb1_trials.csv.gz")
ROUTED = ("lcb_v6_matrix.json", "stress_3x3.json")


@pytest.fixture(scope="module")
def printed(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    """What the command prints for each source, from one call."""
    files = [str(SHARED / "leaderboards" / name) for name in BOARDS] + [
        str(SHARED / "routing" / one) for one in ROUTED
    ]
    with closing(Lab(tmp_path_factory.mktemp("lab"))) as lab:
        done = lab.bakeoff("analyze", "--all", *files, env={"COLUMNS": "220", "TMPDIR": str(lab.root)})
        assert (done.code, done.err) == (0, "")
        assert not lab.home.exists(), "nothing is kept"
        assert not list(lab.root.glob("bakeoff-analyze-*"))
    names = [re.split(r"\.", Path(file).name)[0] for file in files]
    parts = re.split(rf"^({'|'.join(names)})$", done.out, flags=re.MULTILINE)[1:]
    return dict(zip(parts[::2], parts[1::2], strict=True))


def section(text: str, title: str) -> list[str]:
    """The lines under a title, up to the next empty one."""
    return text.partition(f"\n{title}\n")[2].partition("\n\n")[0].splitlines()


def test_the_frontier_of_polyglot_is_its_ladder_of_cost_ceilings(printed: dict[str, str]) -> None:
    text = printed["aider_polyglot_leaderboard"]
    rungs = [line.split()[:2] for line in section(text, "Decision memo") if re.match(r"\s*(\$|any)", line)]
    assert rungs == [
        ["$0.0014", "gpt-4o-mini-2024-07-18"],
        ["$0.0015", "DeepSeek-Chat-V3-prev"],
        ["$0.0033", "Grok-3-Mini-Beta-high"],
        ["$0.0039", "DeepSeek-V3.2-Exp-Chat"],
        ["$0.0058", "DeepSeek-V3.2-Exp-Reasoner"],
        ["$0.046", "gpt-5-low"],
        ["$0.079", "gpt-5-medium"],
        ["$0.13", "gpt-5-high"],
        ["any", "gpt-5-high"],
    ]
    on_it = [line for line in section(text, "Cost against quality") if re.search(r"\$\S+\s+\S+ %\s+yes", line)]
    assert len(on_it) == 8
    assert "17 entries say a cost of 0" in text
    assert "1 entries say no cost" in text
    assert "pass@k" not in text, "its tasks are no repeats"


def test_the_run_over_36_of_133_tasks_is_set_aside(printed: dict[str, str]) -> None:
    text = printed["aider_architect"]
    assert "o1-preview + claude-3-5-sonnet" in text or "o1-preview-claude-3-5-sonnet" in text
    assert "36 of 133 tasks were tried" in text
    assert "set aside: compared with nothing" in text


def test_the_three_standard_errors_and_the_repeats_of_droid(printed: dict[str, str]) -> None:
    text = printed["tb1_trials"]
    errors = {line.split()[0]: line.split()[1:] for line in section(text, "How sure the rates are")[1:-1] if line}
    assert errors["20250923_droid_claude-4-1-opus"] == ["80", "400", "58.75", "%", "1.22", "2.46", "4.93", "48–69"]
    repeats = [
        line.split()[3:] for line in section(text, "What repeats give") if line.startswith("20250924_droid_gpt")
    ]
    assert repeats == [["52.5", "60.5", "63.375", "65", "66.25"], ["52.5", "44.5", "39.375", "35.5", "32.5"]]


def test_local_against_cloud_task_by_task(printed: dict[str, str]) -> None:
    text = printed["lcb_v6_matrix"]
    pairs = [re.split(r"\s{2,}", line.strip()) for line in section(text, "Pairs as the source publishes them")]
    assert ["cloud gpt-5.5", "qwen3.6 plain", "175", "78", "1", "<0.001", "<0.001", "148 (84.6 %)"] in pairs
    assert ["qwen3.6 plain", "qwen3.6 DWQ", "175", "10", "11", "1", "1", "81 (46.3 %)"] in pairs
    assert "141 of 175 tasks were tried" in text
    assert "-31 as published and -32 from the totals" in text


def test_failures_of_the_environment_are_nobodys(printed: dict[str, str]) -> None:
    text = printed["stress_3x3"]
    assert "6 of 9 jobs say nothing about quality: 6 ended by infrastructure." in text
    assert "unknown 3 of 3" in text
    assert "GOTOOLCHAIN" in text
    assert "setup_failed: the environment's failure, not in quality" in " ".join(text.split())
    assert "Who is better: no profile has 5 results." in text
