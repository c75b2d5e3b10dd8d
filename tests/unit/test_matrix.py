"""Matrix expansion: which cells there are, and what their hashes speak about."""

import json
from collections.abc import Mapping
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from orchestrator.domain.errors import InvalidInput
from orchestrator.domain.experiment import Experiment
from orchestrator.domain.fleet import Fleet
from orchestrator.domain.jobspec import JobSpec
from orchestrator.domain.matrix import Cell, PinnedTarget, content_hash, expand

FLEET: dict[str, Any] = {
    "accounts": {"max": {"base_url": "https://cloud.test", "protocol": "messages", "key": "env:CLOUD_KEY"}},
    "pools": {"gpu": {"base_url": "http://gpu.test:8080"}, "old": {"base_url": "http://old.test:8080"}},
    "models": {
        "opus": {"name": "claude-opus", "account": "max", "context_window": 200_000},
        "devstral": {"name": "devstral-small", "pool": "gpu", "context_window": 98_304},
        "devstral-old": {"name": "devstral-small", "pool": "old", "context_window": 98_304},
    },
}
FILE: dict[str, Any] = {
    "experiment": "shapes",
    "loop": "staged",
    "targets": [
        {"name": "c", "repo": "/src/c", "task": "task.md", "checks": {"build": "make", "test": "make test"}},
        {"name": "py", "repo": "/src/py", "task": "task.md"},
    ],
    "profiles": {"opus": "opus", "hybrid": {"reasoning": "opus", "build": "devstral"}},
    "limits": {"stage_timeout": ["5m", "10m"], "max_iterations": 25},
}
PINS = {
    "c": PinnedTarget(sha="c" * 40, task_text="Port it."),
    "py": PinnedTarget(sha="d" * 40, task_text="Port it."),
    "third": PinnedTarget(sha="e" * 40, task_text="Port it."),
}


def cells_of(
    file: Mapping[str, Any] = FILE,
    fleet: Mapping[str, Any] = FLEET,
    pins: Mapping[str, PinnedTarget] = PINS,
    version: str | None = "1.0",
    prompts: str = "p",
) -> tuple[Cell, ...]:
    versions = {"opencode": version, "mini": version}
    return expand(Experiment.model_validate(file), Fleet.model_validate(fleet), pins, versions, prompts)


def hashes(*args: Any, **keywords: Any) -> dict[str, str]:
    return {cell.key: cell.cell_hash for cell in cells_of(*args, **keywords)}


def changed(path: str, value: object, base: Mapping[str, Any] = FILE) -> dict[str, Any]:
    """A copy with the value at a dotted path replaced; None removes it."""
    copy: dict[str, Any] = json.loads(json.dumps(base))
    here: Any = copy
    *parents, last = [int(part) if part.isdigit() else part for part in path.split(".")]
    for part in parents:
        here = here[part]
    if value is None:
        del here[last]
    else:
        here[last] = value
    return copy


def test_one_cell_for_each_target_profile_and_swept_value() -> None:
    assert [cell.key for cell in cells_of()] == [
        "c/opus[stage_timeout=5m]",
        "c/opus[stage_timeout=10m]",
        "c/hybrid[stage_timeout=5m]",
        "c/hybrid[stage_timeout=10m]",
        "py/opus[stage_timeout=5m]",
        "py/opus[stage_timeout=10m]",
        "py/hybrid[stage_timeout=5m]",
        "py/hybrid[stage_timeout=10m]",
    ]


def test_a_cell_is_all_that_a_worker_needs() -> None:
    spec = cells_of()[3].spec
    assert spec.target.model_dump() == {
        "label": "c",
        "source": "/src/c",
        "base": "HEAD",
        "sha": "c" * 40,
        "task_text": "Port it.",
        "setup": None,
        "checks": {"build": {"run": "make", "timeout": 300.0}, "test": {"run": "make test", "timeout": 300.0}},
        "plan": (),
    }
    assert (spec.profile, spec.agent, spec.agent_version, spec.loop) == ("hybrid", "opencode", "1.0", "staged")
    assert (spec.limits.stage_timeout, spec.limits.max_iterations, spec.params) == (600, 25, {"stage_timeout": 600})
    assert spec.needs() == ("account:max", "pool:gpu")
    assert spec.models["reasoning"].key == "env:CLOUD_KEY"
    assert JobSpec.model_validate_json(spec.model_dump_json()) == spec


