"""Generated pages of docs/reference are what the code says today."""

import pytest

from orchestrator.domain.meanings import MEANINGS
from orchestrator.domain.outcome import Outcome
from tests.support.reference_pages import FOLDER, pages


def test_every_outcome_has_a_meaning() -> None:
    assert set(MEANINGS) == set(Outcome)


@pytest.mark.parametrize("name", ["commands.md", "outcomes.md", "experiment.schema.json", "fleet.schema.json"])
def test_pages_are_current(name: str) -> None:
    assert (FOLDER / name).read_text("utf-8") == pages()[name], "run: make reference"
