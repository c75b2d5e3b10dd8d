"""The tables: every rule that the database itself can hold is a constraint here."""

import re
from datetime import UTC, datetime
from enum import StrEnum

import sqlalchemy as sa
from sqlalchemy.engine import Dialect

metadata = sa.MetaData(
    naming_convention={
        "ix": "ix_%(table_name)s_%(column_0_N_name)s",
        "uq": "uq_%(table_name)s_%(column_0_N_name)s",
        "ck": "ck_%(table_name)s_%(constraint_name)s",
        "fk": "fk_%(table_name)s_%(column_0_N_name)s",
        "pk": "pk_%(table_name)s",
    }
)


class UtcDateTime(sa.types.TypeDecorator[datetime]):
    """Aware datetimes, in UTC, on every backend. A naive one is a bug and raises."""

    impl = sa.DateTime(timezone=True)
    cache_ok = True

    def process_bind_param(self, value: datetime | None, dialect: Dialect) -> datetime | None:
        if value is None:
            return None
        if value.tzinfo is None:
            raise ValueError("a datetime without a time zone")
        return value.astimezone(UTC)

    def process_result_value(self, value: datetime | None, dialect: Dialect) -> datetime | None:
        if value is None:
            return None
        return value.replace(tzinfo=UTC) if value.tzinfo is None else value.astimezone(UTC)


class PlainText(sa.types.TypeDecorator[str]):
    """Text that every backend can store: NUL and lone surrogates, which agents do write, become U+FFFD."""

    impl = sa.Text
    cache_ok = True

    def process_bind_param(self, value: str | None, dialect: Dialect) -> str | None:
        if value is None:
            return None
        return _UNSTORABLE.sub("\ufffd", value)


_UNSTORABLE = re.compile("[\x00\ud800-\udfff]")
Json = sa.JSON(none_as_null=True)
# SQLite counts rowids only for INTEGER keys; PostgreSQL gets the wide type.
BigId = sa.BigInteger().with_variant(sa.Integer(), "sqlite")
Big = sa.BigInteger


def _now_column(name: str) -> sa.Column[datetime]:
    return sa.Column(name, UtcDateTime(), nullable=False)


experiments = sa.Table(
    "experiments",
    metadata,
    sa.Column("id", sa.Integer, primary_key=True),
    sa.Column("name", sa.String(64), nullable=False, unique=True),
    sa.Column("file_text", PlainText, nullable=False),
    sa.Column("spec", Json, nullable=False),
    sa.Column("seed", Big, nullable=False),
    _now_column("created_at"),
    _now_column("submitted_at"),
)

targets = sa.Table(
    "targets",
    metadata,
    sa.Column("id", sa.Integer, primary_key=True),
    sa.Column("experiment_id", sa.ForeignKey("experiments.id"), nullable=False),
    sa.Column("label", sa.String(64), nullable=False),
    sa.Column("sha", sa.String(64), nullable=False),
    sa.Column("content_hash", sa.String(64), nullable=False),
    sa.Column("spec", Json, nullable=False),
    # The attempt that runs (or ran) the checks on the untouched base.
    sa.Column("baseline_attempt_id", sa.String(32)),
    sa.UniqueConstraint("experiment_id", "label", "content_hash"),
)

cells = sa.Table(
    "cells",
    metadata,
    sa.Column("id", sa.Integer, primary_key=True),
    sa.Column("experiment_id", sa.ForeignKey("experiments.id"), nullable=False),
    sa.Column("target_id", sa.ForeignKey("targets.id"), nullable=False),
    sa.Column("profile", sa.String(64), nullable=False),
    sa.Column("key", PlainText, nullable=False),
    sa.Column("cell_hash", sa.String(64), nullable=False),
    sa.Column("profile_hash", sa.String(64), nullable=False),
    sa.Column("params", Json, nullable=False),
    sa.Column("spec", Json, nullable=False),
    sa.UniqueConstraint("experiment_id", "cell_hash"),
)

