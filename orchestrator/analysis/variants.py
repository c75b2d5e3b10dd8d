"""What is compared: a profile, split where its hash or its swept values differ. Different ones are never pooled."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from orchestrator.analysis.rows import JobRow, params_text


@dataclass(frozen=True, kw_only=True, order=True)
class Variant:
    """A column of every table. `params` is the text of the swept values, empty without a sweep."""

    profile: str
    params: str
    profile_hash: str


def variant_of(job: JobRow) -> Variant:
    """The variant to which a job belongs."""
    return Variant(profile=job.profile, params=params_text(job.params), profile_hash=job.profile_hash)


def labels(jobs: Sequence[JobRow]) -> Mapping[Variant, str]:
    """The shortest label that tells each variant from the others: name, then swept values, then hash."""
    variants = sorted({variant_of(job) for job in jobs})
    hashes: dict[tuple[str, str], int] = {}
    for variant in variants:
        key = (variant.profile, variant.params)
        hashes[key] = hashes.get(key, 0) + 1
    return {variant: _label(variant, hashes[(variant.profile, variant.params)] > 1) for variant in variants}


def _label(variant: Variant, with_hash: bool) -> str:
    swept = f" [{variant.params}]" if variant.params else ""
    return f"{variant.profile}{swept}" + (f" @{variant.profile_hash[:8]}" if with_hash else "")
