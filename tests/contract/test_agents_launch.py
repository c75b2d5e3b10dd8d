"""How agents are started: nothing of the worker's leaks, the prompt never goes by argv, a missing program says so."""

import io
import json
import os
import tomllib
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from ruamel.yaml import YAML

from orchestrator.domain.errors import NotFound, Unavailable
from orchestrator.domain.events import EndReason, OutputSeen
from orchestrator.domain.experiment import BUILT_IN_AGENTS, CommandAgent
from orchestrator.domain.fleet import ModelPrices
from orchestrator.domain.jobspec import ModelSpec
from tests.contract.agents_support import PRICES, model, stage
from workers.agents.base import AgentAdapter, Launch
from workers.agents.mini import as_yaml
from workers.agents.registry import adapter, names

PROMPT = "Fix it. " + "lorem ipsum " * 25_000  # 300 kB: more than one argument may hold
COMMAND = CommandAgent(
    command=("any", "--file", "{prompt_file}", "--model={model}", "{session}", '{"json": {1}}'),
    env={"ANY_URL": "{base_url}/v1", "ANY_KEY": "{api_key}"},
)
SECRETS = {"DATABASE_URL": "canary", "OPENAI_API_KEY": "canary", "ANTHROPIC_API_KEY": "canary", "BAKEOFF_X": "canary"}


ALL = [*names(), "any"]


def _adapter(name: str) -> AgentAdapter:
    return adapter(name, COMMAND if name == "any" else None)


@pytest.fixture
def programs(tmp_path: Path) -> Path:
    """A folder of programs that stand for every agent and print a version."""
    folder = tmp_path / "bin"
    folder.mkdir()
    for name in ALL:
        (folder / name).write_text("#!/bin/sh\necho something-cli 1.2.3\necho more\n")
        (folder / name).chmod(0o755)
    return folder


def _launch(
    name: str, folder: Path, programs: Path, session: str | None = None, prices: ModelPrices | None = PRICES
) -> Launch:
    host = {"PATH": f"{programs}:/usr/bin:/bin", "LANG": "de_DE.UTF-8", **SECRETS}
    protocols = _adapter(name).protocols
    context = stage(
        folder,
        spec=model(prices=prices).model_copy(update={"protocol": protocols[0]}),
        prompt=PROMPT,
        host_env=host,
        extra_env={"MINE": "1"},
        session_id=session,
    )
    return _adapter(name).launch(context)


@pytest.mark.parametrize("name", ALL)
@pytest.mark.parametrize("prices", [None, ModelPrices(dated="2026-01-01", input=1.0)])
def test_no_price_has_to_be_known(name: str, prices: ModelPrices | None, tmp_path: Path, programs: Path) -> None:
    assert _launch(name, tmp_path, programs, prices=prices).argv


@pytest.mark.parametrize("name", ALL)
def test_the_environment_is_an_allow_list(name: str, tmp_path: Path, programs: Path) -> None:
    env = dict(_launch(name, tmp_path, programs).env)
    assert "canary" not in env.values()
    assert (env["HOME"], env["TMPDIR"], env["TERM"], env["MINE"]) == (
        str(tmp_path / "home"),
        str(tmp_path / "tmp"),
        "dumb",
        "1",
    )
    assert all(env[key].startswith(str(tmp_path / "home")) for key in env if key.startswith("XDG_"))
    # Some agents know no other name for the gateway's token.
    assert {env[key] for key in SECRETS if key in env} <= {"gateway-token"}


@pytest.mark.parametrize("name", ALL)
def test_the_prompt_goes_by_file_and_the_command_line_stays_short(name: str, tmp_path: Path, programs: Path) -> None:
    launch = _launch(name, tmp_path, programs)
    assert sum(len(part) for part in launch.argv) < 2_000
    assert sum(len(value) for value in launch.env.values()) < 8_000
    assert launch.cwd == tmp_path / "tree"
    assert Path(launch.argv[0]).is_absolute()
    if launch.stdin_file is None:
        files = [Path(part) for part in launch.argv if Path(part).is_file()]
        assert any(PROMPT in file.read_text("utf-8", "replace") for file in files)
    else:
        assert launch.stdin_file == tmp_path / "prompt.md"


def test_mini_s_file_holds_the_prompt_and_is_for_its_owner_alone(tmp_path: Path, programs: Path) -> None:
    file = next(Path(part) for part in _launch("mini", tmp_path, programs).argv if part.endswith(".mini.yaml"))
    assert YAML(typ="safe").load(file.read_text("utf-8"))["run"]["task"] == PROMPT
    assert file.stat().st_mode & 0o077 == 0


@pytest.mark.parametrize("name", sorted({*names()} - {"reference"}))
def test_a_missing_program_is_said_with_the_way_to_install_it(name: str, tmp_path: Path) -> None:
    host = {"PATH": str(tmp_path)}
    assert adapter(name).version(host) is None
    with pytest.raises(Unavailable, match=name):
        adapter(name).launch(stage(tmp_path, host_env=host))


def test_versions(tmp_path: Path, programs: Path) -> None:
    host = {"PATH": f"{programs}:/usr/bin:/bin"}
    assert adapter("opencode").version(host) == "1.2.3"
    assert adapter("codex").version(host) == "1.2.3"
    assert adapter("reference").version({}) == adapter("reference").version({})
    asked = COMMAND.model_copy(update={"version": ("any", "--version")})
    assert (adapter("any", COMMAND).version(host), adapter("any", asked).version(host)) == (None, "1.2.3")


