"""The second part of a campaign: which profiles run once the others have ended, and on which targets."""

from enum import StrEnum

from pydantic import Field

from orchestrator.domain.base import Model, Name


class RankBy(StrEnum):
    """What is measured on a target, over the results of the first part."""

    SOLVED = "solved"  # share of the results that were solved
    DISAGREEMENT = "disagreement"  # between the profile with the highest solved share and the one with the lowest
    COST = "cost"  # mean list price of a result
    TOKENS = "tokens"  # mean of a result
    SECONDS = "seconds"  # mean working time of a result


class End(StrEnum):
    """Which end of the ranking is taken."""

    HIGHEST = "highest"
    LOWEST = "lowest"


class Then(Model):
    """Profiles that wait for all others, and then run on the first targets of a ranking."""

    profiles: tuple[Name, ...] = Field(min_length=1, description="Profiles of this file that run in the second part.")
    rank_by: RankBy = Field(description="What targets are ranked by, measured in the first part.")
    first: End = Field(End.HIGHEST, description="Which targets come first: those with the highest or lowest value.")
    top: int = Field(ge=1, le=1_000_000, strict=True, description="The second part runs on so many targets.")
