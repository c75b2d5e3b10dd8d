"""Evidence from which little can be concluded, in every form of the report: it says what, and invents no number."""

import io
import json
import re
from typing import Any, NamedTuple

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from rich.console import Console

from orchestrator.analysis.rows import Evidence, JobRow, ProfileRow, StageRow
from orchestrator.analysis.study import Study, study
from orchestrator.domain.outcome import Outcome
from orchestrator.domain.states import JobState
from orchestrator.domain.usage import TokenUsage
from orchestrator.reports import as_json, html, markdown, terminal
from orchestrator.reports.options import PLAIN
from orchestrator.reports.table import Table
from orchestrator.reports.tables_tasks import efficiency
from tests.unit.rows_factory import NIGHT, job, many

UNKNOWN: dict[str, Any] = {
    "cost_usd_micros": None,
    "tokens": TokenUsage(),
    "wall_seconds": None,
    "working_seconds": None,
    "rate_limit_wait_seconds": None,
    "remote_calls": None,
    "local_calls": None,
}
DEAD: dict[str, Any] = {"outcome": Outcome.INFRA_ERROR, "state": JobState.FAILED}


class Forms(NamedTuple):
    """One report in its four forms."""

    terminal: str
    markdown: str
    html: str
    json: str

    @property
    def for_people(self) -> tuple[str, ...]:
        return self[:3]


def forms(found: Study) -> Forms:
    console = Console(file=io.StringIO(), width=240, color_system=None)
    console.print(terminal.render(found, 240))
    page = html.render(found, PLAIN).partition('<h2 id="read">')[0]  # what follows explains and has no numbers
    page = page.partition("</style>")[2]
    printed = console.file.getvalue()  # type: ignore[attr-defined]
    return Forms(printed, markdown.render(found, PLAIN), page, as_json.render(found, PLAIN))


def evidence(*jobs: JobRow, **more: Any) -> Evidence:
    return Evidence(experiment="e", generated_at=NIGHT, jobs=jobs, **more)


def assert_nothing_is_invented(told: Forms) -> None:
    for text in told:
        assert re.search(r"\b(nan|inf|infinity)\b", text, re.IGNORECASE) is None
    for pair in json.loads(told.json)["pairs"]:
        claimed = [pair[key] for key in ("difference", "interval", "p_value", "p_corrected", "test")]
        assert bool(pair["refusal"]) == (claimed == [None] * 5), pair
    # In a row that cannot be judged no number stands where one would be.
    for line in told.terminal.splitlines() + told.markdown.splitlines():
        if "cannot say:" in line and "common target" in line:
            assert re.search(r"\b(p|p-value)\b.{0,3}\d", line) is None


SAYS = {
    "one run per cell": (
        evidence(*many(5, 1, profile="a"), *many(3, 3, start=50, profile="b")),
        ["Profiles two by two", "shares of resamples need 10 targets"],
    ),
    "one target": (
        evidence(*(job(at, target="t", repeat=at, profile="ab"[at % 2]) for at in range(1, 13))),
        ["1 common target: even one that is better", "fewer than 6, and the numbers speak of these alone"],
    ),
    "all cells failed": (
        evidence(*many(0, 12, profile="a"), *many(0, 12, start=50, profile="b")),
        ["No profile solved anything", "nobody solved anything. Easier targets"],
    ),
    "no prices": (
        evidence(
            *many(9, 3, profile="a", cost_usd_micros=None), *many(4, 8, start=50, profile="b", cost_usd_micros=None)
        ),
        ["What is worth its money: no cost is fully known", "cost is known for 0 of 24"],
    ),
    "one profile": (
        evidence(*many(9, 3)),
        ["no other profile has enough results for a comparison", "only one profile has enough results"],
    ),
    "duplicated imports": (
        evidence(*many(9, 3, profile="a"), *many(9, 3, start=50, profile="a")),
        ["is there 2 times; each counts as a run of its own", "12 contradictions in the data"],
    ),
    "mixed harness versions": (
        evidence(
            *many(9, 3, profile="hybrid"),
            profiles=tuple(
                ProfileRow(
                    profile="hybrid",
                    profile_hash="a" * 64,
                    agent="opencode",
                    agent_version=version,
                    reasoning_model="m",
                    build_model="m",
                )
                for version in ("1.2", "1.3", None)
            ),
        ),
        ["pools versions 1.2, 1.3, unknown of opencode", "1 contradiction in the data"],
    ),
    "an empty experiment": (evidence(), ["There is nothing to judge yet", "no job has ended with a result"]),
    "infra deaths alone": (
        evidence(*many(9, 3, profile="a"), *many(4, 0, start=50, profile="dead", **DEAD)),
        ["4 jobs of dead: ended by infrastructure", "Not ranked for want of results: dead (0 of 5)"],
    ),
    "nothing but infra deaths": (
        evidence(*many(4, 0, profile="dead", **DEAD)),
        ["There is nothing to judge yet", "Run again what ended without a result: dead"],
    ),
}


