"""Ralph's experiment.conf and profiles become files of ours, and nothing is made up on the way."""

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from orchestrator.domain.check import Check
from orchestrator.domain.errors import InvalidInput
from orchestrator.domain.experiment import Experiment, Loop, Profile
from orchestrator.files import load_experiment
from orchestrator.interop.findings import Finding, as_lines
from orchestrator.interop.ralph_conf import RalphConf, read_conf
from orchestrator.interop.ralph_experiment import Files, to_files
from orchestrator.interop.ralph_models import find_models
from orchestrator.interop.ralph_profiles import NO_PROFILES, RalphModel, RalphProfiles, ralph_model, read_profiles

CONF = """
TARGET_REPO="$HOME/src/shapes"
BASE_REF="v1"
SPEC="rename.md"
PROFILES="hybrid opus devstral"
MAX_ITERATIONS=25
MAX_WALL_TIME=7200
MAX_FAILURES=4
BUILD_CMD="make build"
TEST_CMD="make test"
TEST_TIMEOUT=300
GATE_CHECKS="Old|! grep -rE 'a_|b_' src"
"""
PROFILES = """
[default]
model = "anthropic/claude-opus-4-6"
context_window = 200_000
stage_timeout_ms = 900_000
max_failures = 3
max_tokens = 0
max_retries_per_task = 4

[profiles.hybrid]
model_build = "llamacpp/devstral"

[profiles.devstral]
model = "llamacpp/devstral"
context_window = 98_304
stage_timeout_ms = 1_200_000

[profiles.opus]
"""


def conf_of(text: str, **overrides: str) -> tuple[RalphConf, list[Finding]]:
    return read_conf(text, "experiment.conf", {"HOME": "/home/me"}, overrides)


def made(text: str = CONF, profiles: str | None = PROFILES, *, harness: bool = False) -> Files:
    conf, findings = conf_of(text)
    known = read_profiles(profiles, "config.toml") if profiles else NO_PROFILES
    files = to_files(
        conf, known, name="001", source="experiment.conf", told=bool(profiles), home="/home/me", harness=harness
    )
    return Files(experiment=files.experiment, fleet=files.fleet, findings=(*findings, *files.findings))


def loaded(files: Files, folder: Path) -> Experiment:
    (folder / "experiment.yaml").write_text(files.experiment)
    (folder / "fleet.toml").write_text(files.fleet)
    return load_experiment(folder / "experiment.yaml").experiment


def kinds(files: Files) -> list[str]:
    return [finding.kind for finding in files.findings]


def test_a_conf_with_profiles_becomes_two_files_that_say_the_same(tmp_path: Path) -> None:
    files = made()
    experiment = loaded(files, tmp_path)
    (target,) = experiment.targets
    assert experiment.loop == Loop(kind="tasks", max_rejects=4)
    assert (target.base, target.task) == ("v1", "ralph/specs/rename.md")
    assert dict(target.checks) == {
        "build": Check(run="make build"),
        "test": Check(run="make test", timeout=300),
        "Old": Check(run="! grep -rE 'a_|b_' src"),
    }
    assert dict(experiment.profiles) == {
        "hybrid": Profile(reasoning="claude-opus-4-6", build="devstral"),
        "opus": Profile(reasoning="claude-opus-4-6", build="claude-opus-4-6"),
        "devstral": Profile(reasoning="devstral", build="devstral"),
    }
    assert dict(experiment.limits) == {
        "stage_timeout": 1200,
        "max_failures": 4,
        "max_iterations": 75,
        "wall_timeout": 7200,
    }
    fleet = load_experiment(tmp_path / "experiment.yaml").fleet
    assert {name: (one.name, fleet.resource_of(name), one.context_window) for name, one in fleet.models.items()} == {
        "claude-opus-4-6": ("claude-opus-4-6", "account:anthropic", 200_000),
        "devstral": ("devstral", "pool:llamacpp", 98_304),
    }
    assert [model.prices for model in fleet.models.values()] == [None, None]
    assert kinds(files) == ["limits_differ", "iterations_are_stages", "window_contradicts", "server_assumed"]


def test_without_profiles_nothing_is_made_up(tmp_path: Path) -> None:
    files = made(profiles=None)
    experiment = loaded(files, tmp_path)
    fleet = load_experiment(tmp_path / "experiment.yaml").fleet
    assert list(experiment.profiles) == ["hybrid", "opus", "devstral"]
    assert [account.base_url for account in fleet.accounts.values()] == ["http://fill-in.invalid"]
    assert kinds(files).count("models_unknown") == 3
    assert kinds(files).count("window_unknown") == 3
    assert "server_unknown" in kinds(files)


def test_a_profile_without_a_table_is_said_to_have_the_defaults() -> None:
    files = made(CONF.replace("opus devstral", "opsu devstral"))
    (finding,) = [one for one in files.findings if one.kind == "profile_unknown"]
    assert finding.where == "profile opsu"
    assert "opsu: claude-opus-4-6\n" in files.experiment


def test_the_layers_of_profiles() -> None:
    profiles = read_profiles(PROFILES, "config.toml")
    found = profiles.settings("devstral", {"max_failures": 9})
    assert {key: (one.value, one.layer) for key, one in found.items()} == {
        "model": ("llamacpp/devstral", "[profiles.devstral]"),
        "context_window": (98_304, "[profiles.devstral]"),
        "stage_timeout_ms": (1_200_000, "[profiles.devstral]"),
        "max_failures": (9, "override"),
        "max_tokens": (0, "[default]"),
        "max_retries_per_task": (4, "[default]"),
    }


