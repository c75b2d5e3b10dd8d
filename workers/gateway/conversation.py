"""Reads a model request of any of the four protocols into the few facts that a scripted answer depends on."""

import hashlib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from workers.gateway.jsonvalues import JsonObject, child, items, text

# Agents name their session in a header; then repeats of a job with the same prompt stay apart.
_SESSION_HEADERS = ("x-session-id", "x-claude-code-session-id", "session_id", "session-id", "x-session-affinity")
_SCHEMAS = ("parameters", "input_schema", "parametersJsonSchema")
_MESSAGES = {"responses": "input", "gemini": "contents"}


@dataclass(frozen=True, kw_only=True)
class Conversation:
    """A request as the script sees it.

    `tools` maps names to parameter schemas. `results` counts the tool results in the request, `results_since_prompt`
    those behind the last user prompt, `answers` the model's earlier messages. `size_chars` is the request's length.
    `as_array`: a stream is wanted as one JSON array, which is Gemini's way unless it is asked for events.
    """

    model: str
    stream: bool
    wants_usage: bool
    tools: Mapping[str, JsonObject]
    system: str
    first: str
    last: str
    results: int
    results_since_prompt: int
    answers: int
    size_chars: int
    as_array: bool = False

    def key(self, headers: Mapping[str, str], prefix: str) -> str:
        """Names the conversation: URL prefix, model, and the agent's session or else a hash of how it begins."""
        session = next((headers[name] for name in _SESSION_HEADERS if name in headers), None)
        opening = session or hashlib.sha256(f"{self.system}\0{self.first}".encode("utf-8", "replace")).hexdigest()
        return f"{prefix}\0{self.model}\0{opening}"


def read_request(protocol: str, body: JsonObject, size: int) -> Conversation:
    """The facts of a request body. Missing or odd parts read as empty."""
    messages = items(body, _MESSAGES.get(protocol, "messages"))
    whole = text(body, "input") if protocol == "responses" else None
    parts = [*(_part(item) for item in messages if isinstance(item, dict))]
    if whole:
        parts.append(("user", whole, 0))
    prompts = [at for at, (role, words, _) in enumerate(parts) if role == "user" and words]
    system = [words for role, words, _ in parts if role in ("system", "developer")]
    last = next((at for at in reversed(prompts) if not _is_reminder(parts[at][1])), None)
    return Conversation(
        model=text(body, "model") or "",
        stream=body.get("stream") is True,
        wants_usage=child(body, "stream_options").get("include_usage") is True,
        tools=dict(_tools(items(body, "tools"))),
        system="\n".join(
            [_words(body.get("system")), text(body, "instructions") or "", *_instruction(body), *system]
        ),
        first=parts[prompts[0]][1] if prompts else "",
        last=parts[last][1] if last is not None else "",
        results=sum(count for _, _, count in parts),
        results_since_prompt=sum(count for _, _, count in parts[(last or 0) :]),
        answers=sum(role in ("assistant", "model") for role, _, _ in parts),
        size_chars=size,
        as_array=protocol == "gemini" and body.get("alt") == "json",
    )


def fingerprints(protocol: str, body: JsonObject) -> tuple[str, str]:
    """Of the tools that a request offers and of how its conversation begins; empty where there are none.

    Cheaper than `read_request`: an agent's request is read for these on its way to the model.
    """
    names = sorted(name for name, _ in _tools(items(body, "tools")))
    parts = (_part(item) for item in items(body, _MESSAGES.get(protocol, "messages")) if isinstance(item, dict))
    opening = next((words for role, words, _ in parts if role == "user" and words), "")
    return _fingerprint("\0".join(names)), _fingerprint(opening)


def _fingerprint(words: str) -> str:
    return hashlib.sha256(words.encode("utf-8", "replace")).hexdigest()[:16] if words else ""


def _part(message: JsonObject) -> tuple[str, str, int]:
    """Role, text and number of tool results of one message or input item."""
    kind = text(message, "type") or ""
    if kind.endswith("_output"):
        return "tool", "", 1
    role = text(message, "role") or ""
    blocks = [block for block in items(message, "content") or items(message, "parts") if isinstance(block, dict)]
    results = sum(block.get("type") == "tool_result" or "functionResponse" in block for block in blocks)
    words = _words(message.get("content") or message.get("parts"))
    return role, words, 1 if role == "tool" else results


def _is_reminder(words: str) -> bool:
    """Whether a message is the agent's alone; some put a reminder of theirs in front of the user's words."""
    return words.startswith("<system-reminder>") and words.rstrip().endswith("</system-reminder>")


def _instruction(body: JsonObject) -> list[str]:
    """Gemini's system instruction, which is a message of its own."""
    return [_words(child(body, key).get("parts")) for key in ("systemInstruction", "system_instruction")]


def _words(content: object) -> str:
    if isinstance(content, str):
        return content
    if not isinstance(content, list):
        return ""
    blocks = (text(block, "text") for block in content if isinstance(block, dict))
    return "\n".join(block for block in blocks if block)


def _tools(offered: list[object]) -> Iterator[tuple[str, JsonObject]]:
    """Name and parameter schema of each offered tool; tools without a name are the provider's own."""
    for tool in offered:
        if not isinstance(tool, dict):
            continue
        for function in items(tool, "functionDeclarations") or [child(tool, "function") or tool]:
            name = text(function, "name") if isinstance(function, dict) else None
            if name and isinstance(function, dict):
                yield name, next((child(function, key) for key in _SCHEMAS if key in function), {})
