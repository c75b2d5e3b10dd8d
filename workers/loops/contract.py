"""What the stages of the loop `tasks` answer: a small JSON object, found leniently in whatever was said around it.

PLAN and DECOMPOSE end with `{"tasks": [text, ...]}`, INVESTIGATE with `{"findings": {id: text}}`, VERIFY with
`{"verdicts": {id: {"accept": bool, "reason": text}}}`. BUILD answers with a summary in words. Nothing in here raises
anything but `Unusable`, whatever the answer is.
"""

import json
from collections.abc import Mapping, Sequence
from typing import NamedTuple

from orchestrator.domain.tasks import MAX_TEXT_CHARS

# The contract stands at the end of an answer, and no useful one is longer.
_ANSWER_CHARS = 200_000
# Braces in prose and code are tried too; this many failures are no answer.
_CANDIDATES = 2000
_TEXT_CHARS = MAX_TEXT_CHARS
_YES = frozenset({"accept", "accepted", "true", "yes", "pass", "passed", "approve", "approved", "ok"})
_NO = frozenset({"reject", "rejected", "false", "no", "fail", "failed", "deny", "denied"})


class Unusable(ValueError):
    """An answer that breaks the contract; the text says what to do, to the model that wrote it."""


class Verdict(NamedTuple):
    """What VERIFY says about a task."""

    accept: bool
    reason: str


def clean(text: str, limit: int = _TEXT_CHARS) -> str:
    """A text of a model, bounded, as UTF-8 can hold it."""
    return text[:limit].encode("utf-8", "replace").decode("utf-8").replace("\0", "\ufffd").strip()


def tasks_in(answer: str, most: int) -> tuple[str, ...]:
    """The tasks of a PLAN or DECOMPOSE, one to `most`. Raises Unusable."""
    found = _find(answer, "tasks")
    if not isinstance(found, list):
        raise Unusable('"tasks" is not a list of texts')
    texts = tuple(text for text in (clean(_text_of(item)) for item in found) if text)
    if not texts:
        raise Unusable('"tasks" holds no text')
    if len(texts) > most:
        raise Unusable(f'"tasks" holds {len(texts)} tasks; at most {most} are accepted: join what belongs together')
    return texts


def findings_in(answer: str, ids: Sequence[str]) -> dict[str, str]:
    """What INVESTIGATE found, by task. An answer without the object is a finding about each of them."""
    try:
        found = _find(answer, "findings")
    except Unusable:
        found = None
    by_id = _by_id(found)
    return {one: clean(_text_of(by_id[one]) if one in by_id else answer[-_TEXT_CHARS:]) for one in ids}


def verdicts_in(answer: str, ids: Sequence[str]) -> dict[str, Verdict]:
    """The verdict on every one of `ids`. Raises Unusable when one is missing or says neither yes nor no."""
    by_id = _by_id(_find(answer, "verdicts"))
    missing = [one for one in ids if one not in by_id]
    if missing:
        raise Unusable(f'"verdicts" says nothing about {", ".join(missing)}')
    return {one: _verdict(one, by_id[one]) for one in ids}


def _verdict(task: str, value: object) -> Verdict:
    fields = value if isinstance(value, Mapping) else {"accept": value}
    said = next((fields[name] for name in ("accept", "accepted", "verdict") if name in fields), None)
    word = str(said).strip().lower() if isinstance(said, str | bool) else ""
    if word not in _YES | _NO:
        raise Unusable(f'"verdicts" does not say whether {task} is accepted: "accept" is true or false')
    reason = fields.get("reason")
    return Verdict(word in _YES, clean(reason) if isinstance(reason, str) else "")


def _by_id(value: object) -> dict[str, object]:
    """Entries by task id: an object, or a list whose items carry their id."""
    if isinstance(value, Mapping):
        return {str(key): item for key, item in value.items()}
    entries = [item for item in value if isinstance(item, Mapping)] if isinstance(value, list) else []
    named = ((next((item[key] for key in ("task", "id") if key in item), None), item) for item in entries)
    return {str(key): item for key, item in named if key is not None}


def _text_of(value: object) -> str:
    if isinstance(value, Mapping):
        value = next((value[key] for key in ("text", "finding", "task", "title") if key in value), "")
    return value if isinstance(value, str) else ""


def _find(answer: str, key: str) -> object:
    """The value of `key` in the last JSON object that has it. Raises Unusable."""
    text, decoder = answer[-_ANSWER_CHARS:], json.JSONDecoder()
    found: list[object] = []
    problem, at = "", text.find("{")
    for _ in range(_CANDIDATES):
        if at < 0:
            break
        try:
            value, end = decoder.raw_decode(text, at)
        except (ValueError, RecursionError) as error:
            problem, end = f" ({type(error).__name__}: {clean(str(error), 200)})", at + 1
        else:
            found += [value[key]] if key in value else []
        at = text.find("{", end)
    if not found:
        raise Unusable(f'there is no JSON object with the key "{key}"{problem}')
    return found[-1]
