"""Checks of limits, swept axes, and the rules that keep or drop cells."""

import math
from collections.abc import Mapping

from pydantic import ValidationError

from orchestrator.domain.experiment import Experiment, Scalar, limit_names, normal_limit, show_limit
from orchestrator.domain.limits import Limits
from orchestrator.domain.matrix import combinations
from orchestrator.files.cross import Parts
from orchestrator.files.tree import Data, Path, Tree
from orchestrator.files.words import describe, mapping, names, sequence, show

# The largest matrix that planning was made for is 100,000 jobs; ten times that is a slip in a sweep.
MAX_JOBS = 1_000_000
_CONTEXT = ("context_warn_percent", "context_compact_percent", "context_kill_percent")


def check_limits(tree: Tree) -> None:
    """Names are limits, and every value of every axis is accepted and new."""
    for name, raw in mapping(tree.get("limits")).items():
        if name not in limit_names():
            tree.fault(("limits", name), "is no limit", accepted=names(limit_names(), name))
        elif isinstance(raw, Mapping):
            tree.fault(
                ("limits", name), "is not a limit's value", found=show(raw), accepted="a value or a list of values"
            )
        elif isinstance(raw, list):
            _check_axis(tree, name, raw)
        else:
            _value(tree, ("limits", name), name, raw)


def _check_axis(tree: Tree, name: str, raw: list[Data]) -> None:
    if not raw:
        tree.fault(("limits", name), "has no value", found="an empty list", accepted="at least one value")
    first: dict[Scalar, int] = {}
    for number, item in enumerate(raw):
        path: Path = ("limits", name, number)
        faults = len(tree.faults)
        value = _value(tree, path, name, item)
        if len(tree.faults) == faults and first.setdefault(value, number) != number:
            tree.fault(path, f"is the same as value {first[value]}", found=show(item), accepted="each value once")


def _value(tree: Tree, path: Path, name: str, raw: Data) -> Scalar:
    if raw is not None and not isinstance(raw, str | int | float):
        tree.fault(path, "is not a limit's value", found=show(raw), accepted="a single value")
        return None
    try:
        return normal_limit(name, raw)
    except ValidationError as error:
        message, accepted, _ = describe(error.errors()[0])
    except ValueError as error:
        message, accepted = "is not accepted", str(error)
    tree.fault(path, message, found=show(raw), accepted=accepted)
    return None


def check_rules(tree: Tree, parts: Parts) -> None:
    """Rules name axes, and values that these axes have."""
    axes: dict[str, tuple[Scalar, ...]] = {
        "target": tuple(parts.labels.values()),
        "profile": tuple(mapping(tree.get("profiles"))),
    }
    swept = {name: raw for name, raw in mapping(tree.get("limits")).items() if isinstance(raw, list)}
    for kind in ("include", "exclude"):
        for number, rule in enumerate(sequence(tree.get(kind))):
            if isinstance(rule, Mapping) and not rule:
                tree.fault(
                    (kind, number), "matches everything", found="an empty rule", accepted=names([*axes, *swept])
                )
            for name, raw in mapping(rule).items():
                path: Path = (kind, number, name)
                if name in axes:
                    _check_choice(tree, path, raw, axes[name])
                elif name in swept:
                    _check_choice(tree, path, raw, _normal_axis(name, swept[name]), name)
                else:
                    tree.fault(path, "is no axis of this matrix", accepted=names([*axes, *swept], name))


def _normal_axis(name: str, raw: list[Data]) -> tuple[Scalar, ...]:
    values = []
    for item in raw:
        value = _quietly(name, item)
        if value is not _BAD:
            values.append(value)
    return tuple(values)


_BAD = "\0bad"


def _quietly(name: str, raw: Data) -> Scalar:
    """A normal value; `_BAD` when it is not one, which `check_limits` reports."""
    if name not in limit_names() or (raw is not None and not isinstance(raw, str | int | float)):
        return _BAD
    try:
        return normal_limit(name, raw)
    except ValueError:
        return _BAD


def _check_choice(tree: Tree, path: Path, raw: Data, values: tuple[Scalar, ...], limit: str | None = None) -> None:
    choices = list(enumerate(raw)) if isinstance(raw, list) else [(-1, raw)]
    if not choices:
        tree.fault(path, "has no value", found="an empty list", accepted="at least one value")
    for number, item in choices:
        value = _quietly(limit, item) if limit else item
        if value not in values or isinstance(value, bool):
            known = dict.fromkeys(show_limit(limit or "", one) for one in values)
            where = path if number < 0 else (*path, number)
            meant = "" if limit else str(item)
            tree.fault(where, "is no value of this axis", found=show(item), accepted=names(known, meant))


def check_matrix(tree: Tree, experiment: Experiment) -> None:
    """The matrix has cells, not absurdly many, and each of them has its context percentages in order.

    Only for an experiment without faults.
    """
    cells = len(experiment.targets) * len(experiment.profiles) * math.prod(map(len, experiment.axes().values()))
    if cells * experiment.repeats > MAX_JOBS:
        jobs = f"{cells * experiment.repeats} jobs"
        tree.fault((), "makes too large a matrix", found=jobs, accepted=f"at most {MAX_JOBS} jobs")
        return
    defaults = Limits()
    triples: dict[tuple[float, ...], None] = {}
    for cell in combinations(experiment):
        triples[tuple(float(cell.values.get(name) or getattr(defaults, name)) for name in _CONTEXT)] = None
    if not triples:
        where: Path = ("include",) if experiment.include else ("exclude",)
        tree.fault(where, "leaves no cell of the matrix", accepted="rules that match at least one cell")
    for triple in triples:
        _check_triple(tree, experiment, triple)


def _check_triple(tree: Tree, experiment: Experiment, triple: tuple[float, ...]) -> None:
    for low, high in ((0, 1), (1, 2)):
        if triple[low] < triple[high]:
            continue
        blamed = high if _CONTEXT[high] in experiment.limits else low
        path: Path = ("limits", _CONTEXT[blamed])
        if isinstance(experiment.limits.get(_CONTEXT[blamed]), tuple):
            path = (*path, experiment.axes()[_CONTEXT[blamed]].index(triple[blamed]))
        other = low if blamed == high else high
        side = "more" if blamed == high else "less"
        tree.fault(
            path,
            "breaks the order warn < compact < kill",
            found=f"{triple[blamed]:g}",
            accepted=f"{side} than {_CONTEXT[other]} ({triple[other]:g}), or change that one too",
        )
