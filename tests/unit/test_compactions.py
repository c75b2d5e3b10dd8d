"""Compactions as the agent tells them and as its requests show them, and what is none."""

from dataclasses import replace

from hypothesis import given
from hypothesis import strategies as st

from orchestrator.domain.compactions import Compactions
from orchestrator.domain.events import ErrorKind, ErrorSeen, RequestEnded
from orchestrator.domain.usage import TokenUsage


def request(tokens: int | None, opening: str = "task", *, tools: str = "main", failed: bool = False) -> RequestEnded:
    cached = None if tokens is None else tokens // 2
    usage = (
        None if tokens is None or cached is None else TokenUsage(input=tokens - cached, cache_read=cached, output=9)
    )
    return RequestEnded(
        request_id="r", model_asked="m", model_served="m", status=200, usage=usage, first_byte_seconds=0.1,
        duration_seconds=0.2, request_bytes=4 * (tokens or 0), response_bytes=1, tools=tools, opening=opening,
        error=ErrorSeen(kind=ErrorKind.NETWORK) if failed else None,
    )  # fmt: skip


def play(*requests: RequestEnded) -> tuple[list[bool], Compactions]:
    compactions = Compactions()
    return [compactions.request(one, turns=0) for one in requests], compactions


def test_a_prompt_that_shrinks_by_much_was_compacted() -> None:
    shown, compactions = play(
        request(80_000), request(90_000), request(20_000, "summary"), request(30_000, "summary")
    )

    assert shown == [False, False, True, False]
    assert compactions.count == 1


def test_an_agent_may_keep_how_its_conversation_begins() -> None:
    assert play(request(90_000), request(20_000), request(80_000), request(9_000))[1].count == 2


def test_small_changes_and_small_prompts_are_none() -> None:
    assert play(request(80_000), request(49_000), request(3_900, "a"), request(100, "b"))[1].count == 1
    assert play(request(3_900), request(100, "b"))[1].count == 0


def test_a_wrong_count_of_a_longer_request_is_none() -> None:
    wrong = replace(request(9_000), request_bytes=4 * 91_000)
    assert play(request(90_000), wrong, request(92_000))[1].count == 0


def test_titles_and_sub_agents_with_other_tools_are_none() -> None:
    title, sub = request(300, "title", tools=""), request(12_000, "look", tools="read-only")
    shown, compactions = play(request(80_000), title, sub, sub, request(82_000), title, request(84_000))

    assert (any(shown), compactions.count) == (False, 0)


def test_real_sizes_of_an_agent_in_a_window_of_32_thousand() -> None:
    """OpenCode: tools and instructions alone are 7,700 tokens, and stay."""
    sizes = [7_715, 22_648, 25_634, 28_621, 13_722, 16_709]
    assert play(*(request(size) for size in sizes))[0] == [False] * 4 + [True, False]


def test_a_sub_agent_with_the_same_tools_is_none_once_the_conversation_goes_on() -> None:
    one, two = request(12_000, "look here"), request(9_000, "look there")
    _, compactions = play(request(80_000), one, request(15_000, "look here"))
    assert compactions.count == 1, "it cannot be known yet"

    for _ in range(5):
        compactions.request(two, turns=0)
        assert not compactions.request(request(82_000), turns=0)
    assert (compactions.count, compactions.loop) == (0, None)


def test_a_conversation_that_comes_back_takes_back_all_that_replaced_it() -> None:
    deep = [
        request(80_000, "a"),
        request(30_000, "b"),
        request(9_000, "c"),
        request(81_000, "a"),
        request(20_000, "d"),
    ]
    assert [play(*deep[:upto])[1].count for upto in range(1, 6)] == [0, 1, 2, 0, 1]


def test_a_conversation_as_large_as_the_main_one_is_the_main_one() -> None:
    planning, work = request(20_000, tools="plan"), request(24_000, tools="all")
    assert play(planning, work, request(60_000, tools="all"), request(9_000, "s", tools="all"))[1].count == 1


def test_what_failed_or_told_no_tokens_says_nothing() -> None:
    assert play(request(80_000), request(9_000, failed=True), request(None), request(70_000))[1].count == 0


def test_four_compactions_with_hardly_an_answer_between_them_are_a_loop() -> None:
    compactions = Compactions()
    loops = []
    for number in range(4):
        compactions.told(turns=10 + 3 * number)
        loops.append(compactions.loop is not None)

    assert loops == [False, False, False, True]
    assert compactions.count == 4


def test_compactions_with_work_between_them_are_no_loop() -> None:
    compactions = Compactions()
    for number in range(40):
        compactions.told(turns=4 * number)
    assert (compactions.count, compactions.loop) == (40, None)


def test_a_loop_shows_in_the_requests_of_an_agent_that_says_nothing() -> None:
    compactions = Compactions()
    compactions.request(request(90_000), turns=0)
    loops = []
    for number in range(4):
        for size in (20_000, 90_000):
            compactions.request(request(size, f"summary {number}"), turns=0)
        loops.append(compactions.loop is not None)

    assert loops == [False, False, False, True]
    assert compactions.count == 4


def test_both_accounts_of_one_compaction_count_once() -> None:
    compactions = Compactions()
    compactions.request(request(90_000), turns=1)
    compactions.told(turns=1)
    assert compactions.request(request(10_000, "summary"), turns=1)
    assert compactions.count == 1


@given(
    st.lists(
        st.builds(
            request,
            st.none() | st.integers(0, 200_000),
            st.sampled_from(["", "a", "b", "c"]),
            tools=st.sampled_from(["", "x", "y"]),
            failed=st.booleans(),
        ),
        max_size=40,
    )
)
def test_the_count_is_never_negative_and_never_more_than_shown(requests: list[RequestEnded]) -> None:
    shown, compactions = play(*requests)
    assert 0 <= compactions.count <= sum(shown)


@given(st.lists(st.integers(0, 200_000), min_size=1, max_size=30).map(sorted))
def test_a_conversation_that_only_grows_was_never_compacted(sizes: list[int]) -> None:
    assert play(*(request(size) for size in sizes))[1].count == 0
