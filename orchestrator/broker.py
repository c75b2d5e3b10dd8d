"""The queue: one Celery application, and every Celery option with its reason.

A message is a hint, "job 17 may start under this token". The database decides; losing, repeating or forging a
message is harmless. Measurements behind the options: docs/adr/0003 and Celery/kombu issues named beside them.
"""

import ipaddress
import ssl
from collections.abc import Mapping, Sequence
from typing import Any
from urllib.parse import urlsplit

from celery import Celery

from orchestrator.domain.errors import Fault, InvalidInput
from orchestrator.settings import Settings
from orchestrator.storage.dispatch import Hint, HintLabel

# One low-cardinality name: Flower and Prometheus label by it. The job's own name is in the arguments' text.
TASK_NAME = "bakeoff.job"
KEY_PREFIX = "bakeoff:"


def celery_options(settings: Settings) -> dict[str, Any]:
    """The configuration of every process on the queue: scheduler, workers and Flower must agree on it."""
    return {
        # JSON only: a pickled message would run code.
        "task_serializer": "json",
        "accept_content": ["json"],
        # Results live in the database.
        "task_ignore_result": True,
        "result_backend": None,
        # Early acknowledgement: Redis redelivers unacknowledged messages after the visibility timeout, so a job of
        # hours would run twice (celery#5935). The scheduler repeats hints that nobody claimed instead.
        "task_acks_late": False,
        "task_reject_on_worker_lost": False,
        # A worker takes a message only when a thread is free: a waiting hint must not be held hostage.
        "worker_prefetch_multiplier": 1,
        "worker_disable_prefetch": True,
        "broker_transport_options": _transport_options(settings),
        # RabbitMQ's way of seeing a half-open connection; Redis has none and ignores it.
        "broker_heartbeat": 10,
        **_tls(settings),
        # Wait for the broker as long as it takes; the default gives up after 100 tries.
        "broker_connection_retry_on_startup": True,
        "broker_connection_max_retries": None,
        # The default blocks for ever when every pooled connection is in use.
        "broker_pool_acquire_timeout": 10,
        # A lost hint is sent again by the next pass: do not hold the scheduler up for it.
        "task_publish_retry_policy": {
            "max_retries": 1,
            "interval_start": 0,
            "interval_step": 0.2,
            "interval_max": 0.2,
        },
        # Flower shows stages by events; the "sent" event would overwrite the readable name.
        "worker_send_task_events": True,
        "task_send_sent_event": False,
        # Jobs outlive a broker connection; the database lease is what counts. (Celery 6 flips this default.)
        "worker_cancel_long_running_tasks_on_connection_loss": False,
        "worker_hijack_root_logger": False,
        "worker_proc_alive_timeout": 30,
        "enable_utc": True,
    }


def _transport_options(settings: Settings) -> dict[str, Any]:
    if not _is_redis(settings.broker_url):
        # The options of Redis would go into the AMQP handshake. Confirmed, so that a lost hint is known as lost.
        return {"confirm_publish": True, "connect_timeout": 5}
    return {
        # No unacked bookkeeping: with it Celery 5.7.0 exits in 1 of 8 broker deaths and loses the first message
        # after a half-open connection.
        "ack_emulation": False,
        # Counts only for options that are off; set so that Flower can never shorten it for others.
        "visibility_timeout": settings.visibility_timeout_seconds,
        "global_keyprefix": KEY_PREFIX,
        # Without these a half-open connection leaves a worker stuck for ever, with them it is back in 12 s.
        "socket_timeout": 10,
        "socket_connect_timeout": 5,
        "socket_keepalive": True,
        "health_check_interval": 5,
    }


def _is_redis(url: str | None) -> bool:
    return url is None or url.startswith(("redis", "valkey"))


def _tls(settings: Settings) -> dict[str, Any]:
    """Options for `rediss://` and `amqps://`: the server's certificate is always checked."""
    scheme = (settings.broker_url or "").partition(":")[0]
    if scheme not in ("rediss", "amqps"):
        return {}
    prefix = "ssl_" if scheme == "rediss" else ""
    options: dict[str, Any] = {f"{prefix}cert_reqs": ssl.CERT_REQUIRED}
    if settings.broker_ca is not None:
        options[f"{prefix}ca_certs"] = str(settings.broker_ca)
    return {"broker_use_ssl": options}


def refuse_open_broker(settings: Settings) -> None:
    """Raises InvalidInput for a broker that anybody in the network could write to, or whose authority is not there.

    On this machine alone a password is not asked for; BAKEOFF_ALLOW_OPEN_BROKER=1 accepts everything.
    """
    faults: list[Fault] = []
    url = urlsplit(settings.broker_url or "")
    # A Unix socket is guarded by its file's rights.
    guarded = "+socket" in url.scheme or url.password or _is_loopback(url.hostname or "localhost")
    if settings.broker_url and not guarded and not settings.allow_open_broker:
        faults.append(
            Fault(
                file="environment",
                field="BAKEOFF_BROKER_URL",
                message=f"the broker on {url.hostname} has no password: whoever reaches it can forge messages",
                accepted=f"{url.scheme}://:PASSWORD@{url.hostname}, or BAKEOFF_ALLOW_OPEN_BROKER=1 if meant so",
            )
        )
    if settings.broker_ca is not None and not settings.broker_ca.is_file():
        missing = Fault(
            file="environment",
            field="BAKEOFF_BROKER_CA",
            message="no such file",
            found=str(settings.broker_ca),
            accepted="the certificate authority's PEM file",
        )
        faults.append(missing)
    if faults:
        raise InvalidInput(faults)


def _is_loopback(host: str) -> bool:
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


def celery_app(settings: Settings) -> Celery:
    """The application for a broker URL. Nothing connects until it is used. Raises InvalidInput for an open broker."""
    refuse_open_broker(settings)
    app = Celery("bakeoff", broker=settings.broker_url, set_as_current=False)
    app.conf.update(celery_options(settings))
    return app


def publish(app: Celery, hints: Sequence[Hint], labels: Mapping[int, HintLabel]) -> int:
    """Send hints. Returns how many went out; the first failure ends it, since the next pass sends the rest.

    Redis gets them in one round trip, after whose failure it is not known which arrived; RabbitMQ one by one.
    """
    sent = 0
    with app.producer_or_acquire() as producer, producer.batch():
        for hint in hints:
            label = labels.get(hint.job_id)
            number = label.number if label else 0
            app.send_task(
                TASK_NAME,
                args=[hint.job_id, hint.order_token],
                task_id=f"{hint.job_id}.{number}.{hint.order_token[:8]}",
                queue=hint.queue,
                argsrepr=str(label) if label else f"job {hint.job_id}",
                kwargsrepr="",
                producer=producer,
                retry=False,
            )
            sent += 1
    return sent


def queue_of(needs: Sequence[str]) -> str:
    """The queue of a job with these resources: its account's when it has one, else its pool's."""
    accounts = [need for need in needs if need.startswith("account:")]
    kind, _, name = (accounts or list(needs))[0].partition(":")
    return f"cloud.{name}" if kind == "account" else f"gpu.{name}"
