"""docs/reference/settings.md against the one reader of the environment."""

import re
from dataclasses import fields
from pathlib import Path

import pytest

from orchestrator.settings import Settings, load_settings

ROOT = Path(__file__).parents[2]
ROWS = {
    name: (unit, default)
    for name, unit, default in re.findall(
        r"^\| `(BAKEOFF_\w+)` \| .+ \| (.+) \| (.+) \|$",
        (ROOT / "docs/reference/settings.md").read_text(),
        re.MULTILINE,
    )
}
# Handed from `bakeoff flower` to its own server; nobody sets it.
_INTERNAL = {"BAKEOFF_FLOWER_LOGIN"}


def test_every_variable_is_described_and_no_other() -> None:
    read = set(re.findall(r"\"(BAKEOFF_[A-Z_]+)\"", (ROOT / "orchestrator/settings.py").read_text()))

    assert set(ROWS) == read - _INTERNAL


@pytest.mark.parametrize("field", [one.name for one in fields(Settings)])
def test_units_and_defaults_are_those_of_the_program(field: str, tmp_path: Path) -> None:
    unit, default = ROWS[f"BAKEOFF_{field.upper()}"]
    value = getattr(load_settings({"BAKEOFF_HOME": str(tmp_path)}), field)

    if isinstance(value, float):
        assert float(default) == value
        assert {"seconds": field.endswith("_seconds"), "MiB": field.endswith("_mib")}.get(unit, True)
    elif value is None or value is False:
        assert default == "none"
    else:
        assert default in ("host name", "`.bakeoff`", "`sqlite:///HOME/bakeoff.db`")
