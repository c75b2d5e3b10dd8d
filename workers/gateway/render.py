"""Writes a scripted reply as the wire protocols do: one JSON body, or the events of a stream."""

import json
import re
import secrets
from collections.abc import Callable, Iterator, Mapping
from typing import NamedTuple

from workers.gateway.conversation import Conversation
from workers.gateway.play import Counts, Reply

_PIECE_CHARS = 40
Json = dict[str, object]


class Renderer(NamedTuple):
    """The two forms of an answer in one protocol. `created` is seconds since 1970."""

    whole: Callable[[Reply, int], Json]
    events: Callable[[Reply, Conversation, int], Iterator[bytes]]


def _id(prefix: str) -> str:
    return prefix + secrets.token_hex(10)


def _words(text: str) -> list[str]:
    return re.findall(r"\s*\S+\s*", text) or [text]


def _pieces(text: str) -> list[str]:
    return [text[at : at + _PIECE_CHARS] for at in range(0, len(text), _PIECE_CHARS)]


def _event(data: Mapping[str, object] | str, name: str | None = None) -> bytes:
    body = data if isinstance(data, str) else json.dumps(data, separators=(",", ":"))
    return (f"event: {name}\n" if name else "").encode() + f"data: {body}\n\n".encode()


# -- Chat Completions --


def _chat_usage(counts: Counts) -> Json:
    return {
        "prompt_tokens": counts.prompt,
        "completion_tokens": counts.completion,
        "total_tokens": counts.prompt + counts.completion,
        "prompt_tokens_details": {"cached_tokens": counts.cached},
        "completion_tokens_details": {"reasoning_tokens": counts.reasoning},
    }


def _chat_whole(reply: Reply, created: int) -> Json:
    message: Json = {"role": "assistant", "content": reply.text}
    if reply.call:
        function = {"name": reply.call.name, "arguments": reply.call.json}
        message["tool_calls"] = [{"id": _id("call_"), "type": "function", "function": function}]
    choice = {"index": 0, "message": message, "finish_reason": "tool_calls" if reply.call else "stop"}
    head: Json = {"id": _id("chatcmpl-"), "object": "chat.completion", "created": created, "model": reply.model}
    return {**head, "choices": [choice], "usage": _chat_usage(reply.counts)}


def _chat_events(reply: Reply, request: Conversation, created: int) -> Iterator[bytes]:
    head: Json = {"id": _id("chatcmpl-"), "object": "chat.completion.chunk", "created": created, "model": reply.model}

    def chunk(delta: Json, finish: str | None = None) -> bytes:
        return _event({**head, "choices": [{"index": 0, "delta": delta, "finish_reason": finish}]})

    yield chunk({"role": "assistant", "content": ""})
    for word in _words(reply.text):
        yield chunk({"content": word})
    if reply.call:
        start = {"name": reply.call.name, "arguments": ""}
        yield chunk({"tool_calls": [{"index": 0, "id": _id("call_"), "type": "function", "function": start}]})
        for piece in _pieces(reply.call.json):
            yield chunk({"tool_calls": [{"index": 0, "function": {"arguments": piece}}]})
    yield chunk({}, "tool_calls" if reply.call else "stop")
    if request.wants_usage:
        yield _event({**head, "choices": [], "usage": _chat_usage(reply.counts)})
    yield _event("[DONE]")


# -- Anthropic Messages --


def _messages_usage(counts: Counts) -> Json:
    return {
        "input_tokens": counts.prompt - counts.cached,
        "cache_creation_input_tokens": 0,
        "cache_read_input_tokens": counts.cached,
        "output_tokens": counts.completion,
    }


def _blocks(reply: Reply) -> list[Json]:
    blocks: list[Json] = [{"type": "text", "text": reply.text}] if reply.text else []
    if reply.call:
        call = {"id": _id("toolu_"), "name": reply.call.name, "input": dict(reply.call.arguments)}
        blocks.append({"type": "tool_use", **call})
    return blocks


def _messages_whole(reply: Reply, created: int) -> Json:
    return {
        "id": _id("msg_"),
        "type": "message",
        "role": "assistant",
        "model": reply.model,
        "content": _blocks(reply),
        "stop_reason": "tool_use" if reply.call else "end_turn",
        "stop_sequence": None,
        "usage": _messages_usage(reply.counts),
    }


def _messages_events(reply: Reply, request: Conversation, created: int) -> Iterator[bytes]:
    whole = _messages_whole(reply, created)
    usage = {**_messages_usage(reply.counts), "output_tokens": 1}
    opening = {**whole, "content": [], "stop_reason": None, "usage": usage}
    yield _event({"type": "message_start", "message": opening}, "message_start")
    for index, block in enumerate(_blocks(reply)):
        yield from _block_events(index, block, reply)
    delta = {"stop_reason": whole["stop_reason"], "stop_sequence": None}
    yield _event({"type": "message_delta", "delta": delta, "usage": whole["usage"]}, "message_delta")
    yield _event({"type": "message_stop"}, "message_stop")