jobs = sa.Table(
    "jobs",
    metadata,
    sa.Column("id", sa.Integer, primary_key=True),
    sa.Column("experiment_id", sa.ForeignKey("experiments.id"), nullable=False),
    sa.Column("cell_id", sa.ForeignKey("cells.id"), nullable=False),
    sa.Column("repeat", sa.Integer, nullable=False),
    sa.Column("state", sa.String(12), nullable=False),
    # The order: the higher priority first, within it the lower position.
    sa.Column("priority", sa.Integer, nullable=False, server_default="0"),
    sa.Column("position", sa.Integer, nullable=False),
    # Sorted resources joined by ',': the class of jobs that compete for the same slots.
    sa.Column("needs", PlainText, nullable=False),
    sa.Column("queue", sa.String(80), nullable=False),
    sa.Column("order_token", sa.String(32)),
    sa.Column("passed_over", sa.Integer, nullable=False, server_default="0"),
    sa.Column("fence", sa.Integer, nullable=False, server_default="0"),
    sa.Column("attempt_id", sa.String(32)),
    sa.Column("attempts", sa.Integer, nullable=False, server_default="0"),
    sa.Column("infra_attempts", sa.Integer, nullable=False, server_default="0"),
    sa.Column("cancel_requested", sa.Boolean, nullable=False, server_default=sa.false()),
    sa.Column("pause_requested", sa.Boolean, nullable=False, server_default=sa.false()),
    sa.Column("waiting_reason", PlainText),
    sa.Column("wake_at", UtcDateTime()),
    sa.Column("outcome", sa.String(24)),
    sa.Column("detail", PlainText),
    # Limits that people changed after submit, by name: they go before those of the cell.
    sa.Column("retuned", Json),
    _now_column("created_at"),
    sa.Column("finished_at", UtcDateTime()),
    sa.UniqueConstraint("cell_id", "repeat"),
    sa.CheckConstraint("(state = 'running') = (attempt_id IS NOT NULL)", name="attempt_iff_running"),
    sa.Index(
        "ix_jobs_queued",
        "queue",
        sqlite_where=sa.text("state = 'queued'"),
        postgresql_where=sa.text("state = 'queued'"),
    ),
    sa.Index(
        "ix_jobs_parked",
        "wake_at",
        sqlite_where=sa.text("state = 'parked'"),
        postgresql_where=sa.text("state = 'parked'"),
    ),
    sa.Index("ix_jobs_experiment_id_state", "experiment_id", "state"),
)
# Beside the table, because only a column itself, and not its name, can be sorted downwards.
sa.Index(
    "ix_jobs_ready",
    jobs.c.needs,
    jobs.c.priority.desc(),
    jobs.c.position,
    sqlite_where=sa.text("state = 'ready'"),
    postgresql_where=sa.text("state = 'ready'"),
)

estimates = sa.Table(
    "estimates",
    metadata,
    # What the jobs of a cell that were submitted at this moment were expected to take, by quantity.
    sa.Column("cell_id", sa.ForeignKey("cells.id"), primary_key=True),
    sa.Column("made_at", UtcDateTime(), primary_key=True),
    sa.Column("took", Json, nullable=False),
)

LIVE = "state <> 'ended'"

