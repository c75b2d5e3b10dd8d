"""How large targets are, by what agents took on them: log value = what the agent usually takes + the target's size.

Fitted by turns (backfitting) over all runs. Only within a group of agents and targets that runs connect: between
two that share nothing, nobody knows which side is large.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from math import exp, sqrt

import numpy as np

from orchestrator.analysis.estimate import LEAST_RUNS, Estimate, Source, Spread, logs

_TURNS = 30


@dataclass(frozen=True, kw_only=True)
class Sizes:
    """The fit. `agents` and `targets` hold (effect, runs, group) by name."""

    agents: dict[str, tuple[float, int, int]]
    targets: dict[str, tuple[float, int, int]]
    sigma: float
    degrees: int
    smear: float

    def expect(self, agent: str, target: str) -> Estimate | None:
        """What the agent takes on the target; None where either is unknown, or nothing connects them."""
        a, t = self.agents.get(agent), self.targets.get(target)
        if a is None or t is None or a[2] != t[2] or min(a[1], t[1] + 1, self.degrees) < LEAST_RUNS:
            return None
        middle = exp(a[0] + t[0])
        spread = Spread(sigma=self.sigma, degrees=self.degrees, centre=1 / a[1] + 1 / t[1])
        # Source of the factor: N. Duan, "Smearing estimate", J. American Statistical Association 78 (1983), 605-610.
        return Estimate(
            source=Source.SIZED, runs=min(a[1], t[1]), mean=middle * self.smear, middle=middle, spread=spread
        )


def sizes_of(agents: Sequence[str], targets: Sequence[str], values: Sequence[float]) -> Sizes:
    """The fit over these runs, one of each per run."""
    names = [list(dict.fromkeys(agents)), list(dict.fromkeys(targets))]
    places = [{name: place for place, name in enumerate(those)} for those in names]
    a = np.array([places[0][name] for name in agents], dtype=np.int64)
    t = np.array([places[1][name] for name in targets], dtype=np.int64)
    found = np.array(logs(values) if any(values) else [])
    if not found.size:
        return Sizes(agents={}, targets={}, sigma=0.0, degrees=0, smear=1.0)
    # Runs of the same agent on the same target say one thing together: how many others there are is what counts.
    pairs, of_pair = np.unique(a * len(names[1]) + t, return_inverse=True)
    means = np.bincount(of_pair, found) / np.bincount(of_pair)
    agent, target = pairs // len(names[1]), pairs % len(names[1])
    counts = [np.bincount(agent), np.bincount(target)]
    effects = [np.zeros(len(counts[0])), np.zeros(len(counts[1]))]
    for _ in range(_TURNS):
        effects[0] = np.bincount(agent, means - effects[1][target]) / counts[0]
        effects[1] = np.bincount(target, means - effects[0][agent]) / counts[1]
    rest = found - effects[0][a] - effects[1][t]
    groups = _groups(a, t, len(names[0]), len(names[1]))
    apart = len({int(one) for one in groups[0]})
    degrees = max(0, pairs.size - len(names[0]) - len(names[1]) + apart)
    told = [
        {
            name: (float(effects[side][i]), int(counts[side][i]), int(groups[side][i]))
            for name, i in places[side].items()
        }
        for side in (0, 1)
    ]
    sigma = sqrt(float(rest @ rest) / found.size * pairs.size / degrees) if degrees else 0.0
    return Sizes(agents=told[0], targets=told[1], sigma=sigma, degrees=degrees, smear=float(np.exp(rest).mean()))


def _groups(
    a: "np.typing.NDArray[np.int64]", t: "np.typing.NDArray[np.int64]", agents: int, targets: int
) -> list["np.typing.NDArray[np.int64]"]:
    """Which agents and targets runs connect: each gets the lowest number of an agent that it can be reached from."""
    of_agent, of_target = np.arange(agents), np.full(targets, agents)
    while True:
        before = of_agent.copy()
        np.minimum.at(of_target, t, of_agent[a])
        np.minimum.at(of_agent, a, of_target[t])
        if (before == of_agent).all():
            return [of_agent, of_target]