def _block_events(index: int, block: Json, reply: Reply) -> Iterator[bytes]:
    empty: Json = {"text": ""} if block["type"] == "text" else {"input": {}}
    start = {"type": "content_block_start", "index": index, "content_block": {**block, **empty}}
    yield _event(start, "content_block_start")
    deltas: list[Json]
    if block["type"] == "text":
        deltas = [{"type": "text_delta", "text": word} for word in _words(reply.text)]
    else:
        arguments = reply.call.json if reply.call else "{}"
        deltas = [{"type": "input_json_delta", "partial_json": piece} for piece in _pieces(arguments)]
    for delta in deltas:
        yield _event({"type": "content_block_delta", "index": index, "delta": delta}, "content_block_delta")
    yield _event({"type": "content_block_stop", "index": index}, "content_block_stop")


# -- Responses --


def _responses_whole(reply: Reply, created: int) -> Json:
    said = {"type": "output_text", "text": reply.text, "annotations": []}
    output: list[Json] = [
        {"type": "message", "id": _id("msg_"), "role": "assistant", "status": "completed", "content": [said]}
    ]
    if reply.call:
        call = {"call_id": _id("call_"), "name": reply.call.name, "arguments": reply.call.json}
        output.append({"type": "function_call", "id": _id("fc_"), "status": "completed", **call})
    counts = reply.counts
    usage = {
        "input_tokens": counts.prompt,
        "input_tokens_details": {"cached_tokens": counts.cached},
        "output_tokens": counts.completion,
        "output_tokens_details": {"reasoning_tokens": counts.reasoning},
        "total_tokens": counts.prompt + counts.completion,
    }
    head: Json = {"id": _id("resp_"), "object": "response", "created_at": created, "model": reply.model}
    return {**head, "status": "completed", "output": output, "usage": usage}


def _responses_events(reply: Reply, request: Conversation, created: int) -> Iterator[bytes]:
    whole = _responses_whole(reply, created)
    output = whole["output"]
    frames: list[Json] = [{"type": "response.created", "response": _unfinished(whole)}]
    for index, item in enumerate(output if isinstance(output, list) else []):
        frames.extend(_item_events(index, item, reply))
    frames.append({"type": "response.completed", "response": whole})
    for number, frame in enumerate(frames):
        yield _event({**frame, "sequence_number": number}, str(frame["type"]))


def _unfinished(whole: Json) -> Json:
    return {**whole, "status": "in_progress", "output": [], "usage": None}


def _item_events(index: int, item: Json, reply: Reply) -> Iterator[Json]:
    place: Json = {"output_index": index, "item_id": item["id"]}
    empty: Json = {"content": []} if item["type"] == "message" else {"arguments": ""}
    added = {**item, **empty, "status": "in_progress"}
    yield {"type": "response.output_item.added", "output_index": index, "item": added}
    if item["type"] == "message":
        part = {"type": "output_text", "text": "", "annotations": []}
        place = {**place, "content_index": 0}
        yield {"type": "response.content_part.added", **place, "part": part}
        for word in _words(reply.text):
            yield {"type": "response.output_text.delta", **place, "delta": word}
        yield {"type": "response.output_text.done", **place, "text": reply.text}
        yield {"type": "response.content_part.done", **place, "part": {**part, "text": reply.text}}
    else:
        yield {"type": "response.function_call_arguments.delta", **place, "delta": item["arguments"]}
        yield {"type": "response.function_call_arguments.done", **place, "arguments": item["arguments"]}
    yield {"type": "response.output_item.done", "output_index": index, "item": item}


# -- Gemini --


def _gemini_usage(counts: Counts) -> Json:
    return {
        "promptTokenCount": counts.prompt,
        "candidatesTokenCount": counts.completion - counts.reasoning,
        "thoughtsTokenCount": counts.reasoning,
        "cachedContentTokenCount": counts.cached,
        "totalTokenCount": counts.prompt + counts.completion,
    }


def _gemini_whole(reply: Reply, created: int) -> Json:
    said: list[Json] = [{"text": reply.text}] if reply.text else []
    return _gemini_chunk(reply, [*said, *_gemini_call(reply)])


def _gemini_chunk(reply: Reply, parts: list[Json], *, last: bool = True) -> Json:
    candidate: Json = {"index": 0, "content": {"role": "model", "parts": parts}}
    end: Json = {"usageMetadata": _gemini_usage(reply.counts)} if last else {}
    finish: Json = {"finishReason": "STOP"} if last else {}
    return {"candidates": [{**candidate, **finish}], "modelVersion": reply.model, **end}


def _gemini_call(reply: Reply) -> list[Json]:
    call = reply.call
    return [{"functionCall": {"name": call.name, "args": dict(call.arguments)}}] if call else []


def _gemini_events(reply: Reply, request: Conversation, created: int) -> Iterator[bytes]:
    chunks = [_gemini_chunk(reply, [{"text": word}], last=False) for word in _words(reply.text)]
    chunks.append(_gemini_chunk(reply, _gemini_call(reply) or [{"text": ""}]))
    if not request.as_array:
        yield from (_event(chunk) for chunk in chunks)
        return
    for number, chunk in enumerate(chunks):
        yield (b",\r\n" if number else b"[") + json.dumps(chunk).encode()
    yield b"]"


RENDERERS = {
    "chat": Renderer(_chat_whole, _chat_events),
    "messages": Renderer(_messages_whole, _messages_events),
    "responses": Renderer(_responses_whole, _responses_events),
    "gemini": Renderer(_gemini_whole, _gemini_events),
}
