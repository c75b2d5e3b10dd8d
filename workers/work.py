"""What an attempt has so far: what is in it when the attempt ends is what gets recorded."""

from dataclasses import dataclass, field

from orchestrator.storage import attempts
from workers.asked import Asked
from workers.loops.history import History
from workers.resume import Resumed
from workers.stage_frame import StageRun
from workers.tampering import Tampering
from workers.worktrees.worktree import JobTree


@dataclass
class Work:
    """The tree, the stages and the evidence of one attempt."""

    tree: JobTree | None = None
    resumed: Resumed | None = None
    # Whether an agent has been in the tree in this attempt. Until then it was whole, and nobody broke it but we.
    begun: bool = False
    runs: list[StageRun] = field(default_factory=list)
    history: History = field(default_factory=History)
    # Used by the stages so far, those of an earlier attempt that this one built on included.
    tokens: int = 0
    cost_usd_micros: int = 0
    commits: int = 0
    checks: list[attempts.CheckRecord] = field(default_factory=list)
    asked: Asked | None = None
    tampering: Tampering | None = None
    artifacts: list[attempts.ArtifactRecord] = field(default_factory=list)
