"""Matrix expansion: targets x profiles x swept parameters become cells with hashes of their content.

A cell's hash speaks about what is run and not about where: names of targets and profiles, paths, URLs of servers
and secrets are left out, so renaming does not run anything again. Whatever may change a result is in it.
"""

import hashlib
import itertools
import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

from orchestrator.domain.check import Check, HiddenPack, PinnedCheck
from orchestrator.domain.errors import Fault, InvalidInput
from orchestrator.domain.experiment import (
    LOOP_PARAMETERS,
    CommandAgent,
    Experiment,
    Profile,
    Rule,
    Scalar,
    Target,
    listed,
    normal_limit,
    show_limit,
)
from orchestrator.domain.fleet import Fleet
from orchestrator.domain.jobspec import JobSpec, ModelSpec, TargetSpec
from orchestrator.domain.limits import Limits
from orchestrator.domain.tampering import TamperPolicy

# Part of every hash. Raise it when the meaning of the hashed content changes, so that results are never pooled
# over such a change.
HASH_VERSION = 1

Json = str | int | float | bool | None | Mapping[str, "Json"] | Sequence["Json"]


@dataclass(frozen=True, kw_only=True)
class PinnedTarget:
    """A target's base as a full commit SHA, and the task as it stands there."""

    sha: str
    task_text: str
    packs: Mapping[str, HiddenPack] = field(default_factory=dict)  # by name of the check


@dataclass(frozen=True, kw_only=True)
class Given:
    """What the files say that an experiment file names, by their names there: prompt templates and plans."""

    prompts: Mapping[str, str] = field(default_factory=dict)
    plans: Mapping[str, tuple[str, ...]] = field(default_factory=dict)


NOTHING_GIVEN = Given()


@dataclass(frozen=True, kw_only=True)
class Cell:
    """One (target, profile, swept parameters). `key` is for people and unique within the experiment."""

    spec: JobSpec
    cell_hash: str
    profile_hash: str
    key: str


class Combination(NamedTuple):
    """A cell before anything is pinned. `values` holds every limit that the file names, `swept` the axes only."""

    target: Target
    profile: str
    values: Mapping[str, Scalar]
    swept: Mapping[str, Scalar]


def combinations(experiment: Experiment) -> Iterator[Combination]:
    """The cells that `include` and `exclude` leave, in the order of the file."""
    values = experiment.limit_values()
    axes = experiment.axes()
    include = [_normal_rule(rule, axes) for rule in experiment.include]
    exclude = [_normal_rule(rule, axes) for rule in experiment.exclude]
    for target, profile in itertools.product(experiment.targets, experiment.profiles):
        for chosen in itertools.product(*values.values()):
            named = dict(zip(values, chosen, strict=True))
            swept = {name: named[name] for name in axes}
            place = {"target": target.label, "profile": profile, **swept}
            if (not include or _matches(include, place)) and not _matches(exclude, place):
                yield Combination(target, profile, named, swept)


def expand(
    experiment: Experiment,
    fleet: Fleet,
    pinned: Mapping[str, PinnedTarget],
    agent_versions: Mapping[str, str | None],
    prompts_hash: str = "",
    given: Given = NOTHING_GIVEN,
) -> tuple[Cell, ...]:
    """Every cell of the matrix, in the order of the file.

    `pinned` is by target label, `agent_versions` by agent name (missing or None = unknown), `prompts_hash` is the
    hash over the built-in prompt templates, `given` what the experiment's own files say. Expects an experiment and
    fleet that were checked together.
    Raises InvalidInput when two cells have the same content under different names.
    """
    targets = {target.label: _target_spec(target, pinned[target.label], given) for target in experiment.targets}
    target_hashes = {label: content_hash(target_identity(target)) for label, target in targets.items()}
    variants: dict[tuple[str, tuple[Scalar, ...]], tuple[JobSpec, str]] = {}
    cells = []
    for combination in combinations(experiment):
        label = combination.target.label
        variant = (combination.profile, tuple(combination.values.values()))
        if variant not in variants:
            spec = _spec(experiment, fleet, combination, targets[label], agent_versions, given)
            variants[variant] = spec, content_hash(profile_identity(spec, prompts_hash))
        spec, profile_hash = variants[variant]
        cells.append(
            Cell(
                spec=spec.model_copy(update={"target": targets[label]}),
                # Swept values are limits or loop parameters, so the profile's hash already tells them apart: a
                # limit that becomes an axis later leaves the cell with its old value as it was.
                cell_hash=content_hash({"target": target_hashes[label], "profile": profile_hash}),
                profile_hash=profile_hash,
                key=_key(combination),
            )
        )
    _refuse_equal(cells)
    return tuple(cells)


