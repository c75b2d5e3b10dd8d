"""One sign and one letter per end of a job, so that colour never carries the meaning alone."""

from typing import NamedTuple

from orchestrator.analysis.judge import CHECKS_FAILED, NOT_JUDGED, SOLVED, Standing, word_standing
from orchestrator.domain.outcome import Outcome
from orchestrator.domain.states import JobState


class Symbol(NamedTuple):
    """A sign one column wide, a letter for where the sign is missing, a tone for its colour."""

    sign: str
    letter: str
    tone: str  # good, bad, warn, quiet, busy


_BY_WORD = {
    SOLVED: Symbol("✓", "S", "good"),
    CHECKS_FAILED: Symbol("✗", "F", "bad"),
    NOT_JUDGED: Symbol("?", "U", "warn"),
    Outcome.NO_PROGRESS: Symbol("∅", "N", "bad"),
    Outcome.STAGE_TIMEOUT: Symbol("◷", "T", "bad"),
    Outcome.WALL_TIMEOUT: Symbol("◷", "T", "bad"),
    Outcome.IDLE_TIMEOUT: Symbol("◷", "T", "bad"),
    Outcome.CONTEXT_KILL: Symbol("▣", "C", "bad"),
    Outcome.COMPACTION_FAILED: Symbol("▣", "C", "bad"),
    Outcome.LOOP_DETECTED: Symbol("↻", "O", "bad"),
    Outcome.AGENT_ERROR: Symbol("!", "E", "bad"),
    Outcome.WORKTREE_BROKEN: Symbol("!", "E", "bad"),
    Outcome.FAILURE_BREAKER: Symbol("!", "E", "bad"),
    JobState.READY: Symbol("·", "r", "quiet"),
    JobState.QUEUED: Symbol("○", "q", "quiet"),
    JobState.RUNNING: Symbol("▶", "R", "busy"),
    JobState.PARKED: Symbol("◔", "K", "warn"),
    JobState.PAUSED: Symbol("‖", "P", "warn"),
    JobState.BLOCKED: Symbol("■", "B", "warn"),
    JobState.DONE: Symbol("✓", "D", "good"),
    JobState.FAILED: Symbol("✗", "F", "bad"),
    JobState.CANCELLED: Symbol("–", "X", "quiet"),
    JobState.INVALID: Symbol("≠", "V", "warn"),
}
_BY_STANDING = {
    Standing.RESULT: Symbol("▲", "L", "bad"),  # the limits: turns, tokens, cost, output, iterations
    Standing.INFRA: Symbol("⚡", "I", "warn"),
    Standing.QUOTA: Symbol("◔", "K", "warn"),
    Standing.CANCELLED: Symbol("–", "X", "quiet"),
    Standing.RACED_OUT: Symbol("↓", "W", "quiet"),
    Standing.INVALID: Symbol("≠", "V", "warn"),
    Standing.OPEN: Symbol("·", "r", "quiet"),
}


def symbol(word: str) -> Symbol:
    """The symbol of a job's end (`judge.end_word`) or of its state."""
    return _BY_WORD.get(word) or _BY_STANDING[word_standing(word)]
