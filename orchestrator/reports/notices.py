"""Notices in words, for views."""

from orchestrator.storage.notices import Backlog


def backlog_words(one: Backlog) -> str:
    """What waits for a channel, what was given up, and why."""
    parts = [f"{one.waiting} wait" if one.waiting else "nothing waits"]
    if one.given_up:
        parts.append(f"{one.given_up} given up in the last 7 days")
    said = ", ".join(parts)
    return f"{said}; {one.error}" if one.error else said
