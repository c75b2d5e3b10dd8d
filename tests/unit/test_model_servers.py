"""What the readers of model servers make of their answers, and what follows for a pool."""

import json
from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from orchestrator.domain.model_server import (
    Health,
    Observation,
    ServedModel,
    ServerReport,
    is_per_machine,
    live_slots,
    why_closed,
)
from workers.models.answers import Answer
from workers.models.probe import READERS

NOW = datetime(2026, 3, 1, 2, 10, tzinfo=UTC)


def ok(body: object) -> Answer:
    return Answer(200, body if isinstance(body, str) else json.dumps(body))


def read(answers: dict[str, Answer]) -> ServerReport | None:
    return next((reader.read(answers) for reader in READERS if reader.recognises(answers)), None)


# The shapes of the servers' own documentation; see the modules under workers/models.
VLLM = {
    "/health": Answer(200),
    "/version": ok({"version": "0.11.0"}),
    "/v1/models": ok(
        {
            "object": "list",
            "data": [
                {"id": "coder", "object": "model", "owned_by": "vllm", "root": "org/coder", "max_model_len": 32768}
            ],
        }
    ),
    "/metrics": ok(
        "# TYPE vllm:num_requests_running gauge\n"
        'vllm:num_requests_running{engine="0",model_name="coder"} 3.0\n'
        'vllm:num_requests_running{engine="1",model_name="coder"} 2.0\n'
        "# TYPE vllm:num_requests_waiting gauge\n"
        'vllm:num_requests_waiting{engine="0",model_name="coder"} 1.0\n'
    ),
}
OLLAMA = {
    "/api/version": ok({"version": "0.12.6"}),
    "/api/tags": ok(
        {
            "models": [
                {"name": "qwen3:latest", "model": "qwen3:latest", "size": 1},
                {"name": "big:70b", "model": "big:70b"},
            ]
        }
    ),
    "/api/ps": ok({"models": [{"name": "qwen3:latest", "model": "qwen3:latest", "context_length": 4096}]}),
    # It has OpenAI's list too.
    "/v1/models": ok({"object": "list", "data": [{"id": "qwen3:latest", "object": "model", "owned_by": "library"}]}),
}


def test_vllm_tells_its_load_and_context_but_no_slots() -> None:
    assert read(VLLM) == ServerReport(
        health=Health.HEALTHY,
        kind="vllm",
        version="0.11.0",
        slots=None,
        busy=5,
        waiting=1,
        models=(ServedModel(names=("coder", "org/coder"), context_tokens=32768),),
    )


def test_a_vllm_server_whose_engine_died_is_down() -> None:
    report = read(VLLM | {"/health": Answer(503)})
    assert report is not None
    assert (report.health, report.detail) == (Health.DOWN, "/health answers HTTP 503")


def test_ollama_tells_the_context_of_what_is_loaded() -> None:
    assert read(OLLAMA) == ServerReport(
        health=Health.HEALTHY,
        kind="ollama",
        version="0.12.6",
        models=(
            ServedModel(names=("qwen3:latest", "qwen3"), context_tokens=4096),
            ServedModel(names=("big:70b",), context_tokens=None),
        ),
    )


def test_a_plain_server_has_models_only() -> None:
    listed = {"data": [{"id": "a"}, {"id": "b", "max_context_length": 8192}, {"id": ""}, {}, 3]}
    assert read({"/v1/models": ok(listed), "/health": Answer(404)}) == ServerReport(
        health=Health.HEALTHY,
        kind="openai",
        models=(ServedModel(names=("a",)), ServedModel(names=("b",), context_tokens=8192)),
    )


@pytest.mark.parametrize("status", [401, 403])
def test_a_lock_is_no_reason_to_stop_a_pool_but_is_told(status: int) -> None:
    report = read({"/v1/models": Answer(status), "/health": Answer(404)})
    assert report is not None
    assert report.health is Health.UNKNOWN
    assert report.serves
    assert "key is missing or wrong" in report.detail


def test_a_loading_llama_server_says_so_also_behind_a_proxy_that_hides_its_name() -> None:
    loading = Answer(
        503, json.dumps({"error": {"code": 503, "message": "Loading model", "type": "unavailable_error"}})
    )
    report = read(dict.fromkeys(("/health", "/props", "/slots", "/v1/models", "/metrics"), loading))
    assert report is not None
    assert (report.health, report.kind, report.slots) == (Health.LOADING, "llama.cpp", None)
    assert not report.serves


