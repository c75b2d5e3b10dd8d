"""One stage of an attempt: launch the agent on its gateway route, guard it, record it, judge its end."""

from orchestrator.clock import boot_seconds
from orchestrator.domain.jobspec import JobSpec, ModelSpec
from orchestrator.domain.watch import StageFrame, Watch
from orchestrator.settings import read_secret
from workers.agents.base import StageContext
from workers.agents.registry import adapter
from workers.gateway.cassette import SUFFIX
from workers.gateway.recording import StageRecorder
from workers.gateway.routes import Route
from workers.loops.steps import StageOrder
from workers.owned import put
from workers.stage_frame import AttemptFrame, StageRun
from workers.stage_log import StageLog
from workers.supervision.supervisor import run_stage


def perform_stage(frame: AttemptFrame, order: StageOrder, ordinal: int, tokens: int, cost: int) -> StageRun:
    """Run one stage. `tokens` and `cost` (micro-dollars) are what the attempt has used before.

    Raises OSError and Unavailable for what is the machine's fault.
    """
    model = frame.spec.models[order.role]
    agent = adapter(frame.spec.agent, frame.spec.command)
    asked = _may_ask(frame.spec, model)
    watch = Watch(
        StageFrame(
            limits=frame.spec.limits,
            context_window=min(one.context_window for one in asked),
            # Tokens of several models have no common price.
            prices=model.prices.to_prices() if model.prices and len(asked) == 1 else None,
            started_at=boot_seconds(),
            attempt_started_at=frame.started_at,
            tokens_before=tokens,
            cost_before_usd_micros=cost,
            resumed_session=order.resumed,
            self_compacting=agent.compacts,
            model_names=tuple(name for one in asked for name in (one.name, *one.served_names)),
        )
    )
    prompt_file = frame.paths.logs / f"{ordinal:02d}-{order.stage}.prompt.md"
    put(prompt_file, order.prompt)
    log = StageLog(frame, ordinal, order, model)
    secret = read_secret(model.key) if model.key else None
    recorder = _recorder(frame, f"{ordinal:02d}-{order.stage}", model, secret)
    route = Route(
        attempt_id=frame.attempt_id,
        stage=f"{ordinal}-{order.stage}",
        upstream=model.base_url,
        protocol=model.protocol,
        on_event=frame.inbox.put,
        secret=secret,
        recorder=recorder,
    )
    registration = frame.context.gateway.register(route)
    try:
        context = StageContext(
            worktree=frame.paths.tree,
            home=frame.paths.home,
            tmp=frame.paths.tmp,
            logs=frame.paths.logs,
            prompt_file=prompt_file,
            base_url=registration.base_url,
            api_key=registration.api_key,
            model=model,
            stage=order.stage,
            session_id=order.session_id,
            compact_percent=frame.spec.limits.context_compact_percent,
            command=frame.spec.command,
            extra_env=frame.spec.env,
            host_env=frame.context.host_env,
        )
        log.begin()
        end = run_stage(
            launch=agent.launch(context),
            reader=(reader := agent.reader(context)),
            watch=watch,
            inbox=frame.inbox,
            lease=frame.lease,
            transcript=frame.paths.logs / f"{ordinal:02d}-{order.stage}.transcript",
            stderr_file=frame.paths.logs / f"{ordinal:02d}-{order.stage}.stderr",
            attempt_id=frame.attempt_id,
            now=boot_seconds,
            on_event=log.saw,
        )
    finally:
        frame.context.gateway.unregister(registration)
        if recorder is not None:
            recorder.close()
    for event in frame.inbox.drain():
        watch.see(event, end.ended_at)
        log.saw(event, watch)
    return log.finish(end, watch, reader.unparsed)


def _may_ask(spec: JobSpec, model: ModelSpec) -> list[ModelSpec]:
    """The models that may answer in a stage of this one: a harness may ask any of its job's."""
    others = spec.models.values() if spec.loop == "external" else ()
    return [model, *(other for other in others if other.name != model.name)]


def _recorder(frame: AttemptFrame, name: str, model: ModelSpec, secret: str | None) -> StageRecorder | None:
    """The stage's cassette, in a folder of the attempt; None when nothing is to be recorded."""
    settings = frame.context.settings
    if settings.cassettes is None:
        return None
    folder = settings.cassettes / frame.paths.run.relative_to(settings.runs)
    about = {"stage": name, "model": model.name, "protocol": model.protocol, "attempt": frame.attempt_id}
    return StageRecorder(folder / f"{name}{SUFFIX}", about, secret)
