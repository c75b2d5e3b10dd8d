"""The worker's part of the jobs table: claim, renew, record and end an attempt, each fenced.

A claim raises the job's fencing number and draws a random attempt id. Every later write names the attempt: when it
is no longer live, or its job has gone on, the write changes nothing and raises StaleAttempt.
"""

from orchestrator.storage.attempts.claims import Answer, Hinted, claim, claim_many, withdraw
from orchestrator.storage.attempts.earlier import Earlier, KeptStage, earlier_work
from orchestrator.storage.attempts.ends import End, expire, finish, finish_many
from orchestrator.storage.attempts.living import (
    CellInfo,
    LocalAttempt,
    advance,
    attempts_on,
    cell_info,
    claim_baseline,
    live_beats,
    local_attempts,
    orders_among,
    renew,
    retuned_among,
)
from orchestrator.storage.attempts.slots import release, take
from orchestrator.storage.attempts.values import (
    ArtifactRecord,
    AttemptResult,
    CheckRecord,
    CheckRunRecord,
    Claim,
    Drained,
    Elsewhere,
    NoFreeSlot,
    Parked,
    Refusal,
    WorkerIdentity,
)

__all__ = [
    "Answer",
    "ArtifactRecord",
    "AttemptResult",
    "CellInfo",
    "CheckRecord",
    "CheckRunRecord",
    "Claim",
    "Drained",
    "Earlier",
    "Elsewhere",
    "End",
    "Hinted",
    "KeptStage",
    "LocalAttempt",
    "NoFreeSlot",
    "Parked",
    "Refusal",
    "WorkerIdentity",
    "advance",
    "attempts_on",
    "cell_info",
    "claim",
    "claim_baseline",
    "claim_many",
    "earlier_work",
    "expire",
    "finish",
    "finish_many",
    "live_beats",
    "local_attempts",
    "orders_among",
    "release",
    "renew",
    "retuned_among",
    "take",
    "withdraw",
]
