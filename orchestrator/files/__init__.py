"""Experiment and fleet files: reading them, and telling everything that is wrong with them at once."""

import os
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TypeVar

from pydantic import BaseModel, ValidationError

from orchestrator.domain.errors import Fault, InvalidInput
from orchestrator.domain.experiment import BUILT_IN_AGENTS, Experiment, is_remote
from orchestrator.domain.fleet import Fleet, PriceTable
from orchestrator.domain.matrix import NOTHING_GIVEN, Given
from orchestrator.files.axes import check_limits, check_matrix, check_rules
from orchestrator.files.cross import (
    Parts,
    check_fleet,
    check_labels,
    check_loop_parameters,
    check_profiles,
    check_windows,
    sound_parts,
)
from orchestrator.files.given import read_given
from orchestrator.files.hidden import HiddenFiles, read_hidden
from orchestrator.files.source import home_expanded, read_text
from orchestrator.files.then import check_then
from orchestrator.files.toml_tree import parse_toml
from orchestrator.files.tree import Data, Tree, check_values
from orchestrator.files.words import mapping, note_validation, sequence, show
from orchestrator.files.yaml_tree import parse_yaml

__all__ = ["Loaded", "load_experiment", "load_fleet", "load_prices"]

M = TypeVar("M", bound=BaseModel)


@dataclass(frozen=True, kw_only=True)
class Loaded:
    """An experiment file and its fleet file, valid by themselves and together.

    `path` is the experiment file's. Local `repo` and `worktree` paths of the experiment are absolute. `given` is what
    the prompt templates and plans that it names say.
    """

    experiment: Experiment
    fleet: Fleet
    path: Path
    given: Given = NOTHING_GIVEN
    hidden: HiddenFiles = field(default_factory=HiddenFiles)


def load_experiment(path: Path | str, *, agents: Collection[str] = BUILT_IN_AGENTS) -> Loaded:
    """Read an experiment file and the fleet file that it names; `agents` are the built-in agents.

    Repositories need not exist yet. Raises InvalidInput with every fault of both files.
    """
    path = Path(path)
    tree = _read_experiment(path)
    fleet_tree = _fleet_of(tree, path)
    fleet = _validate(fleet_tree, Fleet) if fleet_tree else None
    if fleet_tree:
        check_fleet(fleet_tree)
        check_windows(fleet_tree)
    experiment = _validate(tree, Experiment)
    given, others = NOTHING_GIVEN, list[Tree]()
    if isinstance(tree.data, Mapping):
        parts = _check_together(tree, fleet_tree, agents)
        given, others = read_given(tree, parts, path.parent)
    if experiment and not tree.faults:
        check_matrix(tree, experiment)
    hidden = read_hidden(tree, experiment, path.absolute().parent) if experiment else HiddenFiles()
    files = [tree, *([fleet_tree] if fleet_tree else []), *others]
    _raise_faults([fault for one in files for fault in one.faults])
    assert experiment is not None  # no faults
    assert fleet is not None
    return Loaded(experiment=experiment, fleet=fleet, path=path, given=given, hidden=hidden)


def load_fleet(path: Path | str) -> Fleet:
    """Read a fleet file. Raises InvalidInput with every fault in it."""
    tree = _read_toml(Path(path))
    fleet = _validate(tree, Fleet)
    check_fleet(tree)
    check_windows(tree)
    _raise_faults(tree.faults)
    assert fleet is not None  # no faults
    return fleet


def load_prices(path: Path | str) -> PriceTable:
    """Read a table of prices. Raises InvalidInput with every fault in it."""
    tree = _read_toml(Path(path))
    table = _validate(tree, PriceTable)
    _raise_faults(tree.faults)
    assert table is not None  # no faults
    return table


def _read_experiment(path: Path) -> Tree:
    tree = Tree(str(path))
    text = read_text(path, tree)
    if text is not None:
        parse_yaml(text, tree)
        check_values(tree)
    tree.data = _absolute(tree.data, path.absolute().parent)
    return tree


def _read_toml(path: Path) -> Tree:
    tree = Tree(str(path))
    text = read_text(path, tree)
    if text is not None:
        parse_toml(text, tree)
        check_values(tree)
    return tree


def _fleet_of(tree: Tree, path: Path) -> Tree | None:
    """The fleet file's tree; None when the experiment file does not even tell its name."""
    if not isinstance(tree.data, Mapping):
        return None
    name = tree.data.get("fleet", Experiment.model_fields["fleet"].default)
    if not isinstance(name, str) or not name or "\0" in name:
        return None
    place = path.parent / home_expanded(Path(name))
    if not os.path.lexists(place):  # never raises
        tree.fault(
            ("fleet",),
            "names a fleet file that is not there",
            found=str(place),
            accepted="a path from this file",
        )
        return None
    return _read_toml(place)


def _validate(tree: Tree, model: type[M]) -> M | None:
    if tree.data is None:
        if not tree.faults:
            tree.fault((), "is empty")
        return None
    if not isinstance(tree.data, Mapping):
        tree.fault(
            (), "is not a mapping", found=show(tree.data), accepted="a mapping that begins with 'experiment: NAME'"
        )
        return None
    try:
        return model.model_validate(tree.data)
    except ValidationError as error:
        note_validation(tree, error, model)
        return None


def _check_together(tree: Tree, fleet_tree: Tree | None, agents: Collection[str]) -> Parts:
    parts = sound_parts(tree)
    check_profiles(tree, parts, fleet_tree, agents)
    check_then(tree, parts)
    check_labels(tree, parts)
    check_loop_parameters(tree, parts)
    check_limits(tree)
    check_rules(tree, parts)
    return parts


def _absolute(data: Data, base: Path) -> Data:
    """The experiment's data with local paths of repositories made absolute; they count from the file."""
    if not isinstance(data, Mapping) or not isinstance(data.get("targets"), list):
        return data
    targets = [_absolute_target(target, base) for target in sequence(data["targets"])]
    return {**data, "targets": targets}


def _absolute_target(target: Data, base: Path) -> Data:
    fixed = dict(mapping(target))
    for key in ("repo", "worktree"):
        value = fixed.get(key)
        if (
            isinstance(value, str)
            and value
            and not value.startswith("-")
            and "::" not in value
            and not is_remote(value)
        ):
            fixed[key] = str(Path.resolve(base / home_expanded(Path(value)))) if "\0" not in value else value
    return fixed if isinstance(target, Mapping) else target


def _raise_faults(faults: Sequence[Fault]) -> None:
    if faults:
        unique = dict.fromkeys(faults)
        files = list(dict.fromkeys(fault.file for fault in faults))
        raise InvalidInput(sorted(unique, key=lambda fault: (files.index(fault.file), fault.line or 0)))
