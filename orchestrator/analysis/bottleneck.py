"""What a simulated night waits for: a quota window, slots, or a single long job."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

from orchestrator.analysis.simulate import Simulated, SimulatedJob
from orchestrator.analysis.simulated_windows import SimulatedWindow

# Held for so much of the night, a window is what one waits for.
_TELLING_SHARE = 0.1


@dataclass(frozen=True, kw_only=True)
class Bottleneck:
    """`name` is a window, an account or pool, or a job. `share` (0-1) is how much of the night jobs wait for the
    window, the slots are busy, or the job runs. `gate` is what a window holds back."""

    kind: Literal["window", "slots", "job"]
    name: str
    share: float
    gate: str = ""


def bottleneck(
    jobs: Sequence[SimulatedJob],
    done: Simulated,
    slots: Mapping[str, int],
    windows: Sequence[SimulatedWindow],
    ours: Sequence[int],
    labels: Sequence[str],
) -> Bottleneck | None:
    """None when none of ours takes any time."""
    ends = {index: start + jobs[index].seconds for index in ours if (start := done.starts[index]) is not None}
    last = max(ends, key=lambda index: ends[index], default=None)
    if last is None or ends[last] <= 0:
        return None
    whole, needs = ends[last], {need for index in ours for need in jobs[index].needs}
    held = [(seconds, place) for place, seconds in enumerate(done.held_seconds) if windows[place].gate in needs]
    seconds, place = max(held, default=(0.0, 0))
    if seconds >= _TELLING_SHARE * whole:
        window = windows[place]
        return Bottleneck(kind="window", name=window.name, gate=window.gate, share=min(1.0, seconds / whole))
    if jobs[last].seconds >= 0.99 * whole:
        return Bottleneck(kind="job", name=labels[last], share=jobs[last].seconds / whole)
    busy = {
        name: min(1.0, done.busy_seconds.get(name, 0.0) / (slots[name] * whole)) for name in needs if slots.get(name)
    }
    name = max(sorted(busy), key=lambda name: busy[name])
    return Bottleneck(kind="slots", name=name, share=busy[name])
