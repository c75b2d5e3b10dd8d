"""Tests of paired differences: could their sign as well have been the other one?"""

from math import comb

import numpy as np

from orchestrator.analysis.bootstrap import SEED
from orchestrator.analysis.tally import Floats

DRAWS = 10_000
# Signs of so many draws at a time are in memory.
_CHUNK = 1000
# Sums of thirds and fifths that are equal differ in their last digits.
_EQUAL = 1e-9


def mcnemar(first_only: int, second_only: int) -> float:
    """Two-sided exact p-value of pairs in which one side alone was solved; 1 without any.

    Source: Q. McNemar, "Note on the sampling error of the difference between correlated proportions or percentages",
    Psychometrika 12 (1947) 153-157, with the binomial distribution in place of its approximation.
    """
    pairs, most = first_only + second_only, max(first_only, second_only)
    return min(1.0, 2 * sum(comb(pairs, count) for count in range(most, pairs + 1)) / (1 << pairs))


def sign_flip(differences: Floats, draws: int = DRAWS, seed: int = SEED) -> tuple[float, ...]:
    """Two-sided p-value of each row of differences (one column per target, 0 where there is none).

    Share of assignments of signs to targets whose sum is as far from 0 as the one found: of all assignments where
    they are no more than `draws`, else of drawn ones with the found one among them. Differences of -1, 0 and 1 alone
    give McNemar's exact value. Sources: R. A. Fisher, The Design of Experiments (1935), section 21; B. Phipson and
    G. K. Smyth, "Permutation p-values should never be zero", Stat. Appl. Genet. Mol. Biol. 9 (2010) article 39.
    """
    rows, targets = differences.shape
    complete = 2**targets <= draws if targets < 60 else False
    found = np.abs(differences.sum(axis=1)) - _EQUAL
    count = 2**targets if complete else draws
    as_far = np.zeros(rows) if complete else np.ones(rows)
    random = np.random.default_rng(seed)
    for start in range(0, count, _CHUNK):
        size = min(_CHUNK, count - start)
        ups = _all_signs(start, size, targets) if complete else random.integers(0, 2, size=(size, targets))
        as_far += (np.abs((2.0 * ups - 1.0) @ differences.T) >= found).sum(axis=0)
    return tuple(float(value) for value in as_far / (count if complete else count + 1))


def _all_signs(start: int, size: int, targets: int) -> Floats:
    numbers = np.arange(start, start + size)[:, None]
    return ((numbers >> np.arange(targets)) & 1).astype(np.float64)
