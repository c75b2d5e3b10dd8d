"""What only shows when parts of the files are seen together. Works on the parts that are sound by themselves.

Every check reads the files' plain data, so a fault in one place never hides a fault in another.
"""

from collections.abc import Collection, Mapping
from dataclasses import dataclass
from typing import TypeVar

from pydantic import BaseModel, ValidationError

from orchestrator.domain.experiment import LOOP_PARAMETERS, Experiment, Loop, Profile, Target, loop_parameter_names
from orchestrator.files.tree import Data, Path, Tree
from orchestrator.files.words import mapping, names, sequence, show

M = TypeVar("M", bound=BaseModel)


@dataclass(frozen=True, kw_only=True)
class Parts:
    """The parts of an experiment file that can be judged, by the place where they stand.

    `labels` are the targets' names, also of targets that are not valid otherwise.
    """

    labels: Mapping[int, str]
    profiles: Mapping[str, Profile]
    loop: Loop | None


def sound_parts(tree: Tree) -> Parts:
    """The profiles and loop that are valid by themselves, and the targets' labels."""
    labels = {number: _label(mapping(raw)) for number, raw in enumerate(sequence(tree.get("targets")))}
    profiles = {name: sound(Profile, raw) for name, raw in mapping(tree.get("profiles")).items()}
    raw_loop = tree.get("loop")
    return Parts(
        labels={number: label for number, label in labels.items() if label},
        profiles={name: profile for name, profile in profiles.items() if profile},
        loop=Loop() if raw_loop is None else sound(Loop, raw_loop),
    )


def _label(raw: Mapping[str, Data]) -> str | None:
    name, repo, worktree = (raw.get(key) for key in ("name", "repo", "worktree"))
    if isinstance(name, str):
        return name
    source = repo if isinstance(repo, str) else worktree
    return Target.model_construct(name=None, repo=source).label if isinstance(source, str) and source else None


def sound(model: type[M], raw: Data) -> M | None:
    """The value, or None when it is not valid (which is reported elsewhere)."""
    try:
        return model.model_validate(raw)
    except ValidationError:
        return None


def check_fleet(tree: Tree) -> None:
    """Every model is served by exactly one account or pool that exists."""
    for name, raw in mapping(tree.get("models")).items():
        entry, path = mapping(raw), ("models", name)
        if ("account" in entry) == ("pool" in entry):
            found = "both" if "account" in entry else "neither"
            tree.fault(path, "needs a server", found=found, accepted="exactly one of 'account' and 'pool'")
        for kind in ("account", "pool"):
            known = mapping(tree.get(f"{kind}s"))
            server = entry.get(kind)
            if isinstance(server, str) and server not in known:
                tree.fault(
                    (*path, kind), f"is no {kind} of this file", found=show(server), accepted=names(known, server)
                )


def check_windows(tree: Tree) -> None:
    """An account's windows have names of their own, and the model that one is for is served by that account."""
    models = mapping(tree.get("models"))
    for account, raw in mapping(tree.get("accounts")).items():
        served = [name for name, entry in models.items() if mapping(entry).get("account") == account]
        seen: set[Data] = set()
        for number, window in enumerate(map(mapping, sequence(mapping(raw).get("windows")))):
            path: Path = ("accounts", account, "windows", number)
            name, model = window.get("name"), window.get("model")
            if isinstance(name, str) and name in seen:
                tree.fault((*path, "name"), "names another window of this account", found=show(name))
            if isinstance(name, str):
                seen.add(name)
            if isinstance(model, str) and model not in served:
                tree.fault(
                    (*path, "model"), "is no model of this account", found=show(model), accepted=names(served, model)
                )


