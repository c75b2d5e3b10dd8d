"""Jobs with the context sizes that the live servers have."""

from datetime import UTC, datetime, timedelta

import pytest

from orchestrator.domain.jobspec import JobSpec, ModelSpec, TargetSpec
from orchestrator.domain.limits import Limits
from orchestrator.domain.model_server import Health, Observation, ServedModel, ServerReport, context_warning
from orchestrator.storage.pools import PoolServer, PoolView
from workers.models.fitting import Reduced, fit

NOW = datetime(2026, 3, 1, tzinfo=UTC)
SERVER = PoolServer("box", "http://box:8080", None, None)


def model(alias: str, resource: str, window: int = 32_768) -> ModelSpec:
    return ModelSpec(
        alias=alias,
        name=f"{alias}-name",
        resource=resource,
        base_url="http://box:8080",
        protocol="chat",
        key=None,
        context_window=window,
        max_output=100,
    )


JOB = JobSpec(
    experiment="e",
    target=TargetSpec(label="t", source="s", base="main", sha="0" * 40, task_text=""),
    profile="p",
    agent="reference",
    agent_version=None,
    models={"reasoning": model("cloud", "account:a"), "build": model("local", "pool:box")},
    loop="staged",
    max_builds=1,
    limits=Limits(),
)


def seen(
    context: int | None, *, machine: str = "here", minutes: int = 0, health: Health = Health.HEALTHY
) -> Observation:
    models = (ServedModel(names=("local-name",), context_tokens=context),)
    at = NOW + timedelta(minutes=minutes)
    return Observation(machine=machine, report=ServerReport(health=health, models=models), since=at, seen_at=at)


def windows(*looks: Observation) -> tuple[int, int, tuple[Reduced, ...]]:
    fitted, reduced = fit(JOB, [PoolView(SERVER, looks)], "here")
    return fitted.models["reasoning"].context_window, fitted.models["build"].context_window, reduced


def test_a_smaller_server_reduces_its_model_and_no_other() -> None:
    assert windows(seen(8192)) == (32_768, 8192, (Reduced("local", 32_768, 8192),))


@pytest.mark.parametrize(
    "looks", [(), (seen(None),), (seen(65_536),), (seen(32_768),), (seen(8192, health=Health.DOWN),)]
)
def test_what_is_larger_unknown_or_away_changes_nothing(looks: tuple[Observation, ...]) -> None:
    fitted, reduced = fit(JOB, [PoolView(SERVER, looks)], "here")
    assert fitted is JOB
    assert reduced == ()
    assert fit(JOB, [], "here") == (JOB, ())


def test_the_own_machines_look_goes_before_a_newer_one_of_another() -> None:
    assert windows(seen(8192), seen(4096, machine="there", minutes=1))[1] == 8192
    assert windows(seen(8192, machine="one"), seen(4096, machine="two", minutes=1))[1] == 4096


def test_the_warning_says_both_sizes_and_what_to_do() -> None:
    assert context_warning("local", 8192, None) == context_warning("local", 8192, 8192) == ""
    text = context_warning("local", 32_768, 8192)
    assert "model local has context_window = 32768, but its server gives a request 8192 tokens" in text
    assert "--ctx-size" in text
