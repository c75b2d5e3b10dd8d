"""Compactions of a session: those that the agent tells, those that only its requests show, and loops of them.

An agent that compacts without a word shows it by a prompt that is much smaller than the one before. So does a request
for a title or of a sub-agent. Titles offer no tools. A sub-agent offers other tools than the main conversation, or,
where it offers the same ones, its requests are followed by one that begins as the conversation before it began; after
a compaction that never comes back.
"""

from typing import NamedTuple

from orchestrator.domain.events import RequestEnded
from orchestrator.domain.usage import TokenUsage

# A prompt below this share of the one before was compacted, if that one was worth it. What no compaction takes away,
# instructions and tools, fills a third of a small window alone.
_MUCH_SMALLER = 0.6
_WORTH_TOKENS = 4_000
# Further beginnings are forgotten, the oldest first.
_MOST_OPENINGS = 256
# A compaction so few answers after the one before has made no room: the summary, what it was for, and the next one.
_FEW_ANSWERS = 3
# So many in a row are a loop.
_LOOP = 4


class Compactions:
    """All compactions of one session. The agent's word and the requests' sizes are counted apart, as tokens are."""

    def __init__(self) -> None:
        self._sizes = _PromptSizes()
        self._told, self._seen = _Row(), _Row()
        self._answers = 0

    @property
    def count(self) -> int:
        """How many there were, by whichever account knows of more."""
        return max(self._told.count, self._seen.count)

    @property
    def loop(self) -> str | None:
        """The endless loop of compactions that this is, in words; None when it is none."""
        if max(self._told.streak, self._seen.streak) < _LOOP:
            return None
        return f"{_LOOP} compactions in a row, each at most {_FEW_ANSWERS} answers after the one before"

    def told(self, turns: int) -> None:
        """The agent says that it compacted, after `turns` ended turns."""
        self._told.add(max(turns, self._answers))

    def request(self, ended: RequestEnded, turns: int) -> bool:
        """A request ended. Whether it shows that a compaction lies before it."""
        self._answers += ended.error is None
        change = self._sizes.change(ended)
        if change > 0:
            self._seen.add(max(turns, self._answers))
        elif change < 0:
            self._seen.take_back(-change)
        return change > 0


class _Row:
    """Compactions by one account. `streak` is how many followed each other with hardly an answer between them."""

    def __init__(self) -> None:
        self.count = self.streak = 0
        self._answers: int | None = None

    def add(self, answers: int) -> None:
        few = self._answers is not None and answers - self._answers <= _FEW_ANSWERS
        self.streak = self.streak + 1 if few else 1
        self.count, self._answers = self.count + 1, answers

    def take_back(self, number: int) -> None:
        self.count, self.streak, self._answers = max(0, self.count - number), 0, None


class _PromptSizes:
    """Follows the main conversation by its tools, and its parts by how they begin."""

    def __init__(self) -> None:
        self._tools = self._opening = ""
        self._last: dict[str, _Prompt] = {}  # the last one that began so
        self._replaced: list[str] = []  # beginnings in whose place smaller prompts came, each a compaction

    def change(self, ended: RequestEnded) -> int:
        """By how many compactions the count changes: one more, or fewer because a conversation came back."""
        tokens = _prompt_tokens(ended.usage) if ended.error is None and ended.usage else None
        if tokens is None or not ended.tools or not ended.opening:
            return 0
        before = self._last.get(self._opening, _NOTHING)
        if ended.tools != self._tools:
            if tokens < before.tokens:
                return 0  # a sub-agent's
            self._tools, self._last, self._replaced, before = ended.tools, {}, [], _NOTHING
        return self._part(ended.opening, _Prompt(tokens, ended.request_bytes), before)

    def _part(self, opening: str, prompt: "_Prompt", before: "_Prompt") -> int:
        back = 0
        if opening in self._replaced:
            place = self._replaced.index(opening)
            back, self._replaced = len(self._replaced) - place, self._replaced[:place]
        smaller = prompt.much_smaller_than(self._last.get(opening, before))
        if smaller and opening not in self._last:
            self._replaced.append(self._opening)
        self._last[opening] = prompt
        self._opening = opening
        while len(self._last) > _MOST_OPENINGS:
            gone = next(iter(self._last))
            del self._last[gone]
            self._replaced = [one for one in self._replaced if one != gone]
        return smaller - back


class _Prompt(NamedTuple):
    """How large a prompt was, by the answer's count of tokens and by the request's own bytes."""

    tokens: int
    size_bytes: int

    def much_smaller_than(self, before: "_Prompt") -> bool:
        """Whether something was left out. Servers that count wrongly now and then make no request shorter."""
        fewer = before.tokens >= _WORTH_TOKENS and self.tokens < _MUCH_SMALLER * before.tokens
        return fewer and self.size_bytes < before.size_bytes


_NOTHING = _Prompt(0, 0)


def _prompt_tokens(usage: TokenUsage) -> int | None:
    if usage.input is None:
        return None
    return usage.input + (usage.cache_read or 0) + (usage.cache_write or 0)
