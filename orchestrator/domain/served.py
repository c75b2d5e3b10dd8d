"""Whether the model that answered is the one that was asked for."""

import re
from collections.abc import Sequence

# Providers answer an alias with the dated snapshot behind it: claude-opus-4-6 with claude-opus-4-6-20260205,
# gpt-5.2 with gpt-5.2-2026-01-15, gemini-3-pro with gemini-3-pro-001.
_SNAPSHOT = re.compile(r"[-@:](?:\d{8}|\d{4}-\d{2}-\d{2}|\d{3})")
# Claude Code's mark for a larger window, which it keeps to itself: claude-opus-4-6[1m] asks for claude-opus-4-6.
_MARK = re.compile(r"\[\w+\]$")


def is_asked(served: str, names: Sequence[str]) -> bool:
    """True when `served` is one of the names, or one of them with a provider's prefix or a snapshot's date.

    A prefix is a path before the last slash (`anthropic/claude-opus-4-6`). A mark in brackets at the end of a name is
    the agent's own and no part of it.
    """
    bare = served.rsplit("/", 1)[-1]
    for name in names:
        mine = _MARK.sub("", name.rsplit("/", 1)[-1])
        if served == name or bare == mine:
            return True
        if bare.startswith(mine) and _SNAPSHOT.fullmatch(bare[len(mine) :]):
            return True
    return False