@pytest.mark.parametrize("case", SAYS)
def test_every_form_says_what_cannot_be_concluded(case: str) -> None:
    rows, sentences = SAYS[case]
    told = forms(study(rows))

    assert_nothing_is_invented(told)
    for sentence in sentences:
        for text in (told.terminal, told.html):
            assert sentence in " ".join(text.split()), sentence
        assert markdown.escape(sentence, 1000) in told.markdown
    memo = json.loads(told.json)["memo"]
    assert memo["cannot"] or case in ("duplicated imports", "mixed harness versions"), memo


@pytest.mark.parametrize("profiles", ["a", "ab"])
def test_what_nobody_measured_is_nowhere_a_zero(profiles: str) -> None:
    jobs = [one for at, name in enumerate(profiles) for one in many(8, 4, start=1 + 50 * at, profile=name, **UNKNOWN)]
    told = forms(study(evidence(*jobs)))

    for text in told.for_people:
        assert re.search(r"\$0(?![.\d])", text) is None, "a cost"
        assert re.search(r"(?<![\d.])0s\b", text) is None, "a time"
    document = json.loads(told.json)
    for profile in document["profiles"]:
        for name in ("cost_usd_micros", "tokens_total", "wall_seconds", "remote_calls", "rate_limit_wait_seconds"):
            assert profile[name]["mean"] is profile[name]["total"] is None, name
    assert all(one["takes"] == {"cost_usd_micros": None, "seconds": None} for one in document["memo"]["next"])


some_cost = st.sampled_from([None, 0, 1, 250_000])
some_end = st.sampled_from([Outcome.COMPLETE, Outcome.NO_PROGRESS, Outcome.INFRA_ERROR, Outcome.QUOTA_PARKED, None])
some_job = st.fixed_dictionaries(
    {
        "target": st.sampled_from("stuvwxyz"),
        "profile": st.sampled_from("abc"),
        "outcome": some_end,
        "cost_usd_micros": some_cost,
        "wall_seconds": st.sampled_from([None, 0.0, 60.0]),
        "repeat": st.integers(1, 3),
    }
)


def _row(at: int, facts: dict[str, Any]) -> JobRow:
    states = {Outcome.COMPLETE: JobState.DONE, Outcome.QUOTA_PARKED: JobState.PARKED, None: JobState.QUEUED}
    return job(at, state=states.get(facts["outcome"], JobState.FAILED), **facts)


@settings(max_examples=15, deadline=None)
@given(st.lists(some_job, max_size=30), st.booleans())
def test_no_report_of_any_rows_has_a_number_that_is_none(facts: list[dict[str, Any]], unnamed: bool) -> None:
    jobs = [_row(at, one) for at, one in enumerate(facts, 1)]
    assert_nothing_is_invented(forms(study(evidence(*jobs, tasks_unnamed=unnamed))))


def test_refusals_of_one_kind_share_a_row_in_every_form() -> None:
    jobs = [one for at, name in enumerate("abcdef") for one in many(3, 2, start=1 + 50 * at, profile=name)]
    told = forms(study(evidence(*jobs)))

    for text in told.for_people:
        assert text.count("5 common targets: even one") == 1
        assert "15 pairs" in text
        assert "of 6 profiles" in text
    assert len(json.loads(told.json)["pairs"]) == 15


def test_many_profiles_are_folded_and_the_folding_told() -> None:
    """61 profiles have 1,830 pairs: those with the leader are shown, and all on request."""
    jobs = [
        one
        for at in range(61)
        for one in many(8 + at % 5, 12 - at % 5, start=1 + 50 * at, profile=f"p{at:02}", cost_usd_micros=1000 + at)
    ]
    found = study(evidence(*jobs))
    told, whole = forms(found), markdown.render(found, PLAIN.evolve(everything=True))

    assert len(told.terminal.splitlines()) < 400
    for text in told.for_people:
        assert "1,830 pairs" in text
        assert "1,809 of them" in text
    assert "The first 25 of 61 rows" in told.terminal
    assert len(whole.splitlines()) > 1830
    assert "folded here" not in whole
    assert len(json.loads(told.json)["pairs"]) == 1830


def test_a_table_in_which_every_number_is_unknown_is_left_to_the_one_that_counts_them() -> None:
    bare = Table(key="k", title="t", columns=("a", "b"), rows=(("x", "unknown"), ("y", "–")), numeric=frozenset({1}))
    assert bare.tells_nothing
    assert not Table(key="k", title="t", columns=("a",), rows=(("x",),)).tells_nothing
    told = forms(study(evidence(*many(8, 4, **UNKNOWN))))
    assert "Tokens of a result by kind" not in told.terminal
    assert "What is known" in told.terminal


def test_efficiency_tells_what_is_known_of_calls_tasks_and_prechecks() -> None:
    planned = many(1, 1, profile="a", tasks_planned=3, tasks_accepted=2, tasks_at_once=1)
    builds = [
        StageRow(job_id=1, attempt=1, order=at, stage="BUILD", role="build", model_asked="m", precheck_accepted=one)
        for at, one in enumerate([True, False, None])
    ]
    found = study(evidence(*planned, *many(2, 0, start=50, profile="b", remote_calls=None), stages=tuple(builds)))
    assert efficiency(found).rows == (
        ("a", "8", "12.5", "4/6 (67 %)", "2/6 (33 %)", "1 of 3 (1 not told)"),
        ("b", "unknown", "–", "–", "–", "–"),
    )
