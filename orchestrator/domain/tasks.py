"""Tasks of a plan: where one can stand, and how long plans and their texts may be."""

from enum import StrEnum

# A longer plan would not end in a night.
MAX_TASKS = 100
# Of a task, and of whatever is said about it.
MAX_TEXT_CHARS = 4000


class TaskState(StrEnum):
    """Where a task stands. The last three are final."""

    OPEN = "open"
    READY = "ready"
    BUILT = "built"
    FAILED = "failed"
    SPLIT = "split"
    ACCEPTED = "accepted"
    GIVEN_UP = "given_up"
