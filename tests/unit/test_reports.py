"""Reports and the live view: the same numbers everywhere, foreign text harmless, everything bounded."""

import json
from dataclasses import replace
from datetime import timedelta
from html.parser import HTMLParser

import pytest
from hypothesis import given
from hypothesis import strategies as st
from rich.console import Console

from orchestrator.analysis.intervals import Interval
from orchestrator.analysis.pareto import Point
from orchestrator.analysis.rows import Evidence
from orchestrator.analysis.study import Study, study
from orchestrator.domain.outcome import Outcome
from orchestrator.domain.states import JobState
from orchestrator.reports import as_json, html, markdown, terminal
from orchestrator.reports.html_parts import letters
from orchestrator.reports.live import MAX_LINES, LiveJob, LiveResource, LiveView, context_bar, render
from orchestrator.reports.live_lines import plain_lines
from orchestrator.reports.options import ReportOptions
from orchestrator.reports.scatter import scatter
from orchestrator.reports.symbols import symbol
from orchestrator.reports.tables import all_tables
from orchestrator.reports.words import foreign_text, money, share, tokens
from tests.unit.rows_factory import HOSTILE, NIGHT, job, night

CLOSED, OPEN = ReportOptions(), ReportOptions(agent_text=True)


@pytest.fixture(scope="module")
def whole() -> Study:
    return study(night())


def _printed(study: Study, width: int, options: ReportOptions = CLOSED) -> str:
    console = Console(width=width, record=True, file=None, quiet=False, force_terminal=True)
    with console.capture() as capture:
        console.print(terminal.render(study, width, options))
    return capture.get()


class _Tags(HTMLParser):
    """Collects element names and attributes of a document."""

    def __init__(self) -> None:
        super().__init__()
        self.seen: list[tuple[str, dict[str, str | None]]] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.seen.append((tag, dict(attrs)))


# -- words --


def test_unknown_is_a_word_and_rounding_hides_nothing() -> None:
    assert [money(None), tokens(None), share(None)] == ["unknown"] * 3
    assert [money(0), money(12_400_000), money(31_000), money(3), money(5_000_000_000)] == [
        "$0",
        "$12.40",
        "$0.031",
        "<$0.0001",
        "$5,000",
    ]
    assert [tokens(950), tokens(12_345), tokens(999_999), tokens(4_500_000)] == ["950", "12.3k", "1.0M", "4.5M"]
    assert [share(0), share(0.001), share(0.999), share(1)] == ["0 %", "<1 %", ">99 %", "100 %"]


@given(st.text())
def test_foreign_text_keeps_no_escape_and_no_hidden_character(text: str) -> None:
    shown = foreign_text(f"\x1b[31m{text}\u202e\u2066\x00", 500)
    assert not set(shown) & {"\x1b", "\x00", "\u202e", "\u2066", "\u200b", "\x9b"}
    assert len(shown) <= 560


def test_long_text_is_cut_with_its_length_told() -> None:
    assert foreign_text("W" * 10_000, 50) == "W" * 50 + "… (10,000 characters in all)"


def test_every_outcome_and_state_has_a_symbol() -> None:
    for word in [*Outcome, *JobState, "solved", "checks_failed", "not_judged"]:
        assert len(symbol(word).sign) == len(symbol(word).letter) == 1


# -- the same numbers everywhere --


def test_terminal_markdown_and_html_carry_every_table_and_the_verdict(whole: Study) -> None:
    everything = CLOSED.evolve(everything=True)
    wide, narrow = _printed(whole, 200, everything), _printed(whole, 60, everything)
    page, text = html.render(whole, CLOSED), markdown.render(whole, CLOSED)
    for table in all_tables(whole):
        assert table.title in wide
        assert table.title in narrow
        assert table.title in page or table.key == "comparison"
        assert f"## {markdown.escape(table.title)}" in text
    for entry in whole.summaries:
        assert f"{entry.solved} of {entry.results}" in page
        assert f"{entry.solved}/{entry.results}" in text
        assert f"{entry.solved}/{entry.results}" in wide
    assert max(len(line) for line in narrow.splitlines()) < 200