def test_a_llama_server_without_its_slots_page_is_read_from_props_and_metrics() -> None:
    report = read(
        {
            "/health": ok({"status": "ok"}),
            "/props": ok({"total_slots": 4, "default_generation_settings": {"n_ctx": 2048}}),
            "/slots": Answer(501),
            "/v1/models": ok({"data": [{"id": "m", "owned_by": "llamacpp"}]}),
            "/metrics": ok("llamacpp:requests_processing 3\nllamacpp:requests_deferred 0\n"),
        }
    )
    assert report is not None
    assert (report.slots, report.busy, report.waiting) == (4, 3, 0)
    assert report.context_of("whatever is asked for") == 2048


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner, max_size=3),
    max_leaves=12,
)
_KEYS = [
    *("data", "models", "id", "name", "model", "owned_by", "meta", "n_ctx", "aliases", "role", "total_slots"),
    *("default_generation_settings", "build_info", "error", "type", "code", "version", "context_length"),
    *("max_model_len", "is_processing"),
]
known_objects = st.recursive(
    json_values,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from(_KEYS), inner, max_size=5),
    max_leaves=20,
)
bodies = st.text(max_size=40) | known_objects.map(json.dumps)
answers = st.builds(Answer, st.none() | st.sampled_from([200, 401, 404, 500, 503]), bodies)
_PATHS = sorted({path for reader in READERS for path in reader.PATHS})


@given(st.fixed_dictionaries(dict.fromkeys(_PATHS, answers)))
def test_no_answer_breaks_a_reader(found: dict[str, Answer]) -> None:
    for reader in READERS:
        reader.recognises(found)
        report = reader.read(found)
        assert report.slots is None or report.slots > 0, "unknown is never 0"
        assert report.in_words()
        assert ServerReport.model_validate_json(report.model_dump_json()) == report


# -- pools --


def seen(health: Health, slots: int | None = None, *, machine: str = "box", at: datetime = NOW) -> Observation:
    return Observation(machine=machine, report=ServerReport(health=health, slots=slots), since=at, seen_at=at)


def test_the_fleet_file_is_a_maximum_and_without_it_the_server_decides() -> None:
    up = [seen(Health.HEALTHY, 4)]
    assert live_slots(2, up, per_machine=False) == 2
    assert live_slots(8, up, per_machine=False) == 4
    assert live_slots(None, up, per_machine=False) == 4
    silent = [seen(Health.HEALTHY)]
    assert live_slots(8, silent, per_machine=False) == 8, "a server that does not tell limits nothing"
    assert live_slots(None, silent, per_machine=False) == 1
    assert live_slots(None, [], per_machine=False) == 1
    assert live_slots(3, [], per_machine=False) == 3


def test_a_shared_server_counts_once_and_servers_of_machines_add_up() -> None:
    two = [seen(Health.HEALTHY, 4, machine="a"), seen(Health.HEALTHY, 2, machine="b", at=NOW + timedelta(seconds=1))]
    assert live_slots(None, two, per_machine=False) == 2, "the newest look"
    assert live_slots(None, two, per_machine=True) == 6
    assert live_slots(5, two, per_machine=True) == 5


def test_a_pool_is_closed_when_nobody_finds_a_server_that_serves() -> None:
    down, loading = seen(Health.DOWN, machine="a"), seen(Health.LOADING, machine="b", at=NOW + timedelta(minutes=5))
    up = seen(Health.HEALTHY, 2, machine="c")
    assert live_slots(4, [down, loading], per_machine=False) == 0
    assert live_slots(4, [down, up], per_machine=False) == 2
    url = "http://redbox:8080"
    assert why_closed("redbox", url, [down]) == (
        "pool redbox: its server http://redbox:8080 does not answer since 2026-03-01 02:10:00 UTC"
    )
    assert "is loading its model since 2026-03-01 02:15:00" in why_closed("redbox", url, [down, loading])
    assert why_closed("redbox", url, [down, up]) == ""
    assert why_closed("redbox", url, []) == ""


@given(
    most=st.none() | st.integers(1, 100),
    looks=st.lists(st.tuples(st.sampled_from(Health), st.none() | st.integers(1, 50)), max_size=5),
    per_machine=st.booleans(),
)
def test_open_slots_stay_within_bounds(
    most: int | None, looks: list[tuple[Health, int | None]], per_machine: bool
) -> None:
    all_seen = [seen(health, slots, machine=str(number)) for number, (health, slots) in enumerate(looks)]
    found = live_slots(most, all_seen, per_machine=per_machine)
    assert most is None or found <= most
    assert (found == 0) == (bool(all_seen) and not any(one.report.serves for one in all_seen))
    assert (found == 0) == bool(why_closed("p", "http://x", all_seen))


@pytest.mark.parametrize(
    ("url", "own"),
    [
        ("http://127.0.0.1:8080", True),
        ("http://localhost:8080/v1", True),
        ("http://[::1]:8080", True),
        ("http://redbox:8080", False),
        ("https://10.0.0.5/127.0.0.1", False),
        ("http://localhost.example.com", False),
    ],
)
def test_a_url_that_names_the_machine_itself_is_another_server_on_each(url: str, own: bool) -> None:
    assert is_per_machine(url) is own
