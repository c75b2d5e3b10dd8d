"""Hints on their way into a real broker."""

import base64
import json
from pathlib import Path

import pytest
from kombu.exceptions import KombuError
from redis.exceptions import RedisError

from orchestrator.broker import KEY_PREFIX, celery_app, publish
from orchestrator.embedded import EmbeddedBroker
from orchestrator.settings import load_settings
from orchestrator.storage.dispatch import Hint, HintLabel

QUEUE = "gpu.box"


def hints(count: int) -> list[Hint]:
    return [Hint(number, "ab" * 16, QUEUE) for number in range(1, count + 1)]


def reads(broker: EmbeddedBroker) -> int:
    with broker.client() as client:
        return int(client.info("stats")["total_reads_processed"])


def test_a_pass_of_hints_is_one_round_trip_in_order_and_readable(broker: EmbeddedBroker) -> None:
    app = celery_app(load_settings({"BAKEOFF_BROKER_URL": broker.url}))
    labels = {number: HintLabel("night", f"repo/opus-{number}", 1, 2) for number in range(1, 101)}
    publish(app, hints(1), labels)  # connects
    before = reads(broker)
    assert publish(app, hints(100), labels) == 100
    assert reads(broker) - before < 50, "far fewer than one read per hint"
    with broker.client() as client:
        raw = client.lrange(f"{KEY_PREFIX}{QUEUE}", 0, -1)
    messages = [json.loads(one) for one in reversed(raw)][1:]
    bodies = [json.loads(base64.b64decode(message["body"])) for message in messages]
    assert [body[0] for body in bodies] == [[number, "ab" * 16] for number in range(1, 101)]
    assert [message["headers"]["argsrepr"] for message in messages] == [str(labels[n]) for n in range(1, 101)]
    assert messages[0]["headers"]["id"] == f"1.2.{'ab' * 4}"


def test_a_broker_that_is_away_is_an_error_that_the_scheduler_waits_out(
    broker: EmbeddedBroker, tmp_path: Path
) -> None:
    app = celery_app(load_settings({"BAKEOFF_BROKER_URL": broker.url}))
    publish(app, hints(1), {})
    broker.stop()
    with pytest.raises((KombuError, RedisError, OSError)):
        publish(app, hints(3), {})