attempts = sa.Table(
    "attempts",
    metadata,
    sa.Column("id", sa.String(32), primary_key=True),
    sa.Column("job_id", sa.ForeignKey("jobs.id"), nullable=False),
    sa.Column("number", sa.Integer, nullable=False),
    sa.Column("fence", sa.Integer, nullable=False),
    sa.Column("state", sa.String(12), nullable=False),
    sa.Column("machine", sa.String(128), nullable=False),
    sa.Column("boot_id", sa.String(64), nullable=False),
    sa.Column("worker_pid", sa.Integer, nullable=False),
    sa.Column("worker_start_ticks", Big, nullable=False),
    sa.Column("heartbeat", Big, nullable=False, server_default="0"),
    # The resource for which a live attempt waits between two stages; the scheduler keeps the next slot for it.
    sa.Column("waits_for", sa.String(80)),
    _now_column("started_at"),
    sa.Column("ended_at", UtcDateTime()),
    sa.Column("outcome", sa.String(24)),
    sa.Column("detail", PlainText),
    sa.Column("wall_seconds", sa.Float),
    sa.Column("lease_wait_seconds", sa.Float),
    sa.Column("working_seconds", sa.Float),
    sa.Column("rate_limit_wait_seconds", sa.Float),
    sa.Column("base_sha", sa.String(64)),
    sa.Column("baseline_sha", sa.String(64)),
    sa.Column("final_sha", sa.String(64)),
    sa.Column("branch", PlainText),
    sa.Column("files_changed", sa.Integer),
    sa.Column("lines_added", sa.Integer),
    sa.Column("lines_removed", sa.Integer),
    sa.Column("commits", sa.Integer),
    # Changes to what judges the work, and those of them that count; NULL when nobody looked.
    sa.Column("protected_changes", sa.Integer),
    sa.Column("protected_counted", sa.Integer),
    sa.Column("final_text", PlainText),
    sa.Column("run_dir", PlainText),
    # The attempt whose tree this one took up, and the last of its stages (by ordinal) that it built on.
    sa.Column("resumed_from", sa.String(32)),
    sa.Column("resumed_stages", sa.Integer),
    sa.Column("parked_until", UtcDateTime()),
    sa.UniqueConstraint("job_id", "number"),
    # The database itself refuses a second live attempt of a job.
    sa.Index(
        "uq_attempts_live_job",
        "job_id",
        unique=True,
        sqlite_where=sa.text(LIVE),
        postgresql_where=sa.text(LIVE),
    ),
    sa.Index(
        "ix_attempts_waits_for",
        "waits_for",
        sqlite_where=sa.text("waits_for IS NOT NULL"),
        postgresql_where=sa.text("waits_for IS NOT NULL"),
    ),
)

leases = sa.Table(
    "leases",
    metadata,
    # One row per slot; the holder is a column, so a slot cannot have two.
    sa.Column("resource", sa.String(80), primary_key=True),
    sa.Column("slot", sa.Integer, primary_key=True, autoincrement=False),
    sa.Column("attempt_id", sa.String(32)),
    sa.Column("retired", sa.Boolean, nullable=False, server_default=sa.false()),
    sa.Column("since", UtcDateTime()),
    sa.UniqueConstraint("attempt_id", "resource"),
)

