"""The reference agent: a small shell-tool loop over streaming Chat Completions, standard library only.

Run as `python -I -S reference_agent.py CONFIG.json` with the prompt on standard input. It prints one JSON object per
line: session, turn (with the server's usage), tool, message, error, end. Exit code 0 only after a finished answer.
CONFIG.json: base_url, api_key, model, max_output, sessions (folder), session (id to resume, or null), and the bounds
max_turns, max_wait_seconds (all waiting for limits together), tool_timeout_seconds, tool_output_bytes, idle_seconds.
"""

import contextlib
import http.client
import json
import os
import signal
import subprocess
import sys
import tempfile
import time
import urllib.parse
import uuid
from pathlib import Path
from typing import Any

Json = dict[str, Any]
SYSTEM = """You are a coding agent in a git working tree. Work on the task with the shell tool until it is done.
Do not commit. When you are done, answer with a short summary and no tool call."""
SHELL: Json = {
    "name": "shell",
    "description": "Run a command with /bin/sh in the working tree and return its exit code and output.",
    "parameters": {"type": "object", "properties": {"command": {"type": "string"}}, "required": ["command"]},
}
BUSY = (429, 503, 529)


class Failure(Exception):
    """The model cannot be used: ends the run with a structured error event."""

    def __init__(self, text: str, code: str, status: int | None = None, **limits: float | None) -> None:
        super().__init__(text)
        self.event: Json = {"type": "error", "status": status, "code": code, "text": text, **limits}


class BrokenStream(Exception):
    """The connection or the answer ended before its end: worth another try."""


def say(event: Json) -> None:
    sys.stdout.write(json.dumps(event) + "\n")
    sys.stdout.flush()


def as_number(value: Any) -> float | None:
    try:
        number = float(value)
    except (TypeError, ValueError):
        return None
    return number if 0 <= number < float("inf") else None


class Model:
    """One Chat Completions endpoint, with bounded patience."""

    def __init__(self, config: Json) -> None:
        self.config = config
        self.patience = config["max_wait_seconds"]
        self.url = urllib.parse.urlsplit(config["base_url"])

    def ask(self, messages: list[Json]) -> tuple[Json, Json]:
        """The assistant's message, and the turn event. Raises Failure."""
        breaks = waits = 0
        while True:
            try:
                return self._ask_once(messages)
            except Failure as failure:
                if failure.event["status"] not in BUSY or failure.event["code"] == "insufficient_quota":
                    raise
                self._wait(failure, backoff=2.0**waits)
                waits += 1
            except (BrokenStream, OSError, http.client.HTTPException) as error:
                breaks += 1
                if breaks == 3:
                    raise Failure(f"{type(error).__name__}: {error}", code="connection") from error
                time.sleep(0.2 * breaks)

    def _wait(self, failure: Failure, backoff: float) -> None:
        seconds: float = backoff if (asked := failure.event.get("retry_after_seconds")) is None else asked
        if seconds > self.patience:
            raise failure
        self.patience -= seconds
        say(failure.event | {"retrying": True})
        time.sleep(seconds)

    def _ask_once(self, messages: list[Json]) -> tuple[Json, Json]:
        body = {
            "model": self.config["model"],
            "messages": messages,
            "tools": [{"type": "function", "function": SHELL}],
            "max_tokens": self.config["max_output"],
            "stream": True,
            "stream_options": {"include_usage": True},
        }
        headers = {"content-type": "application/json", "authorization": f"Bearer {self.config['api_key']}"}
        path = f"{self.url.path.rstrip('/')}/v1/chat/completions"
        kind = http.client.HTTPSConnection if self.url.scheme == "https" else http.client.HTTPConnection
        where = (self.url.hostname or "", self.url.port)
        with contextlib.closing(kind(*where, timeout=self.config["idle_seconds"])) as connection:
            connection.request("POST", path, json.dumps(body).encode(), headers)
            response = connection.getresponse()
            if response.status != 200:
                raise failure_of(response)
            return read_stream(response)


def failure_of(response: http.client.HTTPResponse) -> Failure:
    body = response.read(65_536).decode("utf-8", "replace")
    try:
        error = dict(json.loads(body)["error"])
    except (ValueError, KeyError, TypeError):
        error = {"message": body[:500]}
    retry_after = as_number(response.getheader("retry-after"))
    return Failure(
        *told(error),
        status=response.status,
        retry_after_seconds=as_number(error.get("resets_in_seconds")) if retry_after is None else retry_after,
        resets_at=as_number(error.get("resets_at")),
    )


def told(error: Json) -> tuple[str, str]:
    return str(error.get("message") or ""), str(error.get("code") or error.get("type") or "")


