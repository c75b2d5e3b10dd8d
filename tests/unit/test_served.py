"""Which answers count as coming from the model that was asked for."""

import pytest

from orchestrator.domain.served import is_asked


@pytest.mark.parametrize(
    ("served", "asked", "same"),
    [
        ("opus", "opus", True),
        ("claude-opus-4-6-20260205", "claude-opus-4-6", True),
        ("gpt-5.2-2026-01-15", "gpt-5.2", True),
        ("gemini-3-pro-001", "gemini-3-pro", True),
        ("anthropic/claude-opus-4-6", "claude-opus-4-6", True),
        ("claude-opus-4-6", "anthropic/claude-opus-4-6", True),
        ("claude-sonnet-4-5-20250929", "claude-sonnet-4-5[1m]", True),
        ("claude-haiku-4-5", "claude-opus-4-6[1m]", False),
        ("claude-haiku-4-5", "claude-opus-4-6", False),
        ("claude-opus-4", "claude-opus-4-6", False),
        ("gpt-5.2-mini", "gpt-5.2", False),
        ("gpt-5.2-mini-2026-01-15", "gpt-5.2", False),
        ("", "gpt-5.2", False),
    ],
)
def test_a_snapshot_or_a_prefix_is_the_same_model_and_a_sibling_is_not(served: str, asked: str, same: bool) -> None:
    assert is_asked(served, (asked,)) is same


def test_any_of_the_names_will_do() -> None:
    assert is_asked("models/devstral.gguf", ("devstral", "devstral.gguf"))