def test_loop_parameters_are_limits_too() -> None:
    cells = cells_of(changed("limits", {"max_builds": [1, 2], "max_decompose_depth": 0}))
    assert [(c.spec.max_builds, c.spec.max_decompose_depth, c.key) for c in cells[:2]] == [
        (1, 0, "c/opus[max_builds=1]"),
        (2, 0, "c/opus[max_builds=2]"),
    ]
    assert len({cell.cell_hash for cell in cells}) == 8


def test_unlimited_is_a_value_of_an_axis() -> None:
    cells = cells_of(changed("limits", {"max_turns": [20, None]}))
    assert [cell.key for cell in cells[:2]] == ["c/opus[max_turns=20]", "c/opus[max_turns=unlimited]"]
    assert [cell.spec.limits.max_turns for cell in cells[:2]] == [20, None]


@pytest.mark.parametrize(
    ("include", "exclude", "keys"),
    [
        ([{"target": "c", "stage_timeout": "300s"}], [], ["c/opus[stage_timeout=5m]", "c/hybrid[stage_timeout=5m]"]),
        ([{"target": "c"}], [{"profile": ["opus"]}], ["c/hybrid[stage_timeout=5m]", "c/hybrid[stage_timeout=10m]"]),
        (
            [{"target": "c", "profile": "opus"}, {"target": "py", "profile": "hybrid"}],
            [{"stage_timeout": [600]}],
            ["c/opus[stage_timeout=5m]", "py/hybrid[stage_timeout=5m]"],
        ),
    ],
)
def test_rules_keep_and_drop(include: list[Any], exclude: list[Any], keys: list[str]) -> None:
    assert list(hashes({**FILE, "include": include, "exclude": exclude})) == keys


SAME_CONTENT = {
    "other path": changed("targets.0.repo", "/elsewhere/c.git"),
    "other base name": changed("targets.0.base", "v1"),
    "other name of the experiment": changed("experiment", "other"),
    "more repeats": changed("repeats", 5),
    "another seed": changed("seed", 5),
    "the same limit in other words": changed("limits.stage_timeout", [300, "600s"]),
    "a default written out": changed("limits.max_failures", 3),
    "a loop's default written out": changed("loop", {"kind": "staged", "max_builds": 3}),
    "the same command in long form": changed("targets.0.checks.build", {"run": "make", "timeout": "5m"}),
}
OTHER_CONTENT = {
    "setup": changed("targets.0.setup", "make deps"),
    "check's command": changed("targets.0.checks.test", "make check"),
    "check's timeout": changed("targets.0.checks.test", {"run": "make test", "timeout": "10m"}),
    "check's name": changed("targets.0.checks", {"build": "make", "tests": "make test"}),
    "model": changed("profiles.opus", "devstral"),
    "agent": changed("profiles.opus", {"model": "opus", "agent": "mini"}),
    "environment": changed("profiles.opus", {"model": "opus", "env": {"A": "1"}}),
    "limit": changed("limits.max_iterations", 26),
    "loop": changed("loop", "single"),
    "loop's parameter": changed("loop", {"kind": "staged", "max_builds": 4}),
    "own agent": changed("agents", {"opencode": {"command": ["x"]}}),
}
KEY = "c/opus[stage_timeout=5m]"


@pytest.mark.parametrize("file", SAME_CONTENT.values(), ids=SAME_CONTENT)
def test_the_same_content_has_the_same_hash(file: dict[str, Any]) -> None:
    assert hashes(file) == hashes()


@pytest.mark.parametrize("file", OTHER_CONTENT.values(), ids=OTHER_CONTENT)
def test_other_content_has_another_hash(file: dict[str, Any]) -> None:
    assert {cell.key: cell.cell_hash for cell in cells_one(file)}[KEY] != hashes()[KEY]


def cells_one(file: dict[str, Any]) -> tuple[Cell, ...]:
    """The cells of target `c` and profile `opus` alone (a single loop cannot take the hybrid)."""
    return cells_of({**file, "include": [{"target": "c", "profile": "opus"}]})


def test_servers_and_secrets_are_not_content_but_windows_and_machines_are() -> None:
    def one(path: str, value: object) -> str:
        return hashes(fleet=changed(path, value, FLEET))["c/hybrid[stage_timeout=5m]"]

    before = hashes()["c/hybrid[stage_timeout=5m]"]
    assert one("pools.gpu.base_url", "http://gpu2.test") == before
    assert one("accounts.max.key", "file:/key") == before
    assert one("accounts.max.concurrency", 2) == before
    assert one("models.opus.prices", {"dated": "2026-01-01", "input": 1.0}) == before
    assert one("models.devstral.context_window", 65_536) != before
    assert one("models.devstral.name", "devstral-large") != before
    assert one("models.devstral.max_output", 4096) != before
    assert one("models.devstral.pool", "old") != before


