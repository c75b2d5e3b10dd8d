"""Pictures of a report: what they say, what stands in their place, and that names in them stay text."""

import re
from dataclasses import replace
from datetime import timedelta
from html.parser import HTMLParser

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from orchestrator.analysis.course import AttemptSpan, ContextCurve, Course, WindowCourse, WindowPoint, thinned
from orchestrator.analysis.intervals import Interval
from orchestrator.analysis.lanes import MAX_LANE_SPANS, Holds, flow, lay_out, mean_live
from orchestrator.analysis.lanes import night as night_of
from orchestrator.analysis.paired import Pair
from orchestrator.analysis.rows import Evidence
from orchestrator.analysis.spread import cost_intervals
from orchestrator.analysis.study import Study, study
from orchestrator.domain.outcome import Outcome
from orchestrator.reports import html
from orchestrator.reports.options import ReportOptions
from orchestrator.reports.pictures import pictures
from orchestrator.reports.plots.contexts import NamedCurve, contexts_picture
from orchestrator.reports.plots.forest import MAX_PAIRS, forest
from orchestrator.reports.plots.scales import Scale, nice_steps, time_ticks, whole_steps
from orchestrator.reports.plots.windows import window_picture, window_sentence
from orchestrator.reports.stacks import end_stacks, stage_groups
from tests.unit.rows_factory import NASTY_NAME, NIGHT, job, night

HOSTILE_NAME = "<script>alert(1)</script>\"'&\u202e"


@pytest.fixture(scope="module")
def whole() -> Study:
    return study(night())