stages = sa.Table(
    "stages",
    metadata,
    sa.Column("attempt_id", sa.ForeignKey("attempts.id"), primary_key=True),
    sa.Column("ordinal", sa.Integer, primary_key=True, autoincrement=False),
    sa.Column("stage", sa.String(32), nullable=False),
    sa.Column("role", sa.String(32), nullable=False),
    sa.Column("task", PlainText),
    sa.Column("agent", sa.String(64), nullable=False),
    sa.Column("session_id", PlainText),
    sa.Column("resumed", sa.Boolean, nullable=False, server_default=sa.false()),
    sa.Column("model_asked", PlainText, nullable=False),
    sa.Column("model_served", PlainText),
    sa.Column("resource", sa.String(80), nullable=False),
    _now_column("started_at"),
    sa.Column("ended_at", UtcDateTime()),
    sa.Column("working_seconds", sa.Float),
    sa.Column("rate_limit_wait_seconds", sa.Float),
    sa.Column("turns", sa.Integer),
    sa.Column("requests", sa.Integer),
    sa.Column("requests_without_usage", sa.Integer),
    sa.Column("tool_calls", sa.Integer),
    sa.Column("input_tokens", Big),
    sa.Column("output_tokens", Big),
    sa.Column("cache_read_tokens", Big),
    sa.Column("cache_write_tokens", Big),
    sa.Column("reasoning_tokens", Big),
    sa.Column("stream_total_tokens", Big),
    sa.Column("gateway_total_tokens", Big),
    sa.Column("cost_usd_micros", Big),
    sa.Column("stated_cost_usd_micros", Big),
    sa.Column("context_tokens", Big),
    sa.Column("context_peak_tokens", Big),
    # Unknown of stages that another program ran, and told about.
    sa.Column("context_window", Big),
    sa.Column("prompt_bytes", Big),
    sa.Column("prompt_sha256", sa.String(64)),
    sa.Column("exit_code", sa.Integer),
    sa.Column("kill_reason", PlainText),
    sa.Column("outcome", sa.String(24)),
    sa.Column("detail", PlainText),
    sa.Column("error_kind", sa.String(24)),
    sa.Column("error_text", PlainText),
    sa.Column("commit_sha", sa.String(64)),
    # Whether the stage changed the tree; known once its commit is made, and NULL when the worker died before that.
    sa.Column("changed", sa.Boolean),
    sa.Column("answer", PlainText),
    sa.Column("handover", PlainText),
    # What the visible checks told the loop after this stage; empty: all passed, NULL: they were not asked.
    sa.Column("checks", PlainText),
    sa.Column("output_bytes", Big),
    sa.Column("unparsed", sa.Integer),
)

events = sa.Table(
    "events",
    metadata,
    sa.Column("attempt_id", sa.ForeignKey("attempts.id"), primary_key=True),
    sa.Column("seq", sa.Integer, primary_key=True, autoincrement=False),
    sa.Column("stage_ordinal", sa.Integer),
    _now_column("at"),
    sa.Column("kind", sa.String(32), nullable=False),
    sa.Column("data", Json, nullable=False),
)

tasks = sa.Table(
    "tasks",
    metadata,
    # The task ledger of an attempt, as of the record numbered `seq`.
    sa.Column("attempt_id", sa.ForeignKey("attempts.id"), primary_key=True),
    sa.Column("task_id", sa.String(80), primary_key=True),
    sa.Column("seq", sa.Integer, nullable=False),
    sa.Column("position", sa.Integer, nullable=False),
    sa.Column("parent", sa.String(80)),
    sa.Column("planned", sa.Boolean, nullable=False),
    sa.Column("done", sa.Boolean, nullable=False),
    sa.Column("depth", sa.Integer, nullable=False),
    sa.Column("text", PlainText, nullable=False),
    sa.Column("state", sa.String(12), nullable=False),
    sa.Column("rejects", sa.Integer, nullable=False),
    sa.Column("commit_sha", sa.String(64)),
    sa.Column("cause", PlainText),
)

accounts = sa.Table(
    "accounts",
    metadata,
    sa.Column("name", sa.String(64), primary_key=True),
    sa.Column("base_url", PlainText, nullable=False),
    sa.Column("protocol", sa.String(16), nullable=False),
    sa.Column("concurrency", sa.Integer, nullable=False),
)

pools = sa.Table(
    "pools",
    metadata,
    sa.Column("name", sa.String(64), primary_key=True),
    sa.Column("base_url", PlainText, nullable=False),
    sa.Column("protocol", sa.String(16), nullable=False),
    # The secret by name, as in the fleet file.
    sa.Column("key", PlainText),
    # At most so many; NULL: as many as the server tells.
    sa.Column("slots", sa.Integer),
)

pool_servers = sa.Table(
    "pool_servers",
    metadata,
    # Each machine's newest look at the server of a pool.
    sa.Column("pool", sa.String(64), primary_key=True),
    sa.Column("machine", sa.String(128), primary_key=True),
    sa.Column("base_url", PlainText, nullable=False),
    # When it was, on the machine's own boot clock: of two workers' looks the later one stays.
    sa.Column("boot_id", sa.String(64), nullable=False),
    sa.Column("boot_seconds", sa.Float, nullable=False),
    sa.Column("health", sa.String(12), nullable=False),
    sa.Column("report", Json, nullable=False),
    # Since when the health is what it is.
    _now_column("since"),
    _now_column("seen_at"),
)

