"""How a check can end."""

from enum import StrEnum


class CheckStatus(StrEnum):
    """An ERROR says nothing about the work; a time-out is a FAIL, with the reason `timeout`."""

    PASS = "pass"  # noqa: S105 - a status, not a secret
    FAIL = "fail"
    ERROR = "error"  # could not be started, or its process tree was ended from outside
    NOT_RUN = "not_run"  # an order to end came, or setup failed, before its turn