class _Elements(HTMLParser):
    """Names of elements, and the texts of titles."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.names: list[str] = []
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.names.append(tag)


def _pair(difference: float | None, *, p: float = 1.0, first: str = "a", second: str = "b") -> Pair:
    interval = None if difference is None else Interval(difference - 0.1, difference + 0.1)
    known = {} if difference is None else {"p_value": p, "p_corrected": p, "compared": 3}
    return Pair(
        first=first,
        second=second,
        targets=9,
        first_better=5,
        second_better=1,
        difference=difference,
        interval=interval,
        **known,  # type: ignore[arg-type]
    )


def _curve(*turns: tuple[int, int], compactions: tuple[int, ...] = ()) -> ContextCurve:
    return ContextCurve(job_id=1, attempt=1, order=1, window_tokens=1000, turns=turns, compactions=compactions)


# -- scales --


@given(st.floats(1e-3, 1e12), st.integers(2, 8))
def test_steps_begin_at_nothing_and_reach_past_the_most(most: float, target: int) -> None:
    steps = nice_steps(most, target)
    assert steps[0] == 0
    assert steps[-1] >= most * (1 - 1e-6)
    assert 2 <= len(steps) <= target + 2
    assert all(step == round(step) for step in whole_steps(most, target)) or most > 1e9


@given(st.floats(0, 4e9), st.floats(0.5, 4e8), st.integers(3, 12))
def test_times_are_inside_the_axis_and_few(began: float, span: float, target: int) -> None:
    scale = Scale(low=began, high=began + span, start=10, end=500)
    ticks = time_ticks(scale, target)
    assert len(ticks) <= target + 1
    assert all(10 <= tick.at <= 500 for tick in ticks)


def test_nothing_to_scale_is_no_fault() -> None:
    assert nice_steps(0) == nice_steps(float("nan")) == [0.0, 1.0]
    assert Scale(low=3, high=3, start=5, end=9)(3) == 5


# -- the night --


def test_lanes_are_as_many_as_were_busy_at_once() -> None:
    starts, ends = np.array([0.0, 5, 10, 2]), np.array([10.0, 8, 20, 4])
    holds = Holds(starts=starts, ends=ends, waited=np.zeros(4), jobs=np.arange(4), said=str)
    found = lay_out("pool:gpu", holds, 0, 20)
    assert [[span.job_id for span in lane] for lane in found.lanes] == [[0, 2], [3, 1]]
    assert (found.spans, found.held_seconds, found.busy) == (4, 25.0, ())


def test_too_many_spans_are_shown_as_how_many_were_busy() -> None:
    count = MAX_LANE_SPANS + 1
    holds = Holds(
        starts=np.zeros(count), ends=np.full(count, 10.0), waited=np.zeros(count), jobs=np.zeros(count, int), said=str
    )
    found = lay_out("pool:gpu", holds, 0, 20)
    assert found.lanes == ()
    assert found.busy == pytest.approx((*[float(count)] * 100, *[0.0] * 100))


@given(st.lists(st.tuples(st.floats(0, 100), st.floats(0, 100)), max_size=20))
def test_what_lived_is_what_the_steps_add_up_to(spans: list[tuple[float, float]]) -> None:
    starts = np.array([min(span) for span in spans])
    ends = np.array([max(span) for span in spans])
    assert mean_live(starts, ends, 0, 100).sum() / 2 == pytest.approx((ends - starts).sum())


def test_a_parked_job_waits_for_its_reset_and_then_in_the_queue() -> None:
    at = [NIGHT + timedelta(hours=hour) for hour in range(6)]
    first = AttemptSpan(
        job_id=1, number=1, machine="m", queued_at=at[0], started_at=at[1], ended_at=at[2], parked_until=at[3]
    )
    second = AttemptSpan(job_id=1, number=2, machine="m", queued_at=at[2], started_at=at[4], ended_at=at[5])
    found = flow([first, second], at[0].timestamp(), at[5].timestamp(), at[5])
    hours = {name: sum(getattr(found, name)) * 5 / 200 for name in ("waiting", "parked", "working")}
    assert hours == pytest.approx({"waiting": 2.0, "parked": 1.0, "working": 2.0})


def test_before_anything_ran_there_is_no_night() -> None:
    assert night_of(Evidence(experiment="new", generated_at=NIGHT, jobs=())) is None
    span = AttemptSpan(job_id=1, number=1, machine="m", queued_at=NIGHT, started_at=NIGHT)
    assert night_of(Evidence(experiment="new", generated_at=NIGHT, jobs=(), course=Course(attempts=(span,)))) is None


# -- pictures --


def test_pairs_that_are_told_apart_are_filled_and_bold() -> None:
    drawn = forest([_pair(0.2, p=0.01), _pair(-0.1), _pair(None)])
    assert drawn is not None
    assert drawn.count('class="dot on"') == drawn.count('class="label"') == 2  # on a screen and on a phone
    assert drawn.count('class="dot"') == 2
    assert "2 pairs with the 95 % interval of their difference; 1 are told apart" in drawn
    assert "−10 points (−20 to 0) on 9 targets, corrected p = 1: not told apart" in drawn


def test_without_a_judged_pair_there_is_no_forest_and_with_many_the_clear_ones_stay() -> None:
    assert forest([]) is forest([_pair(None)]) is None
    drawn = forest([*[_pair(0.0)] * MAX_PAIRS, _pair(0.5, p=0.001, first="last")])
    assert drawn is not None
    assert drawn.count("<circle") == 2 * MAX_PAIRS
    assert "last" in drawn


def test_a_window_is_drawn_with_gaps_where_nobody_knows() -> None:
    used = [0, 100_000, None, None, 400_000, 900_000]
    points = [WindowPoint(at=NIGHT + timedelta(minutes=at), used_ppm=ppm) for at, ppm in enumerate(used)]
    course = WindowCourse(
        account="max", window="5h", ceiling_ppm=800_000, points=tuple(points), resets=(NIGHT + timedelta(minutes=3),)
    )
    drawn = window_picture(course, 1)
    assert drawn is not None
    assert drawn.count("<polyline") == 4  # two lines, on a screen and on a phone
    assert "80 %, the rest is for people" in drawn
    assert window_sentence(course) == (
        "max, window 5h: from 0 % to 90 %, at most 90 %, 1 reset; unknown 33 % of the time."
    )


@pytest.mark.parametrize("known", [(), (100_000,)])
def test_a_window_of_one_point_or_none_is_a_sentence(known: tuple[int, ...]) -> None:
    points = tuple(WindowPoint(at=NIGHT, used_ppm=ppm) for ppm in (*known, None))
    course = WindowCourse(account="max", window="5h", ceiling_ppm=1_000_000, points=points)
    assert window_picture(course, 1) is None
    assert window_sentence(course).startswith("max, window 5h: ")
    assert ("its use is unknown" in window_sentence(course)) == (not known)


def test_curves_have_a_mark_where_the_context_was_compacted() -> None:
    one = NamedCurve(label="opus", name="job", curve=_curve((1, 500), (2, 900), (3, 100), compactions=(2,)))
    drawn = contexts_picture([one, NamedCurve(label="late", name="x", curve=_curve((1, 10)))])
    assert drawn is not None
    assert drawn.count('class="compacted"') == 2
    assert "compacted after turn 2" in drawn
    assert "at most 90 % of the window" in drawn
    assert "late" not in drawn
    assert contexts_picture([]) is None


@given(st.lists(st.integers(0, 10**6), min_size=1, max_size=400))
def test_thinning_keeps_both_ends_and_the_peak(tokens: list[int]) -> None:
    turns = list(enumerate(tokens, 1))
    kept = thinned(turns, 20)
    assert len(kept) <= 24
    assert {kept[0], kept[-1]} == {turns[0], turns[-1]}
    assert max(tokens) in {value for _, value in kept}
    assert list(kept) == sorted(set(kept))


def test_costs_have_an_interval_where_they_are_known_on_several_targets() -> None:
    priced = [job(at, profile="a", target=f"t{at % 6}", cost_usd_micros=100 * (1 + at % 3)) for at in range(12)]
    dark = [job(20 + at, profile="b", target=f"t{at}", cost_usd_micros=None if at else 5) for at in range(6)]
    few = [job(30 + at, profile="c", target=f"t{at}") for at in range(4)]
    lone = [job(40, profile="d", outcome=Outcome.INFRA_ERROR)]
    found = cost_intervals([*priced, *dark, *few, *lone])
    assert list(found) == ["a"]
    assert 100 <= found["a"].low < 200 < found["a"].high <= 301


# -- bars --


def test_parts_of_a_bar_are_the_whole_of_it(whole: Study) -> None:
    for stack in (*end_stacks(whole), *(one for group in stage_groups(whole) for one in group.stacks)):
        assert sum(part.percent for part in stack.parts) == pytest.approx(100, abs=1)
    time, tokens, cost = stage_groups(whole)
    assert {stack.label for stack in time.stacks} == {stack.label for stack in tokens.stacks} == set(whole.labels)
    assert cost.refusal == "Nothing is known, or all of it is 0, of gemini-preview, devstral."


# -- in the page --


def test_every_picture_has_a_name_and_a_description(whole: Study) -> None:
    page = html.render(whole, ReportOptions())
    pictures_of = re.findall(r"<svg.*?</svg>", page, re.DOTALL)
    assert len(pictures_of) == 2 * 6  # frontier, pairs, night, two windows, contexts
    for drawn in pictures_of:
        name, described = re.search(r'aria-labelledby="(\S+) (\S+)"', drawn).groups()  # type: ignore[union-attr]
        assert f'<title id="{name}">' in drawn
        assert f'<desc id="{described}">' in drawn


def test_names_in_pictures_are_text_whatever_they_hold() -> None:
    evidence = night(repeats=1)
    jobs = tuple(replace(row, target=HOSTILE_NAME, profile=f"{HOSTILE_NAME}{row.profile}") for row in evidence.jobs)
    page = html.render(study(replace(evidence, jobs=jobs)), ReportOptions())
    assert "script" not in _Elements(page).names
    assert not [page[at - 80 : at + 20] for at in range(len(page)) if page[at] in "\u202e\x1b"]
    assert NASTY_NAME not in page


def test_where_nothing_can_be_drawn_a_sentence_says_why() -> None:
    found = pictures(study(Evidence(experiment="new", generated_at=NIGHT, jobs=(job(),))))
    assert (found.forest, found.night, found.windows, found.contexts) == (None, None, (), None)
    assert found.forest_note == "There is nothing to compare: fewer than two profiles."
    assert found.night_note.startswith("When attempts began and ended is not on record")
    assert found.windows_note == "No account of these jobs has a quota window in the fleet file."
    assert found.contexts_note.startswith("No stage told of its context turn by turn")


def test_what_is_left_out_of_a_picture_is_counted() -> None:
    evidence = night(repeats=1)
    course = replace(evidence.course, attempts_left_out=1200)
    found = pictures(study(replace(evidence, course=course)))
    assert "1,200 more attempts are left out" in found.night_note
    assert "400 stages with lower peaks" in found.contexts_note


def test_a_large_matrix_is_dense_and_leads_to_the_jobs_that_have_room() -> None:
    jobs = tuple(job(at + 1, target=f"t{at:04}") for at in range(1100))
    page = html.render(study(Evidence(experiment="large", generated_at=NIGHT, jobs=jobs)), ReportOptions())
    assert page.count('class="h5"') == 1100
    assert len(re.findall(r'href="#cell-\d+"', page)) == html.MAX_JOBS_SHOWN
    assert "100 jobs are left out here" in page