def check_profiles(tree: Tree, parts: Parts, fleet: Tree | None, agents: Collection[str]) -> None:
    """Models and agents exist, and a loop with one stage has one model."""
    known = [*agents, *mapping(tree.get("agents"))]
    models = mapping(fleet.get("models")) if fleet is not None and isinstance(fleet.data, Mapping) else None
    for name, profile in parts.profiles.items():
        if models is not None:
            _check_models(tree, name, profile, models)
        if profile.agent is not None:
            _check_agent(tree, ("profiles", name, "agent"), profile.agent, known)
        if parts.loop and parts.loop.kind == "single" and len(profile.models()) > 1:
            tree.fault(
                ("profiles", name),
                "has two models, but the loop 'single' has one stage",
                found=f"reasoning {profile.reasoning!r}, build {profile.build!r}",
                accepted="'loop: staged', or one model for this profile",
            )
    if parts.loop and parts.loop.kind == "external":
        _check_harnesses(tree, parts, agents)
    everybody_chooses = bool(parts.profiles) and all(profile.agent for profile in parts.profiles.values())
    agent = tree.get("agent")
    if isinstance(agent, str) and not (everybody_chooses and agent in known):
        _check_agent(tree, ("agent",), agent, known)
    for own in mapping(tree.get("agents")):
        if own in agents:
            tree.fault(("agents", own), "is the name of a built-in agent", accepted="another name")


def _check_harnesses(tree: Tree, parts: Parts, built_in: Collection[str]) -> None:
    """A built-in agent does one stage, and knows nothing of running several."""
    default = tree.get("agent") or Experiment.model_fields["agent"].default
    for name, profile in parts.profiles.items():
        if (agent := profile.agent or default) in built_in:
            tree.fault(
                ("profiles", name, "agent") if profile.agent else ("loop",),
                "is the loop of a harness, and the agent is none" if not profile.agent else "is no harness",
                found=show(agent),
                accepted="one of your own 'agents', with 'telemetry'",
            )


def _check_models(tree: Tree, name: str, profile: Profile, models: Mapping[str, Data]) -> None:
    raw = tree.get("profiles", name)
    for role, alias in (("reasoning", profile.reasoning), ("build", profile.build)):
        if alias in models:
            continue
        path: Path = ("profiles", name)
        if isinstance(raw, Mapping):
            path = (*path, "model" if "model" in raw else role)
        elif role == "build":
            continue
        if path[-1] != "model" or role == "reasoning":
            tree.fault(path, "is no model of the fleet", found=show(alias), accepted=names(models, alias))


def _check_agent(tree: Tree, path: Path, agent: str, known: Collection[str]) -> None:
    if agent not in known:
        tree.fault(path, "is no known agent", found=show(agent), accepted=names(known, agent))


def check_labels(tree: Tree, parts: Parts) -> None:
    """No two targets and no two profiles answer to one name where case does not count (file systems, branches)."""
    first: dict[str, int] = {}
    for number, label in parts.labels.items():
        earlier = first.setdefault(label.casefold(), number)
        if earlier != number:
            target = mapping(sequence(tree.get("targets"))[number])
            field = next((key for key in ("name", "repo", "worktree") if key in target), "name")
            tree.fault(
                ("targets", number, field),
                f"names the target {label!r} like targets[{earlier}] does",
                accepted="a 'name' of its own for each target",
            )
    seen: dict[str, str] = {}
    for name in parts.profiles:
        if seen.setdefault(name.casefold(), name) != name:
            tree.fault(
                ("profiles", name), f"differs from {seen[name.casefold()]!r} by case only", accepted="another name"
            )


def check_loop_parameters(tree: Tree, parts: Parts) -> None:
    """Loop parameters stand in one place, and only with a loop that has them."""
    limits, loop = mapping(tree.get("limits")), mapping(tree.get("loop"))
    for name in loop_parameter_names():
        if name in limits and name in loop:
            tree.fault(("limits", name), "is given under 'loop' too", accepted="one of the two")
        for where, holder in (("limits", limits), ("loop", loop)):
            if name in holder and parts.loop and name not in LOOP_PARAMETERS[parts.loop.kind]:
                having = next(loop for loop, its in LOOP_PARAMETERS.items() if name in its)
                message = f"has no meaning in the loop {parts.loop.kind!r}"
                tree.fault((where, name), message, accepted=f"'loop: {having}'")