def content_hash(content: Json) -> str:
    """SHA-256 (hex) over canonical JSON: sorted keys, no spaces, whole floats written as integers."""
    text = json.dumps(
        {"v": HASH_VERSION, "content": _canonical(content)},
        sort_keys=True,
        separators=(",", ":"),
        ensure_ascii=True,
        allow_nan=False,
    )
    return hashlib.sha256(text.encode("ascii")).hexdigest()


def target_identity(target: TargetSpec) -> Json:
    """What makes a target the same task: commit, task text, plan, setup and checks, wherever the repository lies."""
    return {
        **({"plan": list(target.plan)} if target.plan else {}),
        "sha": target.sha,
        "task": hashlib.sha256(target.task_text.encode("utf-8")).hexdigest(),
        "setup": target.setup,
        "checks": {name: _check_identity(check) for name, check in target.checks.items()},
        **_set(
            protected=list(target.protected),
            tampering="" if target.tampering is TamperPolicy.REPORT else target.tampering.value,
        ),
    }


def _check_identity(check: PinnedCheck) -> Json:
    """What can change a check's verdict. How its cases are read cannot, and what is off is not named: a check that
    uses nothing new keeps the hash that it had before there was anything new."""
    reruns: Json = {"times": check.reruns, "flaky": check.flaky} if check.reruns else {}
    return {
        "run": check.run,
        "timeout": check.timeout,
        **_set(hidden=check.hidden, files=check.pack.sha256 if check.pack else "", reruns=reruns),
    }


def _set(**values: Json) -> dict[str, Json]:
    return {name: value for name, value in values.items() if value}


def profile_identity(spec: JobSpec, prompts_hash: str) -> Json:
    """What makes two runs comparable: agent and version, models, loop, prompts, limits, environment.

    The resource is part of a model: the same weights on another machine are another profile. Prices are not:
    runs can be priced again.
    """
    loop: Json = {"kind": spec.loop, **{name: getattr(spec, name) for name in LOOP_PARAMETERS[spec.loop]}}
    return {
        "agent": spec.agent,
        "agent_version": spec.agent_version,
        "command": _command_identity(spec.command) if spec.command else None,
        "models": {role: _model_identity(spec.models[role]) for role in spec.roles},
        "loop": loop,
        "prompts": {"built_in": prompts_hash, "own": _digests(spec.prompts)} if spec.prompts else prompts_hash,
        "limits": spec.limits.model_dump(mode="json"),
        "env": dict(spec.env),
    }


def _command_identity(command: CommandAgent) -> Json:
    """Without telemetry where there is none: agents that have none stay what they were."""
    dumped: dict[str, Json] = command.model_dump(mode="json", exclude=None if command.telemetry else {"telemetry"})
    return dumped


def _digests(texts: Mapping[str, str]) -> Json:
    return {name: hashlib.sha256(text.encode("utf-8")).hexdigest() for name, text in texts.items()}


def _model_identity(model: ModelSpec) -> Json:
    return {
        "name": model.name,
        "resource": model.resource,
        "protocol": model.protocol,
        "context_window": model.context_window,
        "max_output": model.max_output,
    }


def _canonical(value: Json) -> Json:
    if isinstance(value, str | int | None):
        return value  # nearly all are these, and asking whether something is a Mapping costs as much as the rest
    if isinstance(value, Mapping):
        return {str(key): _canonical(item) for key, item in value.items()}
    if isinstance(value, Sequence):
        return [_canonical(item) for item in value]
    if isinstance(value, float) and value.is_integer():
        return int(value)
    return value


