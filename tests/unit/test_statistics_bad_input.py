"""Evidence from which little can be concluded: the study says what, and gives no number that nobody has seen."""

from orchestrator.analysis.arms import Certainty
from orchestrator.analysis.rows import Evidence, JobRow
from orchestrator.analysis.study import Study, study
from orchestrator.reports.tables import all_tables
from tests.unit.rows_factory import NIGHT, job, many, night


def _study(jobs: list[JobRow]) -> Study:
    return study(Evidence(experiment="e", generated_at=NIGHT, jobs=tuple(jobs)))


def _rows(found: Study, key: str) -> list[tuple[str, ...]]:
    return [row for table in all_tables(found) if table.key == key for row in table.rows]


def _unknown(entry: Certainty) -> bool:
    errors = entry.errors
    return errors.within is errors.independent is errors.clustered is None


def test_one_run_per_cell_on_few_targets() -> None:
    found = _study([*many(3, 2, profile="a"), *many(2, 3, start=50, profile="b")])

    assert [entry.errors.within for entry in found.certainty] == [None, None]
    assert _rows(found, "passes") == []
    assert [(pair.p_value, pair.refusal[:16]) for pair in found.pairs] == [(None, "5 common targets")]
    assert [one.share for one in found.frontier_odds] == [None, None]
    assert found.robustness.drift.p_value is None


def test_one_target() -> None:
    jobs = [job(at, target="t", repeat=at, profile="ab"[at % 2]) for at in range(1, 13)]
    found = _study(jobs)

    assert [entry.by_target for entry in found.certainty] == [None, None]
    assert found.pairs[0].refusal.startswith("1 common target:")
    assert found.pairs[0].interval is None


def test_all_failed() -> None:
    found = _study([*many(0, 12, profile="a"), *many(0, 12, start=50, profile="b")])

    assert all(_unknown(entry) for entry in found.certainty)
    assert [one.first for one in found.robustness.scenarios] == [()]
    assert found.robustness.first_by_weight == {}
    assert [one.on_frontier for one in found.frontier_odds] == [False, False]
    assert not any(pair.apart for pair in found.pairs)
    assert found.pairs[0].interval is not None
    assert found.pairs[0].interval.low < 0 < found.pairs[0].interval.high


def test_no_prices() -> None:
    found = _study(
        [*many(9, 3, profile="a", cost_usd_micros=None), *many(4, 8, start=50, profile="b", cost_usd_micros=None)]
    )

    assert found.frontier_odds == ()
    assert [(one.value, one.refusal) for one in found.robustness.scores] == [(None, "cost not fully known")] * 2
    assert found.robustness.price_turn is None
    assert next(one for one in found.advice if one.question.startswith("Cheapest")).labels == ()
    assert ("prices", "cannot say: fewer than two ranked profiles with known cost solved anything") in _rows(
        found, "robust"
    )


def test_one_profile_and_none() -> None:
    found = _study(many(9, 3))

    assert found.pairs == ()
    assert _rows(found, "robust") == _rows(found, "pairs") == _rows(found, "frontier") == []
    empty = _study([])
    assert (empty.certainty, empty.pairs) == ((), ())


def test_the_same_rows_give_the_same_study() -> None:
    assert all_tables(study(night())) == all_tables(study(night()))