@given(*[st.dictionaries(st.sampled_from("abc"), st.integers()) for _ in range(3)])
def test_a_later_layer_always_wins(default: dict[str, int], own: dict[str, int], over: dict[str, int]) -> None:
    found = RalphProfiles(default, {"p": own}).settings("p", over)
    assert {key: one.value for key, one in found.items()} == {**default, **own, **over}


@pytest.mark.parametrize(
    ("text", "model", "local"),
    [
        ("anthropic/claude-opus-4-6", RalphModel(provider="anthropic", name="claude-opus-4-6"), False),
        ("vllm:devstral", RalphModel(provider="vllm", name="devstral"), True),
        ("llamacpp/devstral", RalphModel(provider="llamacpp", name="devstral"), True),
        ("ollama/qwen3:8b", RalphModel(provider="ollama", name="qwen3:8b"), True),
        ("openrouter/z/glm-5", RalphModel(provider="openrouter", name="z/glm-5"), False),
        ("opus", RalphModel(provider=None, name="opus"), False),
    ],
)
def test_names_of_models(text: str, model: RalphModel, local: bool) -> None:
    assert (ralph_model(text), ralph_model(text).local) == (model, local)


def test_two_servers_of_one_model_stay_two_models() -> None:
    profiles = RalphProfiles({}, {"a": {"model": "vllm/x"}, "b": {"model": "ollama/x"}})
    assert list(find_models(("a", "b"), profiles, told=True).models) == ["x", "x-2"]


def test_every_fault_of_a_conf_is_told_at_once() -> None:
    with pytest.raises(InvalidInput) as caught:
        conf_of('SPEC=a.md\nPROFILES=" "\nMAX_ITERATIONS=many\nGATE_CHECKS="no bar"\n')
    assert [str(fault).split(" (")[0] for fault in caught.value.faults] == [
        'experiment.conf: TARGET_REPO: is not there; accepted: TARGET_REPO="..."',
        'experiment.conf:2: PROFILES: names no profile; accepted: PROFILES="one two"',
        "experiment.conf:3: MAX_ITERATIONS: is no whole number",
        "experiment.conf:4: GATE_CHECKS: is no 'label|command'",
    ]


def test_what_a_conf_says_and_nobody_reads_is_reported() -> None:
    text = CONF + "COLOUR=red\nWORKTREE_BASE=/x\nGATE_CHECKS=('A|true' \"B|grep x y && exit 1 || exit 0\")\n"
    conf, findings = conf_of(text, PROFILES="one one", MAX_FAILURES="0")
    assert conf.gates == {"A": "true", "B": "grep x y && exit 1 || exit 0"}
    assert (conf.profiles, conf.max_failures) == (("one",), None)
    assert [finding.kind for finding in findings] == [
        "unknown_key",
        "path_not_used",
        "profile_twice",
        "zero_limit",
        "gate_blind",
    ]
    assert findings[0].where == "experiment.conf:13"


def test_the_report_for_people_joins_equal_findings() -> None:
    one = Finding(kind="k", where="a", found="f", read_as="r")
    assert as_lines([one, Finding(kind="k", where="b", found="f", read_as="r")]) == [
        "Reconcile report: 2 findings.",
        "  k  a, b",
        "    found:   f",
        "    read as: r",
    ]
    assert as_lines([]) == ["Reconcile report: nothing was unclear."]


_COMMANDS = st.text(st.characters(exclude_categories=["Cs", "Cc", "Co", "Cn"]), min_size=1).filter(str.strip)


@given(_COMMANDS, _COMMANDS, st.integers(1, 10**6))
def test_whatever_a_command_says_arrives_in_the_file(build: str, gate: str, seconds: int) -> None:
    from orchestrator.files.tree import Tree
    from orchestrator.files.yaml_tree import parse_yaml

    conf = RalphConf(
        target_repo="/r", base_ref=None, spec="s.md", profiles=("p",), build_cmd=build, test_cmd=gate,
        test_timeout_seconds=seconds, gates={"G": gate},
    )  # fmt: skip
    files = to_files(conf, NO_PROFILES, name="n", source="c", told=False, home=None, harness=False)
    tree = Tree("x")
    parse_yaml(files.experiment, tree)
    checks = Experiment.model_validate(tree.data).targets[0].checks
    assert [check.run for check in checks.values()] == [build, gate, gate]
    assert checks["test"].timeout == seconds


def test_the_example_is_what_it_says(tmp_path: Path) -> None:
    example = Path(__file__).parents[2] / "examples" / "come-from-ralph"
    conf, _ = conf_of((example / "001-profile-showdown" / "experiment.conf").read_text())
    known = read_profiles((example / "config.toml").read_text(), "config.toml")
    for harness in (False, True):
        files = to_files(conf, known, name="n", source="c", told=True, home="/home/me", harness=harness)
        experiment = loaded(files, tmp_path)
        assert list(experiment.profiles) == ["hybrid", "opus", "sonnet", "opus-sonnet", "sonnet-hybrid", "devstral"]
        assert experiment.loop.kind == ("external" if harness else "tasks")