machines = sa.Table(
    "machines",
    metadata,
    sa.Column("name", sa.String(128), primary_key=True),
    sa.Column("worker", sa.String(80), primary_key=True),
    sa.Column("boot_id", sa.String(64), nullable=False),
    sa.Column("pid", sa.Integer, nullable=False),
    sa.Column("version", sa.String(32), nullable=False),
    sa.Column("capabilities", Json, nullable=False),
    sa.Column("heartbeat", Big, nullable=False, server_default="0"),
    _now_column("seen_at"),
)

breakers = sa.Table(
    "breakers",
    metadata,
    # `account:NAME`, `pool:NAME`, `machine:NAME` or `profile:EXPERIMENT/NAME`. No row: closed, nothing counted.
    sa.Column("scope", sa.String(160), primary_key=True),
    sa.Column("state", sa.String(12), nullable=False),
    sa.Column("failures", sa.Integer, nullable=False, server_default="0"),
    sa.Column("openings", sa.Integer, nullable=False, server_default="0"),
    sa.Column("keys", Json, nullable=False),
    sa.Column("cause", PlainText),
    sa.Column("opened_at", UtcDateTime()),
    sa.Column("until", UtcDateTime()),
    # The one attempt that tries a half-open one.
    sa.Column("probe", sa.String(32)),
    # Whether the jobs of a profile have its scope among their needs.
    sa.Column("gated", sa.Boolean, nullable=False, server_default=sa.false()),
    sa.CheckConstraint("(state = 'open') = (until IS NOT NULL)", name="until_iff_open"),
    sa.CheckConstraint("probe IS NULL OR state = 'half_open'", name="probe_only_half_open"),
)

breaker_events = sa.Table(
    "breaker_events",
    metadata,
    # Only ever added to: every move of a breaker.
    sa.Column("id", BigId, primary_key=True),
    sa.Column("scope", sa.String(160), nullable=False),
    _now_column("at"),
    sa.Column("from_state", sa.String(12), nullable=False),
    sa.Column("to_state", sa.String(12), nullable=False),
    sa.Column("cause", PlainText),
    sa.Column("until", UtcDateTime()),
    sa.Index("ix_breaker_events_scope_at", "scope", "at"),
)

windows = sa.Table(
    "windows",
    metadata,
    # A quota window of an account: as the fleet file has it, as the provider last stated it, or both.
    sa.Column("account", sa.String(64), primary_key=True),
    sa.Column("name", sa.String(64), primary_key=True),
    sa.Column("spec", Json),
    sa.Column("used_ppm", Big),
    sa.Column("resets_at", UtcDateTime()),
    sa.Column("length_seconds", sa.Float),
    sa.Column("stated_at", UtcDateTime()),
    sa.Column("source", sa.String(16)),
)

ledger = sa.Table(
    "ledger",
    metadata,
    # What the requests of one stage used of an account within one minute, as of the record numbered `seq`.
    sa.Column("attempt_id", sa.ForeignKey("attempts.id"), primary_key=True),
    sa.Column("stage_ordinal", sa.Integer, primary_key=True, autoincrement=False),
    sa.Column("minute", Big, primary_key=True, autoincrement=False),
    sa.Column("seq", sa.Integer, nullable=False),
    sa.Column("account", sa.String(64), nullable=False),
    sa.Column("model", sa.String(64), nullable=False),
    _now_column("at"),
    sa.Column("requests", sa.Integer, nullable=False),
    sa.Column("requests_without_usage", sa.Integer, nullable=False),
    sa.Column("seconds", sa.Float, nullable=False),
    sa.Column("input_tokens", Big),
    sa.Column("output_tokens", Big),
    sa.Column("cache_read_tokens", Big),
    sa.Column("cache_write_tokens", Big),
    sa.Column("reasoning_tokens", Big),
    # The last answer of this minute that refused for a short limit and named no reset.
    sa.Column("refused_at", UtcDateTime()),
    sa.Index("ix_ledger_account_minute", "account", "minute"),
)

