"""What is compared: a profile, split where its hash, its swept values or limits that people changed differ.

Different ones are never pooled.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache

from orchestrator.analysis.rows import JobRow, params_text
from orchestrator.domain.experiment import show_limit


@dataclass(frozen=True, kw_only=True, order=True)
class Variant:
    """A column of every table. `params` is the text of swept values and changed limits, empty without any."""

    profile: str
    params: str
    profile_hash: str


def variant_of(job: JobRow) -> Variant:
    """The variant to which a job belongs."""
    if not job.params and not job.retuned:  # a large matrix asks hundreds of thousands of times
        return _variant(job.profile, "", job.profile_hash)
    changed = ", ".join(f"{name}={show_limit(name, job.retuned[name])}" for name in sorted(job.retuned))
    texts = (params_text(job.params), f"retuned {changed}" if changed else "")
    return _variant(job.profile, ", ".join(filter(None, texts)), job.profile_hash)


@lru_cache(maxsize=4096)
def _variant(profile: str, params: str, profile_hash: str) -> Variant:
    return Variant(profile=profile, params=params, profile_hash=profile_hash)


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
