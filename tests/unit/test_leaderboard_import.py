"""Published leaderboards as runs: what is compared, what is set aside, and what each contradiction is read as."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from orchestrator.domain.errors import InvalidInput
from orchestrator.interop.leaderboard import BoardRun, about_all, read_runs
from orchestrator.interop.leaderboard_file import read_board
from orchestrator.interop.leaderboard_results import to_results
from orchestrator.interop.tally import Tally

ENTRY = """
- dirname: {name}
  test_cases: {ran}
  model: {model}
  pass_rate_2: {rate}
  seconds_per_case: 2.5
  total_cost: {cost}
  command: aider --model x
  date: 2025-01-02
  versions: 0.1
"""


def entry(name: str, *, ran: int = 100, model: str = "m", rate: float = 40.0, cost: object = 1.5) -> str:
    return ENTRY.format(name=name, ran=ran, model=model, rate=rate, cost=cost)


def read(text: str) -> tuple[list[BoardRun], dict[str, tuple[str, str, str]]]:
    tally = Tally()
    runs = read_runs(read_board(text, "b.yml", tally), tally)
    found = [*tally.findings(), *about_all(runs)]
    return runs, {one.kind: (one.where, one.found, one.read_as) for one in found}


def test_a_run_over_few_of_the_tasks_is_set_aside_and_one_that_misses_some_keeps_them_missing() -> None:
    runs, found = read(entry("a") + entry("b") + entry("few", ran=36) + entry("most", ran=99))
    assert [(run.name, run.solved, run.ran, run.tasks) for run in runs] == [
        ("a", 40, 100, 100),
        ("b", 40, 100, 100),
        ("most", 40, 99, 100),
    ]
    assert found["set_aside"] == (
        "b.yml:22 (few)",
        "36 of 100 tasks were tried",
        "set aside: compared with nothing",
    )
    assert found["tasks_missing"][1:] == ("99 of 100 tasks were tried", "1 jobs without a result")
    ends = [run.outcome.value for run in to_results("x", "x", runs[2:])]
    assert (ends.count("complete"), ends.count("checks_failed"), ends[-1]) == (40, 59, "interrupted")


def test_no_cost_and_a_cost_of_zero_are_told_apart_and_neither_is_free() -> None:
    runs, found = read(entry("a") + entry("zero", cost="0.0") + entry("none", cost=""))
    assert [run.cost_usd_micros for run in runs] == [1_500_000, None, None]
    assert found["cost_zero"] == ("b.yml:12", "1 entries say a cost of 0", "unknown: a price was missing")
    assert found["cost_unknown"] == ("b.yml:22", "1 entries say no cost", "unknown")


def test_a_key_that_is_given_twice_is_told_with_both_values() -> None:
    runs, found = read(entry("a") + "  editor_model: one\n  editor_model: two\n")
    assert [(run.label, run.editor) for run in runs] == [("m + two", "two")]
    assert found["key_twice"][:2] == ("b.yml:12", "editor_model is given twice in one entry: first 'one', then 'two'")


def test_a_rate_is_held_against_its_own_count() -> None:
    runs, found = read(
        entry("a", rate=61.7).replace("pass_rate_2", "pass_num_2: 139\n  total_tests: 225\n  pass_rate_2")
        .replace("test_cases: 100", "test_cases: 224")
        + entry("b", ran=224, rate=50.0).replace("pass_rate_2", "pass_num_2: 100\n  pass_rate_2")
    )  # fmt: skip
    assert [(run.solved, run.ran, run.tasks) for run in runs] == [(139, 224, 225), (100, 224, 225)]
    assert found["other_denominator"][1] == "61.7 % is 139 of 225, and 224 tasks were tried"
    assert found["rate_contradicts"][1:] == ("50.0 % is said, and 100 of 224 is 44.6 %", "100 of 224")


def test_a_name_that_is_there_twice_is_read_once() -> None:
    runs, found = read(entry("a") + entry("a") + entry("a", rate=50.0))
    assert [run.solved for run in runs] == [40]
    assert found["duplicate"] == ("b.yml:12", "a again, word for word", "the one in line 2")
    assert found["duplicate_contradicts"] == ("b.yml:22", "a again, with other numbers", "the one in line 2")


def test_what_cannot_be_counted_is_left_out_with_a_word() -> None:
    bad = "- model: no numbers\n- 7\n" + entry("over", rate=200.0) + entry("a")
    runs, found = read(bad)
    assert [run.name for run in runs] == ["a"]
    assert found["no_entry"][:2] == ("b.yml:2", "1 items that are no mappings")
    assert found["no_denominator"][0] == "b.yml:1"
    assert found["no_result"][1] == "200 of 100 solved, at a rate of 200.0"


@pytest.mark.parametrize("text", ["", "a: [", "just words", "rows: 7", "- &a [*a", "[" * 5000, "\0"])
def test_what_is_no_leaderboard_is_refused_in_words(text: str) -> None:
    with pytest.raises(InvalidInput, match=r"b\.yml"):
        read(text)


def test_summaries_of_another_shape_are_read_and_their_pairs_are_checked() -> None:
    runs, found = read(
        '{"benchmark": "lcb", "rows": [{"model": "local", "n": 10, "solved": 4, "published_pct": 40, "wall_min": 5}],'
        ' "pairwise": [{"a": "x", "b": "y", "published_net": -31, "net_from_totals": -32, "both": 1, "a_only": 1,'
        ' "b_only": 1, "neither": 1, "sum": 5}]}'
    )
    assert [(run.name, run.solved, run.ran, run.seconds) for run in runs] == [("local", 4, 10, 300.0)]
    assert found["pair_contradicts"][1] == "the net difference is -31 as published and -32 from the totals"
    assert found["pair_incomplete"][1] == "its four parts are 4 tasks and not 5"


@given(st.integers(1, 300), st.integers(0, 10**9), st.integers(0, 10**6))
def test_shares_add_up_to_the_whole(ran: int, micros: int, tokens: int) -> None:
    text = entry("a", ran=ran, rate=0, cost=micros / 1e6) + f"  prompt_tokens: {tokens}\n"
    (run,), _ = read(text)
    stages = [stage.values for job in to_results("x", "x", [run]) for stage in job.stages]
    assert len(stages) == ran
    if micros:
        assert sum(stage["cost_usd_micros"] for stage in stages) == micros
    else:
        assert {stage["cost_usd_micros"] for stage in stages} == {None}
    if tokens:
        assert sum(stage["input_tokens"] for stage in stages) == tokens