quota_gates = sa.Table(
    "quota_gates",
    metadata,
    # What the windows and the pace of an account allow at present. NULL sessions: as many as its concurrency.
    sa.Column("account", sa.String(64), primary_key=True),
    sa.Column("zones", Json, nullable=False),
    sa.Column("window_sessions", sa.Integer),
    sa.Column("reason", PlainText),
    sa.Column("until", UtcDateTime()),
    sa.Column("pace_sessions", sa.Integer),
    sa.Column("pace_changed_at", UtcDateTime()),
)

model_gates = sa.Table(
    "model_gates",
    metadata,
    # Models that the windows of their own hold back at present, and how many of their sessions may be live. While
    # there is a row, the model's jobs have the scope, `model:ACCOUNT/NAME`, among their needs.
    sa.Column("scope", sa.String(160), primary_key=True),
    sa.Column("account", sa.String(64), nullable=False),
    sa.Column("sessions", sa.Integer, nullable=False),
    sa.Column("reason", PlainText, nullable=False),
    sa.Column("until", UtcDateTime()),
)

quota_events = sa.Table(
    "quota_events",
    metadata,
    # Only ever added to: every change of what an account, or one model of it, is allowed.
    sa.Column("id", BigId, primary_key=True),
    sa.Column("account", sa.String(64), nullable=False),
    sa.Column("model", sa.String(64)),
    _now_column("at"),
    sa.Column("sessions", sa.Integer),
    sa.Column("reason", PlainText, nullable=False),
    sa.Index("ix_quota_events_account_at", "account", "at"),
)

projections = sa.Table(
    "projections",
    metadata,
    # What was foretold of a window at each tenth of its use, and when the fleet had to stop for it, if it had to.
    sa.Column("id", BigId, primary_key=True),
    sa.Column("account", sa.String(64), nullable=False),
    sa.Column("window", sa.String(64), nullable=False),
    sa.Column("tenth", sa.Integer, nullable=False),
    _now_column("made_at"),
    sa.Column("used_ppm", Big, nullable=False),
    sa.Column("burn_ppm_per_hour", Big, nullable=False),
    _now_column("until"),
    sa.Column("came_at", UtcDateTime()),
    sa.Column("came_ppm", Big),
    sa.Index("ix_projections_until", "until"),
)

drains = sa.Table(
    "drains",
    metadata,
    # `account:NAME`, `pool:NAME` or `machine:NAME`: what runs there may end, nothing new starts.
    sa.Column("scope", sa.String(160), primary_key=True),
    sa.Column("reason", PlainText, nullable=False),
    _now_column("since"),
)

leaders = sa.Table(
    "leaders",
    metadata,
    # Of all processes with this part, the holder acts and the others stand by.
    sa.Column("part", sa.String(32), primary_key=True),
    sa.Column("holder", sa.String(32), nullable=False),
    sa.Column("heartbeat", Big, nullable=False, server_default="0"),
    sa.Column("machine", sa.String(128), nullable=False),
    sa.Column("boot_id", sa.String(64), nullable=False),
    sa.Column("pid", sa.Integer, nullable=False),
    sa.Column("start_ticks", Big, nullable=False),
    sa.Column("version", sa.String(32), nullable=False),
    _now_column("since"),
    # How many passes the holder has made, and how long they took in all.
    sa.Column("passes", Big, nullable=False, server_default="0"),
    sa.Column("pass_seconds", sa.Float, nullable=False, server_default="0"),
)

