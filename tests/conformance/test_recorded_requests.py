"""Requests of real agents as a server saw them: no plain run and no sub-agent shows a compaction."""

import json
from pathlib import Path

import pytest

from orchestrator.domain.compactions import Compactions
from orchestrator.domain.events import RequestEnded
from orchestrator.domain.usage import TokenUsage

_RECORDINGS = Path(__file__).parents[2].parent / "shared/fixtures/agents"
pytestmark = pytest.mark.skipif(not _RECORDINGS.is_dir(), reason="the recordings beside the checkout are not here")
_SERVERS = sorted(_RECORDINGS.glob("*/ok/server.jsonl"))


def _requests(file: Path) -> list[RequestEnded]:
    """Each request with the tokens of the turn that answered it; all begin alike, which is the harder case."""
    found, asked = [], {}
    for line in file.read_text("utf-8").splitlines():
        record = json.loads(line)
        if record["m"] == "POST":
            asked = record
        elif record["m"] == "TURN":
            usage = record["usage"]
            found.append(
                RequestEnded(
                    request_id="r", model_asked=asked["model"], model_served=None, status=200,
                    usage=TokenUsage(input=usage["pt"] - usage["cached"], cache_read=usage["cached"], output=1),
                    first_byte_seconds=None, duration_seconds=0.1, request_bytes=asked["bytes"], response_bytes=1,
                    tools=" ".join(asked["tools"]), opening="task",
                )
            )  # fmt: skip
    return found


@pytest.mark.parametrize("file", _SERVERS, ids=lambda file: file.parent.parent.name)
def test_a_plain_run_shows_no_compaction(file: Path) -> None:
    compactions = Compactions()
    shown = [compactions.request(one, turns=0) for one in _requests(file)]

    assert shown
    assert not any(shown)


def test_there_are_such_recordings() -> None:
    assert len(_SERVERS) >= 8