def test_opencode_s_configuration(tmp_path: Path, programs: Path) -> None:
    launch = _launch("opencode", tmp_path, programs)
    config = json.loads(launch.env["OPENCODE_CONFIG_CONTENT"])
    provider = config["provider"]["bakeoff"]
    assert provider["options"] == {"baseURL": "http://127.0.0.1:1/a/b/v1", "apiKey": "gateway-token"}
    assert provider["models"]["scripted-model"] == {
        "name": "scripted",
        "limit": {"context": 32_768, "input": 32_768, "output": 4_096},
        "cost": {"input": 1.0, "output": 5.0, "cache_read": 0.1, "cache_write": 1.25},
    }
    assert config["compaction"] == {"auto": True, "reserved": 4915}, "from 85 % on"
    assert (config["permission"], config["autoupdate"], config["share"]) == ({"*": "allow"}, False, "disabled")
    assert launch.argv[1:] == ("run", "--format", "json", "--model", "bakeoff/scripted-model", "--title", "build")


def test_opencode_speaks_messages_too(tmp_path: Path, programs: Path) -> None:
    context = stage(tmp_path, spec=model(protocol="messages", prices=None), host_env={"PATH": str(programs)})
    config = json.loads(adapter("opencode").launch(context).env["OPENCODE_CONFIG_CONTENT"])
    provider = config["provider"]["bakeoff"]
    assert (provider["npm"], "cost" in provider["models"]["scripted-model"]) == ("@ai-sdk/anthropic", False)


def test_codex_s_configuration(tmp_path: Path, programs: Path) -> None:
    launch = _launch("codex", tmp_path, programs)
    config = tomllib.loads((tmp_path / "home/.codex/config.toml").read_text("utf-8"))
    assert launch.env["CODEX_HOME"] == str(tmp_path / "home/.codex")
    assert launch.env[config["model_providers"]["bakeoff"]["env_key"]] == "gateway-token"
    assert config["model_providers"]["bakeoff"]["base_url"] == "http://127.0.0.1:1/a/b/v1"
    assert (config["model_context_window"], config["approval_policy"]) == (32_768, "never")


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("opencode", ("--session", "ses_1")),
        ("codex", ("resume", "--json", "--skip-git-repo-check", "ses_1", "-")),
        ("claude", ("--resume", "ses_1")),
    ],
)
def test_a_session_is_resumed_by_its_id(name: str, words: tuple[str, ...], tmp_path: Path, programs: Path) -> None:
    argv = _launch(name, tmp_path, programs, session="ses_1").argv
    assert argv[-len(words) :] == words


def test_a_command_s_placeholders(tmp_path: Path, programs: Path) -> None:
    launch = _launch("any", tmp_path, programs, session="s1")
    assert launch.argv == (
        str(programs / "any"),
        "--file",
        str(tmp_path / "prompt.md"),
        "--model=scripted-model",
        "s1",
        '{"json": {1}}',
    )
    assert (launch.env["ANY_URL"], launch.env["ANY_KEY"]) == ("http://127.0.0.1:1/a/b/v1", "gateway-token")


@pytest.mark.parametrize(
    ("code", "reason"),
    [(0, EndReason.FINISHED), (3, EndReason.ERROR), (-9, EndReason.NO_FINAL_EVENT), (None, EndReason.NO_FINAL_EVENT)],
)
def test_a_command_s_output_is_free_text(code: int | None, reason: EndReason, tmp_path: Path) -> None:
    reader = adapter("any", COMMAND).reader(stage(tmp_path))
    assert reader.feed("größer\n".encode()[:3]) == (OutputSeen(size_bytes=3),)
    reader.feed("größer\n".encode()[3:])
    reader.feed(b"x" * 1_000_000 + b"\nAll done.\n")
    end = reader.finish(code, "")
    assert (end.reason, end.final_text[-9:], len(end.final_text) <= 65_536) == (reason, "All done.", True)


def test_an_unknown_agent_is_named_with_the_known_ones() -> None:
    with pytest.raises(NotFound, match=", ".join(names())):
        adapter("nope", None)


def test_files_may_name_every_agent_of_the_registry() -> None:
    assert sorted(BUILT_IN_AGENTS) == sorted(names())


@given(st.text())
def test_any_prompt_survives_the_way_through_yaml(prompt: str) -> None:
    storable = prompt.encode("utf-8", "replace").decode("utf-8")
    yaml = YAML(typ="safe", pure=True)
    yaml.version = "1.1"
    assert yaml.load(io.StringIO(as_yaml({"task": storable}))) == {"task": storable}


def test_no_adapter_reads_our_own_environment(
    tmp_path: Path, programs: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PATH", "/nowhere")
    monkeypatch.setenv("HOME", "/canary")
    for name in ALL:
        launch = _launch(name, tmp_path, programs)
        assert os.environ["HOME"] not in launch.env.values()
        assert launch.env["PATH"].startswith(str(programs))


def test_model_names_that_need_quoting(tmp_path: Path, programs: Path) -> None:
    spec: ModelSpec = model(protocol="responses").model_copy(update={"name": 'odd"name\\é'})
    adapter("codex").launch(stage(tmp_path, spec=spec, host_env={"PATH": str(programs)}))
    assert tomllib.loads((tmp_path / "home/.codex/config.toml").read_text("utf-8"))["model"] == 'odd"name\\é'
