"""A stage's use on its way from the gateway to the ledger: whole, once, and also when the worker died in between."""

from pathlib import Path

import pytest
import sqlalchemy as sa

from orchestrator.domain.events import ErrorKind, ErrorSeen, QuotaSeen, RequestEnded
from orchestrator.domain.jobspec import ModelSpec
from orchestrator.domain.usage import TokenUsage
from orchestrator.storage.engine import Database
from orchestrator.storage.tables import ledger, windows
from tests.support.world import POOL, A, add, claim, order
from workers.spool import Recorder, Shipper
from workers.use import AccountUse


def model(resource: str) -> ModelSpec:
    return ModelSpec(
        alias="opus",
        name="big",
        resource=resource,
        base_url="http://cloud.test",
        protocol="messages",
        key=None,
        context_window=1000,
        max_output=100,
    )


def request(
    usage: TokenUsage | None, *, error: ErrorSeen | None = None, headers: dict[str, str] | None = None
) -> RequestEnded:
    return RequestEnded(
        request_id="r",
        model_asked="big",
        model_served="big",
        status=429 if error else 200,
        usage=usage,
        first_byte_seconds=0.1,
        duration_seconds=1.5,
        request_bytes=1,
        response_bytes=1,
        error=error,
        limit_headers=headers or {},
    )


@pytest.fixture
def attempt_id(database: Database) -> str:
    add(database, [A], capacities={A: 1})
    ((job, token),) = order(database).items()
    return claim(database, job, token).attempt_id


def sums(database: Database) -> dict[str, object]:
    # The clock may pass into the next minute between two requests: the rows together are what counts.
    columns = ("requests", "requests_without_usage", "seconds", "input_tokens", "output_tokens", "cache_read_tokens")
    query = sa.select(
        *(sa.func.sum(ledger.c[name]).label(name) for name in columns), sa.func.max(ledger.c.refused_at)
    )
    with database.read() as connection:
        row = connection.execute(query).one()
        found: dict[str, object] = {
            name: float(getattr(row, name)) for name in columns if getattr(row, name) is not None
        }
        return found | {"refused": row[-1] is not None}


def test_use_is_counted_once_however_often_it_is_shipped(database: Database, attempt_id: str, tmp_path: Path) -> None:
    recorder = Recorder(attempt_id, tmp_path / "spool" / "one.jsonl")
    use = AccountUse(recorder, 1, model(A))
    use.saw(request(TokenUsage(input=10, output=5)))
    use.saw(request(TokenUsage(input=20, output=6, cache_read=7)))
    use.saw(request(None))
    use.saw(request(None, error=ErrorSeen(kind=ErrorKind.RATE_LIMIT, status=429)))
    recorder.close()
    once = (tmp_path / "spool" / "one.jsonl").read_bytes()
    (tmp_path / "spool" / "two.jsonl").write_bytes(once)  # as a worker that died after shipping leaves it
    Shipper(database).settle(tmp_path / "spool")

    assert list((tmp_path / "spool").iterdir()) == []
    assert sums(database) == {
        "requests": 4.0,
        "requests_without_usage": 1.0,
        "seconds": 6.0,
        "input_tokens": 30.0,
        "output_tokens": 11.0,
        "cache_read_tokens": 7.0,
        "refused": True,
    }


def test_a_refusal_that_names_its_reset_is_none_that_slows_down(
    database: Database, attempt_id: str, tmp_path: Path
) -> None:
    recorder = Recorder(attempt_id, tmp_path / "one.jsonl")
    use = AccountUse(recorder, 1, model(A))
    use.saw(request(None, error=ErrorSeen(kind=ErrorKind.RATE_LIMIT, status=429, retry_after_seconds=5.0)))
    use.saw(request(None, error=ErrorSeen(kind=ErrorKind.OVERLOADED, status=529)))
    recorder.close()
    Shipper(database).settle(tmp_path)

    assert (sums(database)["requests"], sums(database)["refused"]) == (2.0, False)


def test_statements_come_from_headers_and_from_agents(database: Database, attempt_id: str, tmp_path: Path) -> None:
    recorder = Recorder(attempt_id, tmp_path / "one.jsonl")
    use = AccountUse(recorder, 1, model(A))
    use.saw(request(TokenUsage(), headers={"anthropic-ratelimit-unified-5h-utilization": "0.5"}))
    use.saw(request(TokenUsage(), headers={"anthropic-ratelimit-unified-5h-utilization": "0.6"}))
    use.saw(QuotaSeen(window="7d", used_ppm=410_000, resets_at_epoch=1.9e9, source="codex"))
    recorder.close()
    Shipper(database).settle(tmp_path)

    with database.read() as connection:
        rows = connection.execute(sa.select(windows).order_by(windows.c.name)).all()
    assert [(row.account, row.name, row.used_ppm, row.source) for row in rows] == [
        ("a", "5h", 600_000, "headers"),
        ("a", "7d", 410_000, "codex"),
    ]


def test_local_servers_use_no_account(database: Database, attempt_id: str, tmp_path: Path) -> None:
    recorder = Recorder(attempt_id, tmp_path / "one.jsonl")
    AccountUse(recorder, 1, model(POOL)).saw(request(TokenUsage(input=1, output=1)))
    recorder.close()

    assert (tmp_path / "one.jsonl").read_bytes() == b""