def read_stream(response: http.client.HTTPResponse) -> tuple[Json, Json]:
    """Put the server-sent chunks of one answer together."""
    text: list[str] = []
    calls: dict[int, Json] = {}
    turn: Json = {"type": "turn", "usage": None, "model": None, "finish_reason": None}
    for line in response:
        if not line.startswith(b"data:"):
            continue
        data = line[5:].strip()
        if data == b"[DONE]":
            break
        try:
            take(json.loads(data), turn, text, calls)
        except (ValueError, AttributeError, TypeError) as error:
            raise BrokenStream("a chunk of another shape") from error
    if turn["finish_reason"] is None:
        raise BrokenStream("the answer stopped before its end")
    message: Json = {"role": "assistant", "content": "".join(text) or None}
    if calls:
        message["tool_calls"] = [calls[index] for index in sorted(calls)]
    return message, turn


def take(chunk: Json, turn: Json, text: list[str], calls: dict[int, Json]) -> None:
    if error := chunk.get("error"):
        raise Failure(*told(error))
    for key in ("usage", "model"):
        turn[key] = chunk.get(key) or turn[key]
    for choice in chunk.get("choices") or ():
        turn["finish_reason"] = choice.get("finish_reason") or turn["finish_reason"]
        delta = choice.get("delta") or {}
        text.append(delta.get("content") or "")
        for part in delta.get("tool_calls") or ():
            add_call(calls, part)


def add_call(calls: dict[int, Json], part: Json) -> None:
    empty = {"id": f"call_{uuid.uuid4().hex[:12]}", "type": "function", "function": {"name": "", "arguments": ""}}
    call = calls.setdefault(part.get("index", len(calls)), empty)
    call["id"] = part.get("id") or call["id"]
    function = part.get("function") or {}
    call["function"]["name"] += function.get("name") or ""
    call["function"]["arguments"] += function.get("arguments") or ""


def run_tool(call: Json, config: Json) -> str:
    """Do one tool call; every fault of the model's becomes an answer to the model."""
    name, raw = call["function"]["name"], call["function"]["arguments"]
    try:
        command = json.loads(raw)["command"]
    except (ValueError, KeyError, TypeError):
        command = None
    if name != "shell" or not isinstance(command, str) or "\0" in command:
        say({"type": "tool", "name": name, "arguments": raw, "exit_code": None})
        return 'error: the only tool is shell, with arguments {"command": "..."}'
    code, output = shell(command, config)
    say({"type": "tool", "name": name, "arguments": {"command": command}, "exit_code": code})
    return f"exit code: {'none, killed after the time limit' if code is None else code}\n{output}"


def shell(command: str, config: Json) -> tuple[int | None, str]:
    """Exit code (None: out of time) and bounded output. A file, not a pipe: background children may keep it open."""
    with tempfile.TemporaryFile() as output:
        process = subprocess.Popen(  # noqa: S602 - running the model's commands is what this tool is for
            command, shell=True, stdin=subprocess.DEVNULL, stdout=output, stderr=output, start_new_session=True
        )
        try:
            code: int | None = process.wait(config["tool_timeout_seconds"])
        except subprocess.TimeoutExpired:
            os.killpg(process.pid, signal.SIGKILL)
            process.wait()
            code = None
        half, size = config["tool_output_bytes"] // 2, output.seek(0, os.SEEK_END)
        output.seek(0)
        text = output.read(2 * half if size <= 2 * half else half)
        if size > 2 * half:
            output.seek(-half, os.SEEK_END)
            text += f"\n[... {size - 2 * half} bytes left out ...]\n".encode() + output.read(half)
        return code, text.decode("utf-8", "replace")


def work(config: Json, prompt: str) -> str:
    """Turns until an answer without a tool call. Returns the end reason."""
    session = config["session"] or uuid.uuid4().hex
    file = Path(config["sessions"]) / f"{session}.json"
    old = json.loads(file.read_text("utf-8")) if config["session"] else [{"role": "system", "content": SYSTEM}]
    messages = [*old, {"role": "user", "content": prompt}]
    # Before it is named: whoever knows the session can go on with it, also when the first request is refused.
    save(file, messages)
    say({"type": "session", "session_id": session})
    model = Model(config)
    for _ in range(config["max_turns"]):
        message, turn = model.ask(messages)
        messages.append(message)
        say(turn)
        if message["content"]:
            say({"type": "message", "text": message["content"]})
        for call in message.get("tool_calls", ()):
            messages.append({"role": "tool", "tool_call_id": call["id"], "content": run_tool(call, config)})
        save(file, messages)
        if "tool_calls" not in message:
            return "finished" if turn["finish_reason"] == "stop" else str(turn["finish_reason"])
    return "turn_limit"


def save(file: Path, messages: list[Json]) -> None:
    """Keep the session whole, also when this process dies while it writes."""
    unfinished = file.with_suffix(".new")
    unfinished.write_text(json.dumps(messages), "utf-8")
    unfinished.replace(file)


def main() -> int:
    config = json.loads(Path(sys.argv[1]).read_text("utf-8"))
    try:
        reason = work(config, sys.stdin.buffer.read().decode("utf-8", "replace"))
    except Failure as failure:
        say(failure.event)
        reason = "error"
    say({"type": "end", "reason": reason})
    return 0 if reason == "finished" else 1


if __name__ == "__main__":
    sys.exit(main())
