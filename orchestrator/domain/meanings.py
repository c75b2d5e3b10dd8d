"""What each outcome means, in one sentence that needs no knowledge of the code."""

from collections.abc import Mapping

from orchestrator.domain.outcome import Outcome

_O = Outcome
MEANINGS: Mapping[Outcome, str] = {
    _O.COMPLETE: "The loop came to its end and left changes. Whether they are right is what the checks say.",
    _O.NO_PROGRESS: "The agent ended by itself and changed no file.",
    _O.TASKS_LEFT: "The loop `tasks` ended with tasks of its plan not accepted.",
    _O.CHECKS_FAILED: "The loop `tasks` asked the checks, and they still failed when its repairs were used up.",
    _O.UNUSABLE_ANSWERS: "Answers of the model could not be used: a plan without tasks, calls of no known tool.",
    _O.STAGE_TIMEOUT: "One stage worked longer than `stage_timeout`.",
    _O.WALL_TIMEOUT: "The whole job took longer than `wall_timeout`, over all of its attempts.",
    _O.IDLE_TIMEOUT: "For `idle_timeout` nothing was heard of agent and model.",
    _O.ITERATION_LIMIT: "The attempt took `max_iterations` stages.",
    _O.TURN_LIMIT: "A stage took `max_turns` turns of the model, or the agent met a limit of its own.",
    _O.TOKEN_LIMIT: "The attempt used more than `max_tokens`.",
    _O.COST_LIMIT: "The attempt cost more than `max_cost_usd` at list prices.",
    _O.OUTPUT_LIMIT: "A stage wrote more than `max_output_bytes`.",
    _O.MEMORY_LIMIT: "The agent's processes took more than `max_memory_bytes`.",
    _O.PROCESS_LIMIT: "There were more than `max_processes` of the agent's processes.",
    _O.DISK_LIMIT: "The attempt wrote more than `max_disk_bytes`.",
    _O.CONTEXT_KILL: "The context was fuller than `context_kill_percent`, or the provider refused it as too long.",
    _O.COMPACTION_FAILED: "Compaction made no room, or was needed again and again.",
    _O.LOOP_DETECTED: "The agent went in circles: the same calls, stages or errors, or stages without a change.",
    _O.FAILURE_BREAKER: "`max_failures` stages failed in a row.",
    _O.WORKTREE_BROKEN: "The run broke its own git data, so that its work could not be read.",
    _O.AGENT_ERROR: "The agent program failed.",
    _O.MODEL_MISMATCH: "Another model answered than the profile names.",
    _O.QUOTA_PARKED: "The provider's limit was met; the work is kept until the reset.",
    _O.AUTH_ERROR: "The provider refused the key.",
    _O.MODEL_UNAVAILABLE: "The model could not be reached, was overloaded, or answered with server errors.",
    _O.SETUP_FAILED: "The target's `setup` failed, before the agent began.",
    _O.INFRA_ERROR: "Something on our side broke: machine, disk, git, network.",
    _O.LEASE_LOST: "The worker was not heard of for too long, and its right to the job ended.",
    _O.CANCELLED: "A person cancelled the job.",
    _O.PAUSED: "A person paused the job; the work is kept.",
    _O.RACED_OUT: "The race of its experiment was decided, or ended, without the job.",
    _O.INTERRUPTED: "The worker was stopped; the work is kept.",
}
