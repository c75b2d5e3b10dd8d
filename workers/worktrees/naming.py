"""Names of a job's branch and directories: valid for git and the file system whatever the experiment calls things."""

import hashlib
import json
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

_ALLOWED = re.compile(r"[A-Za-z0-9_][A-Za-z0-9._-]{0,63}")


@dataclass(frozen=True, kw_only=True)
class JobKey:
    """One attempt at one cell of the matrix. `attempt` names the attempt uniquely within the job's directory."""

    experiment: str
    target: str
    profile: str
    repeat: int
    attempt: str
    params: Mapping[str, float | int | str] = field(default_factory=dict)

    @property
    def branch(self) -> str:
        """`bakeoff/<experiment>/<target>/<profile>[/p-<hash of params>]/<repeat>`, for every attempt the same."""
        return "/".join(("bakeoff", *self._parts()))

    def run_dir(self, runs: Path) -> Path:
        """The attempt's own directory under `runs`."""
        return runs.joinpath(*self._parts(), f"attempt-{component(self.attempt)}")

    def _parts(self) -> tuple[str, ...]:
        names = tuple(component(name) for name in (self.experiment, self.target, self.profile))
        swept = (f"p-{_digest(json.dumps(dict(self.params), sort_keys=True))}",) if self.params else ()
        return (*names, *swept, str(self.repeat))


def component(text: str) -> str:
    """A text as one part of a ref and of a path. Texts that had to be changed get a hash, so none meet."""
    if _ALLOWED.fullmatch(text) and ".." not in text and not text.endswith((".", ".lock")):
        return text
    slug = re.sub(r"[^A-Za-z0-9_-]+", "-", text).strip("-")[:40] or "x"
    return f"{slug}-{_digest(text)}"


def _digest(text: str) -> str:
    return hashlib.sha256(text.encode("utf-8", "surrogateescape")).hexdigest()[:10]
