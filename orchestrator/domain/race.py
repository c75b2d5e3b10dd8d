"""The rules of a race: when a profile that cannot win is stopped before it has run on every target."""

from pydantic import Field

from orchestrator.domain.base import Model


class Race(Model):
    """How sure a stop must be. Without swept values, profiles race; with them, every combination does."""

    error_rate: float = Field(
        0.05, gt=0, le=0.5, description="The chance, over all profiles and all looks, of stopping one that is best."
    )
    min_targets: int = Field(
        10, ge=5, le=100_000, strict=True, description="Nobody is stopped on fewer common targets than this."
    )
    margin: float = Field(
        0.0, ge=0, le=0.5, description="A lead in the solved rate (0.05 = 5 points) that would not matter to you."
    )
    most_runs: float | None = Field(
        None, gt=0, le=1, description="End the race once this share of its jobs was begun, whatever is decided."
    )