def test_versions_prompts_commits_and_tasks_are_content() -> None:
    before = hashes()[KEY]
    assert hashes(version="1.1")[KEY] != before
    assert hashes(version=None)[KEY] != before
    assert hashes(prompts="q")[KEY] != before
    assert hashes(pins={**PINS, "c": PinnedTarget(sha="f" * 40, task_text="Port it.")})[KEY] != before
    assert hashes(pins={**PINS, "c": PinnedTarget(sha="c" * 40, task_text="Port it!")})[KEY] != before


def test_a_profile_has_one_hash_on_all_targets() -> None:
    seen: dict[str, set[str]] = {}
    for cell in cells_of():
        seen.setdefault(cell.key.split("/")[1], set()).add(cell.profile_hash)
    assert all(len(found) == 1 for found in seen.values())
    assert len(set.union(*seen.values())) == 4


def test_extending_leaves_every_cell_as_it_was() -> None:
    before = hashes()
    more = changed("profiles.local", "devstral")
    more["targets"].append({"name": "third", "repo": "/src/3", "prompt": "Port it."})
    more["limits"]["stage_timeout"].append("15m")
    after = hashes(more)
    assert len(after) == 27
    assert {key: after[key] for key in before} == before


def test_a_limit_that_becomes_an_axis_keeps_the_cell_of_its_old_value() -> None:
    before = hashes(changed("limits.stage_timeout", "5m"))
    after = hashes()
    assert {after[f"{key}[stage_timeout=5m]"] for key in before} == set(before.values())


def test_two_names_for_one_content_are_refused() -> None:
    with pytest.raises(InvalidInput) as caught:
        cells_of(changed("profiles.again", "opus"))
    assert len(caught.value.faults) == 4
    assert str(caught.value.faults[0]) == (
        "shapes: c/again[stage_timeout=5m]: is the same run as c/opus[stage_timeout=5m] under another name; "
        "accepted: one name for one content; 'repeats' runs a cell more than once"
    )


def test_the_same_model_on_another_machine_is_another_profile() -> None:
    file = changed("profiles.old", {"reasoning": "opus", "build": "devstral-old"})
    assert len(set(hashes(file).values())) == 12


def test_the_meaning_of_the_hash_is_pinned() -> None:
    """When this fails, results of before and after must not be pooled: raise HASH_VERSION."""
    assert content_hash({"b": [1.0, None, True], "a": "ä"}) == (
        "eea38ac6a7ce1d1b0e05f606c66a35d39f812e2a5e0d6bc6d45cb9d7d3d31cca"
    )


json_values = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**53), 2**53) | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=5), inner, max_size=4),
    max_leaves=10,
)


@given(st.dictionaries(st.text(max_size=5), json_values, max_size=6), st.randoms(use_true_random=False))
def test_the_order_of_keys_does_not_matter(content: dict[str, Any], shuffle: Any) -> None:
    items = list(content.items())
    shuffle.shuffle(items)
    assert content_hash(dict(items)) == content_hash(content)


@given(json_values, json_values)
def test_other_json_has_another_hash(one: Any, other: Any) -> None:
    same = json.dumps(one, sort_keys=True) == json.dumps(other, sort_keys=True)
    assert (content_hash(one) == content_hash(other)) == same


labels = st.lists(st.sampled_from("abcdefgh"), min_size=1, max_size=4, unique=True)


@given(labels, labels, st.lists(st.integers(1, 50), min_size=1, max_size=4, unique=True), st.data())
def test_cells_are_the_product_less_what_is_excluded(
    targets: list[str], profiles: list[str], turns: list[int], data: st.DataObject
) -> None:
    excluded = data.draw(
        st.lists(
            st.tuples(st.sampled_from(targets), st.sampled_from(profiles), st.sampled_from(turns)),
            max_size=5,
            unique=True,
        )
    )
    file = {
        "experiment": "x",
        "targets": [{"name": name, "repo": f"/{name}", "prompt": name} for name in targets],
        "profiles": {name: {"model": "opus", "env": {"N": name}} for name in profiles},
        "limits": {"max_turns": turns},
        "exclude": [{"target": t, "profile": p, "max_turns": n} for t, p, n in excluded],
    }
    pins = {name: PinnedTarget(sha=name * 40, task_text=name) for name in targets}
    cells = cells_of(file, pins=pins)
    assert len(cells) == len(targets) * len(profiles) * len(turns) - len(excluded)
    assert len({cell.cell_hash for cell in cells}) == len({cell.key for cell in cells}) == len(cells)