def test_a_terminal_shows_what_to_read_first_and_names_the_rest(whole: Study) -> None:
    first, everything = _printed(whole, 80), _printed(whole, 80, CLOSED.evolve(everything=True))
    assert len(first.splitlines()) < len(everything.splitlines()) / 2
    assert first.index("Decision memo") < first.index("Profiles compared") < first.index("Further, with")
    names = " ".join(first.partition("Further, with")[2].split())
    for table in all_tables(whole):
        assert (f"\n\x1b[1m{table.title}" in first) != (table.title in names), table.title


def test_profiles_carry_letters_and_no_numbers_that_read_as_ranks(whole: Study) -> None:
    assert [letters(at) for at in (0, 25, 26, 701, 702)] == ["A", "Z", "AA", "ZZ", "AAA"]
    page = html.render(whole, CLOSED)
    assert '<span class="soft mark" title="A in the small picture">A</span>' in page
    assert f"1. {whole.labels[0]}" not in page


def test_tables_are_rectangular(whole: Study) -> None:
    for table in all_tables(whole):
        assert {len(row) for row in table.rows} == {len(table.columns)}


def test_json_round_trips_and_unknown_is_null(whole: Study) -> None:
    found = json.loads(as_json.render(whole, CLOSED))
    assert found["schema"] == "bakeoff-report/1"
    assert found["verdict"] == list(whole.verdict)
    assert len(found["jobs"]) == len(whole.evidence.jobs)
    unpriced = next(entry for entry in found["profiles"] if entry["label"] == "gemini-preview")
    assert unpriced["cost_usd_micros"] == {
        "known": 0,
        "of": unpriced["results"],
        "total": None,
        "mean": None,
        "median": None,
        "low": None,
        "high": None,
        "complete": False,
    }
    assert unpriced["cost_per_solved_usd_micros"] is None
    assert sum(entry["solved"] for entry in found["jobs"]) == sum(entry["solved"] for entry in found["profiles"])


def test_the_same_rows_make_the_same_report(whole: Study) -> None:
    again = study(night())
    assert html.render(again, OPEN) == html.render(whole, OPEN)
    assert as_json.render(again, OPEN) == as_json.render(whole, OPEN)


@pytest.mark.parametrize("jobs", [(), (job(state=JobState.READY, outcome=None, attempts=0),)])
def test_an_experiment_without_results_has_a_report(jobs: tuple[()]) -> None:
    empty = study(Evidence(experiment="new", generated_at=NIGHT, jobs=jobs))
    for text in (html.render(empty, CLOSED), markdown.render(empty, CLOSED), _printed(empty, 80)):
        assert "nothing to judge yet" in text
    json.loads(as_json.render(empty, CLOSED))


# -- text that agents wrote --


def test_agent_text_is_withheld_unless_asked_for(whole: Study) -> None:
    for text in (html.render(whole, CLOSED), markdown.render(whole, CLOSED), as_json.render(whole, CLOSED)):
        assert "alert(" not in text
        assert "I implemented the change" not in text
    assert "Withheld (" in html.render(whole, CLOSED)


def test_hostile_text_is_marked_bounded_and_inert_in_html(whole: Study) -> None:
    page = html.render(whole, OPEN)
    tags = _Tags()
    tags.feed(page)
    names = {name for name, _ in tags.seen}
    assert not names & {"script", "img", "iframe", "object", "embed", "form", "b<", "video", "base"}
    for name, attributes in tags.seen:
        assert not [key for key in attributes if key.startswith("on")], name
        for key in ("href", "src"):
            assert (attributes.get(key) or "#").startswith(("#", "data:,"))
    assert "written by the agent" in page
    assert "{{ 7 * 7 }}" in page  # a template in the text is text
    assert "W" * 2100 not in page
    assert not set(page) & {"\u202e", "\u2066", "\x1b"}


