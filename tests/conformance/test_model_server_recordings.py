"""What a real llama.cpp server answered, idle, busy and as a router, read as reports."""

import json
from pathlib import Path

import pytest

from orchestrator.domain.model_server import Health, ServedModel, ServerReport
from workers.models import llamacpp
from workers.models.answers import Answer
from workers.models.probe import READERS

_RECORDINGS = Path(__file__).parents[2].parent / "shared/fixtures/agents/llama-server"
pytestmark = pytest.mark.skipif(not _RECORDINGS.is_dir(), reason="the recordings beside the checkout are not here")


def recorded(name: str) -> Answer:
    head, _, body = (_RECORDINGS / name).read_bytes().replace(b"\r\n", b"\n").partition(b"\n\n")
    status, *headers = head.decode().splitlines()
    server = dict(line.split(": ", 1) for line in headers if ": " in line)["Server"]
    return Answer(int(status.split()[1]), body.decode("utf-8", "replace"), server=server)


def report(**names: str) -> ServerReport:
    answers = {f"/{path.replace('__', '/')}": recorded(name) for path, name in names.items()}
    assert next(reader for reader in READERS if reader.recognises(answers)) is llamacpp
    return llamacpp.read(answers)


_VERSION = json.loads(recorded("props.idle.http").body)["build_info"] if _RECORDINGS.is_dir() else ""
_TINY = ServedModel(names=("tiny-random",), context_tokens=4096)


def test_an_idle_server() -> None:
    found = report(
        health="health.idle.http",
        props="props.idle.http",
        slots="slots.idle.http",
        v1__models="v1_models.idle.http",
        metrics="metrics.idle.http",
    )
    assert found == ServerReport(
        health=Health.HEALTHY, kind="llama.cpp", version=_VERSION, slots=2, busy=0, waiting=0, models=(_TINY,)
    )


def test_a_busy_server_is_healthy_and_tells_what_waits() -> None:
    found = report(
        health="health.busy.http",
        props="props.idle.http",
        slots="slots.busy.http",
        v1__models="v1_models.idle.http",
        metrics="metrics.busy.http",
    )
    assert found == ServerReport(
        health=Health.HEALTHY, kind="llama.cpp", version=_VERSION, slots=2, busy=2, waiting=2, models=(_TINY,)
    )


def test_a_server_that_refuses_for_want_of_a_slot_still_tells_its_number() -> None:
    found = report(
        health="health.busy.http",
        props="props.idle.http",
        slots="slots.busy.fail_on_no_slot.http",
        v1__models="v1_models.idle.http",
        metrics="metrics.after.http",
    )
    assert (found.health, found.slots, found.busy, found.context_of("tiny-random")) == (Health.HEALTHY, 2, 0, 4096)


def test_slots_after_real_agents() -> None:
    answers = {"/props": recorded("props.idle.http"), "/v1/models": recorded("v1_models.idle.http")}
    body = (_RECORDINGS / "slots.after_agents.json").read_text()
    found = llamacpp.read(answers | {"/slots": Answer(200, body), "/health": recorded("health.idle.http")})
    assert found.slots == len(json.loads(body))
    assert found.busy == 0
    assert found.waiting is None, "no metrics were asked"
    assert found.context_of("any name") == 65536


@pytest.mark.parametrize(("listed", "context"), [("loaded", 4096), ("unloaded", None)])
def test_a_router_has_models_with_contexts_of_their_own_and_no_slots_in_all(listed: str, context: int | None) -> None:
    found = report(
        health="health.idle.http",
        props="router.props.http",
        slots="router.error.unknown_model.http",
        v1__models=f"router.v1_models.{listed}.http",
        metrics="router.metrics.http",
    )
    assert (found.kind, found.health, found.slots, found.busy) == ("llama.cpp", Health.HEALTHY, None, None)
    assert found.models == (
        ServedModel(names=("tiny",), context_tokens=context),
        ServedModel(names=("tiny128",), context_tokens=None),
    )
    assert found.context_of("tiny") == context
    assert found.context_of("another") is None
