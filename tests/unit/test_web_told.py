"""Events in one line: ours in full, an agent's words only on request."""

from hypothesis import given
from hypothesis import strategies as st

from orchestrator.web.told import Told, tell

SECRET = "canary of an agent"


def test_what_we_wrote_is_told_and_what_is_unknown_is_left_out() -> None:
    notice = {"action": "warn", "detail": "context 71 %", "extra": None}
    request = {
        "model_asked": "opus",
        "usage": {"input": 900, "output": 100, "reasoning": None},
        "duration_seconds": 1.25,
        "error": None,
    }

    assert tell("GuardNotice", notice, show=False) == Told("action warn, detail context 71 %", "", 0)
    assert tell("RequestEnded", request, show=False) == Told("model asked opus, 1.0k tokens, duration 1.25 s", "", 0)


def test_what_an_agent_wrote_is_counted_and_shown_on_request_without_its_tricks() -> None:
    data = {"tool": "shell", "signature": "rm \u202e-rf\x1b[31m", "ok": True}

    assert tell("ToolCalled", data, show=False) == Told("ok yes", "", 36)
    assert tell("ToolCalled", data, show=True) == Told("ok yes", "tool shell, signature rm [U+202E]-rf", 0)


@given(st.text(max_size=20), st.text(max_size=20))
def test_a_text_of_an_unknown_kind_is_foreign(kind: str, name: str) -> None:
    told = tell(kind, {name: SECRET, "nested": {"deep": SECRET}}, show=False)

    assert SECRET not in told.facts + told.foreign