def test_names_of_cases_and_files_are_shown_cut_and_inert(whole: Study) -> None:
    page, text, told = html.render(whole, CLOSED), markdown.render(whole, CLOSED), as_json.render(whole, CLOSED)
    for form in (page, text, told, _printed(whole, 200, CLOSED.evolve(everything=True))):
        assert "test_area" in form.replace("\\_", "_")
        assert "W" * 320 not in form
        assert "\u202e" not in form
    tags = _Tags()
    tags.feed(page)
    assert "script" not in {name for name, _ in tags.seen}
    assert "<script" not in text.replace("\\<", "")
    assert "\x1b[31m" not in page + text
    assert "flaky" in page
    assert "hidden files came in the place of" in page


def test_hostile_names_do_not_break_any_form() -> None:
    nasty = "</title><script>x</script>|`\u202e[a](http://x.invalid)"
    rows = tuple(job(n, target=nasty, profile=nasty, detail=nasty, final_text=HOSTILE) for n in range(1, 7))
    found = study(Evidence(experiment=nasty, generated_at=NIGHT, jobs=rows))
    tags = _Tags()
    tags.feed(html.render(found, OPEN))
    assert "script" not in {name for name, _ in tags.seen}
    text = markdown.render(found, OPEN)
    assert "<script" not in text.replace("\\<", "")
    assert "http://x" not in text.split("```")[0]
    for line in text.split("```")[0].splitlines():
        if line.startswith("|"):
            assert line.count("|") - line.count("\\|") in (3, 4, 5, 6, 7, 8, 9, 10, 11, 12)


def test_a_fence_is_longer_than_any_in_the_text() -> None:
    assert markdown.fenced("a ```` b").startswith("`````text\n")