notice_channels = sa.Table(
    "notice_channels",
    metadata,
    # As the fleet file has it; secrets by name.
    sa.Column("name", sa.String(64), primary_key=True),
    sa.Column("spec", Json, nullable=False),
)

notice_marks = sa.Table(
    "notice_marks",
    metadata,
    # What is known of each condition that people are told of: see `domain.notices`.
    sa.Column("kind", sa.String(24), primary_key=True),
    sa.Column("subject", sa.String(220), primary_key=True),
    sa.Column("bad", sa.Boolean, nullable=False),
    _now_column("since"),
    sa.Column("unsaid", sa.Integer, nullable=False),
    sa.Column("told_at", UtcDateTime()),
)

notices = sa.Table(
    "notices",
    metadata,
    # The id tells receivers a repetition from news.
    sa.Column("id", sa.String(32), primary_key=True),
    sa.Column("kind", sa.String(24), nullable=False),
    sa.Column("subject", sa.String(220), nullable=False),
    _now_column("at"),
    sa.Column("title", PlainText, nullable=False),
    sa.Column("text", PlainText, nullable=False),
    sa.Column("next_step", PlainText, nullable=False),
    # How often it has happened since the last notice of the same kind and subject.
    sa.Column("times", sa.Integer, nullable=False),
    sa.Index("ix_notices_at", "at"),
)

notice_deliveries = sa.Table(
    "notice_deliveries",
    metadata,
    # `waiting`, then `sent` or `given_up`.
    sa.Column("notice_id", sa.ForeignKey("notices.id"), primary_key=True),
    sa.Column("channel", sa.String(64), primary_key=True),
    sa.Column("state", sa.String(12), nullable=False),
    sa.Column("tries", sa.Integer, nullable=False, server_default="0"),
    # When it may be tried; while somebody tries it, when his try is taken for lost.
    _now_column("due_at"),
    sa.Column("claim", sa.String(32)),
    sa.Column("error", PlainText),
    sa.Column("ended_at", UtcDateTime()),
    sa.Index(
        "ix_notice_deliveries_waiting",
        "due_at",
        sqlite_where=sa.text("state = 'waiting'"),
        postgresql_where=sa.text("state = 'waiting'"),
    ),
)

race_stops = sa.Table(
    "race_stops",
    metadata,
    # Who is out of an experiment's race, with the evidence. Rows stay: a stop is never taken back.
    sa.Column("experiment_id", sa.ForeignKey("experiments.id"), primary_key=True),
    sa.Column("profile_hash", sa.String(64), primary_key=True),
    _now_column("at"),
    # The hash of the profile that it was behind.
    sa.Column("against", sa.String(64), nullable=False),
    sa.Column("targets", sa.Integer, nullable=False),
    sa.Column("better", sa.Integer, nullable=False),
    sa.Column("worse", sa.Integer, nullable=False),
    sa.Column("repeat", sa.Integer, nullable=False),
    sa.Column("evidence", sa.Float, nullable=False),
    sa.Column("needed", sa.Float, nullable=False),
    sa.Column("arms", sa.Integer, nullable=False),
    # The rules at that moment.
    sa.Column("rules", Json, nullable=False),
)

checks = sa.Table(
    "checks",
    metadata,
    sa.Column("attempt_id", sa.ForeignKey("attempts.id"), primary_key=True),
    sa.Column("kind", sa.String(12), primary_key=True),
    sa.Column("name", sa.String(64), primary_key=True),
    sa.Column("target_id", sa.ForeignKey("targets.id"), nullable=False),
    sa.Column("status", sa.String(12), nullable=False),
    sa.Column("exit_code", sa.Integer),
    sa.Column("seconds", sa.Float),
    sa.Column("reason", PlainText),
    sa.Column("log_sha256", sa.String(64)),
    sa.Column("hidden", sa.Boolean, nullable=False, server_default=sa.false()),
    # How many runs gave an answer, and how many of these passed. NULL: from before runs were counted.
    sa.Column("runs", sa.Integer),
    sa.Column("passed_runs", sa.Integer),
    # Files of the agent's that hidden ones replaced, bounded.
    sa.Column("replaced", Json),
    sa.Index("ix_checks_target_id_kind", "target_id", "kind"),
)