def _normal_rule(rule: Rule, axes: Mapping[str, tuple[Scalar, ...]]) -> dict[str, frozenset[Scalar]]:
    return {
        name: frozenset(normal_limit(name, one) if name in axes else one for one in listed(value))
        for name, value in rule.items()
    }


def _matches(rules: Sequence[Mapping[str, frozenset[Scalar]]], place: Mapping[str, Scalar]) -> bool:
    return any(all(place.get(name) in accepted for name, accepted in rule.items()) for rule in rules)


def _spec(
    experiment: Experiment,
    fleet: Fleet,
    combination: Combination,
    target: TargetSpec,
    agent_versions: Mapping[str, str | None],
    given: Given,
) -> JobSpec:
    profile = experiment.profiles[combination.profile]
    agent = experiment.agent_of(profile)
    loop = experiment.loop.model_dump(exclude={"kind"})
    loop |= {name: value for name, value in combination.values.items() if name in loop}
    limits = {name: value for name, value in combination.values.items() if name in Limits.model_fields}
    return JobSpec(
        experiment=experiment.experiment,
        target=target,
        profile=combination.profile,
        agent=agent,
        agent_version=agent_versions.get(agent),
        command=experiment.agents.get(agent),
        env=profile.env,
        prompts={stage: given.prompts[name] for stage, name in {**experiment.prompts, **profile.prompts}.items()},
        models=_models(profile, fleet),
        loop=experiment.loop.kind,
        limits=Limits.model_validate(limits),
        params={name: "unlimited" if value is None else value for name, value in combination.swept.items()},
        **loop,
    )


def _target_spec(target: Target, pin: PinnedTarget, given: Given) -> TargetSpec:
    return TargetSpec(
        label=target.label,
        source=target.source,
        base=target.base,
        sha=pin.sha,
        task_text=pin.task_text,
        setup=target.setup,
        checks={name: _pin(check, pin.packs.get(name)) for name, check in target.checks.items()},
        protected=target.protected,
        tampering=target.tampering,
        plan=given.plans[target.plan] if target.plan else (),
    )


def _pin(check: Check, pack: HiddenPack | None) -> PinnedCheck:
    return PinnedCheck.model_validate({**check.model_dump(exclude={"files"}), "pack": pack})


def _models(profile: Profile, fleet: Fleet) -> dict[str, ModelSpec]:
    return {"reasoning": model_spec(profile.reasoning, fleet), "build": model_spec(profile.build, fleet)}


def model_spec(alias: str, fleet: Fleet) -> ModelSpec:
    """A model of the fleet with the server that serves it. Raises KeyError for a model the fleet does not have."""
    entry, server = fleet.models[alias], fleet.server_of(alias)
    return ModelSpec(
        alias=alias,
        name=entry.name,
        served_names=entry.served_names,
        resource=fleet.resource_of(alias),
        base_url=server.base_url,
        protocol=server.protocol,
        key=server.key,
        lease=server.lease,
        context_window=entry.context_window,
        max_output=entry.max_output,
        prices=entry.prices,
    )


def _key(combination: Combination) -> str:
    swept = ",".join(f"{name}={show_limit(name, value)}" for name, value in combination.swept.items())
    return f"{combination.target.label}/{combination.profile}" + (f"[{swept}]" if swept else "")


def _refuse_equal(cells: Sequence[Cell]) -> None:
    """One job per content: a second name for the same content would never get a job of its own."""
    first: dict[str, str] = {}
    faults = [
        Fault(
            file=cell.spec.experiment,
            field=cell.key,
            message=f"is the same run as {first[cell.cell_hash]} under another name",
            accepted="one name for one content; 'repeats' runs a cell more than once",
        )
        for cell in cells
        if first.setdefault(cell.cell_hash, cell.key) != cell.key
    ]
    if faults:
        raise InvalidInput(faults)
