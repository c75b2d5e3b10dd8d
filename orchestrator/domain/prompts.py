"""Prompt templates that a user may put in the place of the built-in ones, stage by stage, and what they can hold."""

import re
from collections.abc import Iterator, Mapping
from string import Template
from typing import NamedTuple

_ABOUT_TASKS = ("task", "plan", "chosen", "ids")
# By loop and stage: the placeholders of its prompt. `task` is the target's; the rest is told in the reference.
PLACEHOLDERS: Mapping[str, Mapping[str, tuple[str, ...]]] = {
    "single": {"run": ("task",)},
    "staged": {"plan": ("task",), "build": ("task", "plan", "progress")},
    "tasks": {
        "plan": ("task",),
        "investigate": _ABOUT_TASKS,
        "build": _ABOUT_TASKS,
        "verify": _ABOUT_TASKS,
        "decompose": _ABOUT_TASKS,
    },
}
# Without this key in their answer these stages say nothing that can be used.
ANSWER_KEYS: Mapping[tuple[str, str], str] = {
    ("tasks", "plan"): "tasks",
    ("tasks", "decompose"): "tasks",
    ("tasks", "verify"): "verdicts",
}


class TemplateFault(NamedTuple):
    """What is wrong with a template, in its own line (None: as a whole)."""

    line: int | None
    message: str
    found: str | None
    accepted: str


def template_faults(loop: str, stage: str, text: str) -> Iterator[TemplateFault]:
    """Everything that is wrong with a template for a stage of a loop. Both must exist."""
    known = PLACEHOLDERS[loop][stage]
    accepted = f"{', '.join(f'${name}' for name in known)}; a dollar sign of the text itself is written $$"
    for match in Template.pattern.finditer(text):
        name = match["named"] or match["braced"]
        if match["escaped"] is None and name not in known:
            found = match.group() if name else text[match.start() :].split("\n", 1)[0][:20]
            line = text.count("\n", 0, match.start()) + 1
            yield TemplateFault(line, f"has a placeholder that the stage {stage!r} does not fill", found, accepted)
    key = ANSWER_KEYS.get((loop, stage))
    if key and not re.search(rf'"{key}"', text):
        wanted = f'text that asks for a JSON object with the key "{key}" at the end of the answer'
        yield TemplateFault(None, f"does not ask for the answer that the stage {stage!r} must give", None, wanted)
