"""Whether a new package manifest also tells test runners, type checkers or linters what to look at.

Every project that begins has a manifest, so that one is new says nothing. What it holds for those that judge does.
"""

import json
import tomllib
from collections.abc import Mapping, Sequence

_MANIFESTS = frozenset({"pyproject.toml", "package.json"})
# Programs that read their settings from there without being told to, and say whether the work is right.
_JUDGES = frozenset(
    {
        *("pytest", "coverage", "tox", "mypy", "pyright", "basedpyright", "ty", "pyre"),
        *("ruff", "flake8", "pylint", "bandit", "black", "isort"),
        *("jest", "mocha", "ava", "nyc", "c8", "vitest", "tap", "jasmine", "karma"),
        *("eslintconfig", "eslintignore", "prettier", "standard", "xo", "tsd"),
    }
)


def is_manifest(path: str) -> bool:
    """Whether a path names a file in which a project and the settings of its judges stand together."""
    return _name(path) in _MANIFESTS


def configures_a_judge(path: str, lines: Sequence[str] | None) -> bool:
    """Whether a new manifest holds settings of a judge. `lines` is all of it; None when nobody has looked.

    What cannot be read counts: who reads it less strictly than we do may find settings there.
    """
    if lines is None:
        return True
    try:
        settings = _tools("\n".join(lines)) if _name(path) == "pyproject.toml" else json.loads("\n".join(lines))
    except (ValueError, RecursionError):
        return True
    return not isinstance(settings, Mapping) or any(name.casefold() in _JUDGES for name in settings)


def _tools(text: str) -> object:
    return tomllib.loads(text).get("tool", {})


def _name(path: str) -> str:
    return path.rpartition("/")[2].casefold()