def test_a_large_matrix_keeps_the_file_bounded_and_says_what_is_left_out() -> None:
    rows = tuple(job(n, target=f"t{n % 50}", repeat=n // 50 + 1) for n in range(3000))
    page = html.render(study(Evidence(experiment="big", generated_at=NIGHT, jobs=rows)), CLOSED)
    assert "2000 jobs are left out here" in page
    assert len(page) < 3_000_000


def test_a_long_run_keeps_the_file_bounded_and_says_what_is_left_out() -> None:
    one = next(stage for stage in night().stages if stage.job_id == 1)
    rows = tuple(replace(one, order=n, error_text=HOSTILE) for n in range(1, 10_001))
    lines = "x" * 10_000_000
    found = study(
        Evidence(experiment="long", generated_at=NIGHT, jobs=(job(1, final_text=lines, detail=lines),), stages=rows)
    )
    page = html.render(found, OPEN)
    assert "9900 stages between the first and the last of these are left out here" in page
    assert "bakeoff timeline 1" in page
    assert "10,000,000 characters in all" in page
    assert len(page) < 1_000_000
    assert len(markdown.render(found, OPEN)) < 100_000


# -- the picture --


@given(
    st.lists(st.tuples(st.floats(0, 1e8), st.floats(0, 1)), min_size=1, max_size=8),
    st.sampled_from([(760.0, 400.0), (340.0, 320.0)]),
)
def test_points_stay_inside_the_frame(values: list[tuple[float, float]], size: tuple[float, float]) -> None:
    points = [
        Point(label=f"p{i}", cost_usd_micros=cost, rate=rate, interval=Interval(0.0, 1.0), n=9, on_frontier=True)
        for i, (cost, rate) in enumerate(values)
    ]
    found = scatter(points, *size, [point.label for point in points])
    for mark in found.marks:
        assert found.left <= mark.x <= found.right
        assert found.top <= mark.y <= found.bottom


def test_labels_of_near_points_do_not_overlap() -> None:
    points = [
        Point(label=name, cost_usd_micros=cost, rate=0.8, interval=Interval(0.6, 0.9), n=20, on_frontier=False)
        for name, cost in (("opus-sonnet", 1.00e6), ("sonnet-hybrid", 1.01e6), ("hybrid", 1.02e6))
    ]
    marks = scatter(points, 760, 400, [point.label for point in points]).marks
    spans = []
    for mark in marks:
        width = 7.2 * len(mark.label)
        left = mark.label_x if mark.anchor == "start" else mark.label_x - width
        spans.append((left, left + width, mark.label_y - 12, mark.label_y + 4))
    for index, a in enumerate(spans):
        for b in spans[index + 1 :]:
            assert a[1] <= b[0] or b[1] <= a[0] or a[3] <= b[2] or b[3] <= a[2]


# -- live --


def _live(*jobs: LiveJob, seconds: float = 0) -> LiveView:
    return LiveView(experiment="showdown", now=NIGHT + timedelta(seconds=seconds), jobs=jobs)


BUILDING = LiveJob(
    job_id=1,
    target="shapes-c",
    profile="hybrid",
    repeat=1,
    state=JobState.RUNNING,
    stage="build",
    turns=7,
    tokens=12_345,
    context_fill=0.34,
    elapsed_seconds=190.0,
)
READY = LiveJob(job_id=2, target="shapes-c", profile="opus", repeat=1, state=JobState.READY)


def _screen(view: LiveView, width: int = 100, height: int = 40) -> list[str]:
    console = Console(width=width)
    with console.capture() as capture:
        console.print(render(view, height))
    return capture.get().splitlines()


def test_the_live_picture_shows_grid_running_jobs_slots_and_unknown_eta() -> None:
    view = replace(_live(BUILDING, READY), resources=(LiveResource(name="account:max", in_use=1, capacity=1),))
    text = "\n".join(_screen(view))
    for part in ("0 of 2 jobs ended", "ETA unknown", "▶R", "·r", "build", "12.3k", "███░░░░░░░ 34 %", "3m10s"):
        assert part in text
    assert "account:max 1/1" in text


def test_unknown_is_never_an_empty_bar() -> None:
    assert context_bar(None) == "unknown"
    assert context_bar(0.0) == "░░░░░░░░░░ 0 %"
    assert context_bar(1.2) == "██████████ 120 %"


def test_one_line_per_change_and_none_without() -> None:
    held = replace(READY, state=JobState.PAUSED, waiting_reason="held")
    start, later = _live(BUILDING, READY), _live(BUILDING, held, seconds=64)
    assert plain_lines(None, start) == [
        "22:00:00 showdown: 1 running, 1 ready",
        "22:00:00 shapes-c/hybrid#1 running build 12.3k tokens ctx 34%",
    ]
    assert plain_lines(start, later) == ["22:01:04 shapes-c/opus#1 paused (held)"]
    queued = _live(BUILDING, replace(READY, state=JobState.QUEUED, waiting_reason="told"), seconds=64)
    assert plain_lines(start, queued) == []
    assert plain_lines(later, replace(later, jobs=(replace(BUILDING, tokens=99_999), later.jobs[1]))) == []


def test_the_end_of_a_job_and_of_the_experiment_are_told() -> None:
    done = replace(BUILDING, state=JobState.DONE, stage="", outcome="complete", solved=True)
    lost = replace(READY, state=JobState.FAILED, outcome="context_kill")
    assert plain_lines(_live(BUILDING, READY), _live(done, lost)) == [
        "22:00:00 shapes-c/hybrid#1 done solved 12.3k tokens in 3m10s",
        "22:00:00 shapes-c/opus#1 failed context_kill",
        "22:00:00 all jobs have ended: 1 done, 1 failed",
    ]


@pytest.mark.parametrize("profiles", [4, 30])
def test_ten_thousand_jobs_are_a_screen_and_a_few_lines(profiles: int) -> None:
    jobs = [
        replace(BUILDING, job_id=n, target=f"t{n // profiles}", profile=f"p{n % profiles}") for n in range(10_000)
    ]
    screen = _screen(_live(*jobs), width=120, height=40)
    assert len(screen) <= 40
    assert "more" in "\n".join(screen)
    ended = [replace(row, state=JobState.DONE) for row in jobs]
    lines = plain_lines(_live(*jobs), _live(*ended))
    assert len(lines) == MAX_LINES + 2
    assert lines[-2] == f"22:00:00 and {10_000 - MAX_LINES} more changes: {10_000 - MAX_LINES} done"


def test_names_on_the_screen_cannot_carry_escapes_or_markup() -> None:
    nasty = replace(BUILDING, target="\x1b[2J[red]x[/red]\u202e", stage="[bold]")
    text = "\n".join(_screen(_live(nasty)) + plain_lines(None, _live(nasty)))
    assert "\x1b[2J" not in text
    assert "[red]x[/red]" in text
