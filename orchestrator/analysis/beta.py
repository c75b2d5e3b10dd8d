"""The beta distribution, on which exact binomial intervals and quantiles of t rest, without a statistics package."""

from collections.abc import Callable
from functools import lru_cache
from math import exp, lgamma, log, log1p, sqrt

_TINY = 1e-300


def beta_cdf(x: float, a: float, b: float) -> float:
    """The regularised incomplete beta function I_x(a, b), for a, b > 0.

    Source: continued fraction 8.17.22 of the NIST Digital Library of Mathematical Functions, by Lentz's method.
    """
    if not 0 < x < 1:
        return 0.0 if x <= 0 else 1.0
    if x > (a + 1) / (a + b + 2):  # the fraction converges fast only on this side
        return 1 - beta_cdf(1 - x, b, a)
    front = exp(lgamma(a + b) - lgamma(a) - lgamma(b) + a * log(x) + b * log1p(-x)) / a
    return min(1.0, front / _fraction(x, a, b))


def _fraction(x: float, a: float, b: float) -> float:
    value = c = 1.0
    d = 0.0
    for step in range(1, 100_000):
        d = 1 / _off_zero(1 + _term(step, x, a, b) * d)
        c = _off_zero(1 + _term(step, x, a, b) / c)
        value *= c * d
        if abs(c * d - 1) < 1e-15:
            break
    return value


def _term(step: int, x: float, a: float, b: float) -> float:
    m = step // 2
    if step % 2:
        return -(a + m) * (a + b + m) * x / ((a + 2 * m) * (a + 2 * m + 1))
    return m * (b - m) * x / ((a + 2 * m - 1) * (a + 2 * m))


def _off_zero(value: float) -> float:
    return value if abs(value) > _TINY else _TINY


def beta_quantile(share: float, a: float, b: float) -> float:
    """The x at which `beta_cdf` reaches the share."""
    return _bisect(lambda x: beta_cdf(x, a, b), share, 0.0, 1.0)


@lru_cache(maxsize=256)  # hundreds of pairs have the same few numbers of targets
def t_quantile(share: float, degrees: float) -> float:
    """The quantile of Student's t; `share` lies between 0.5 and 1, degrees of freedom above 0.

    Source: t and the incomplete beta function, Abramowitz and Stegun, Handbook of Mathematical Functions, 26.7.1.
    """
    x = beta_quantile(2 * (1 - share), degrees / 2, 0.5)
    return sqrt(degrees * (1 - x) / max(x, _TINY))


def _bisect(rising: Callable[[float], float], wanted: float, low: float, high: float) -> float:
    for _ in range(200):
        middle = (low + high) / 2
        if middle in (low, high):
            break
        low, high = (middle, high) if rising(middle) < wanted else (low, middle)
    return (low + high) / 2