check_runs = sa.Table(
    "check_runs",
    metadata,
    # Every run of every check, the repeated ones too. The last one's cases are compared with the untouched base's.
    sa.Column("attempt_id", sa.ForeignKey("attempts.id"), primary_key=True),
    sa.Column("kind", sa.String(12), primary_key=True),
    sa.Column("name", sa.String(64), primary_key=True),
    sa.Column("run", sa.Integer, primary_key=True, autoincrement=False),
    sa.Column("status", sa.String(12), nullable=False),
    sa.Column("exit_code", sa.Integer),
    sa.Column("seconds", sa.Float),
    sa.Column("reason", PlainText),
    sa.Column("log_sha256", sa.String(64)),
    # NULL: its output is in no known format.
    sa.Column("case_format", sa.String(12)),
    # Whether every case is listed; NULL when none is.
    sa.Column("cases_complete", sa.Boolean),
    sa.Column("report_fault", PlainText),
)

check_cases = sa.Table(
    "check_cases",
    metadata,
    # Names come from the agent's code.
    sa.Column("attempt_id", sa.ForeignKey("attempts.id"), primary_key=True),
    sa.Column("kind", sa.String(12), primary_key=True),
    sa.Column("name", sa.String(64), primary_key=True),
    sa.Column("run", sa.Integer, primary_key=True, autoincrement=False),
    sa.Column("ordinal", sa.Integer, primary_key=True, autoincrement=False),
    sa.Column("case_name", PlainText, nullable=False),
    sa.Column("status", sa.String(8), nullable=False),
    sa.Column("seconds", sa.Float),
)

protected_changes = sa.Table(
    "protected_changes",
    metadata,
    # What the agent changed of that which judges it, bounded; the attempt has the whole numbers.
    sa.Column("attempt_id", sa.ForeignKey("attempts.id"), primary_key=True),
    sa.Column("ordinal", sa.Integer, primary_key=True, autoincrement=False),
    sa.Column("path", PlainText, nullable=False),
    sa.Column("kind", sa.String(12), nullable=False),
    sa.Column("status", sa.String(1), nullable=False),
    sa.Column("counts", sa.Boolean, nullable=False),
    sa.Column("lines_added", sa.Integer),
    sa.Column("lines_removed", sa.Integer),
    sa.Column("tests_removed", sa.Integer),
    sa.Column("skips_added", sa.Integer),
    sa.Column("asserts_removed", sa.Integer),
)

hidden_files = sa.Table(
    "hidden_files",
    metadata,
    # What checks bring along, by the hash of names and contents. Machines get it from here alone.
    sa.Column("sha256", sa.String(64), primary_key=True),
    sa.Column("size_bytes", Big, nullable=False),
    sa.Column("content", sa.LargeBinary, nullable=False),
)

artifacts = sa.Table(
    "artifacts",
    metadata,
    sa.Column("attempt_id", sa.ForeignKey("attempts.id"), primary_key=True),
    sa.Column("name", sa.String(128), primary_key=True),
    sa.Column("kind", sa.String(24), nullable=False),
    sa.Column("sha256", sa.String(64), nullable=False),
    sa.Column("size_bytes", Big, nullable=False),
    # Of a file that was cut: how large it was.
    sa.Column("full_bytes", Big),
)


def is_in(column: sa.Column[str], state: StrEnum) -> sa.ColumnElement[bool]:
    """`column = 'state'` with the state spelled out: only a literal lets both databases use a partial index."""
    return column == sa.literal_column(f"'{state.value}'")


# Attempts that have not ended: the condition of the partial indexes above.
is_live = attempts.c.state != sa.literal_column("'ended'")
