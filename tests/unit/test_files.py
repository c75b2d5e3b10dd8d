"""Reading experiment and fleet files: what is accepted, and every fault with its place, all at once."""

import contextlib
import os
import subprocess
from collections.abc import Callable
from pathlib import Path
from string import Template
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from ruamel.yaml import YAML

from orchestrator.domain.errors import InvalidInput
from orchestrator.domain.experiment import BUILT_IN_AGENTS, Experiment, Profile, limit_names
from orchestrator.domain.hidden import HiddenFile, unpack
from orchestrator.domain.matrix import PinnedTarget, expand
from orchestrator.domain.prompts import PLACEHOLDERS, template_faults
from orchestrator.files import load_experiment, load_fleet
from orchestrator.files.schema import experiment_schema, fleet_schema
from orchestrator.files.toml_tree import parse_toml
from orchestrator.files.tree import Tree
from orchestrator.files.yaml_tree import parse_yaml

ROOT = Path(__file__).parents[2]
KNOWN = ", ".join(BUILT_IN_AGENTS)
EXAMPLES = sorted((ROOT / "examples" / "profile-showdown").glob("*.yaml"))
FOLLOW_UPS = sorted((ROOT / "examples" / "follow-ups").glob("00*.yaml"))

FLEET = """\
[accounts.max]
base_url = "https://cloud.test"
key = "env:CLOUD_KEY"

[pools.gpu]
base_url = "http://gpu.test:8080"

[models.opus]
name = "claude-opus"
account = "max"
context_window = 200_000

[models.devstral]
name = "devstral"
pool = "gpu"
context_window = 98_304
"""
GOOD = """\
experiment: shapes
loop: staged
targets:
  - repo: /src/shapes
    task: task.md
    checks:
      test: make test
profiles:
  opus: opus
  hybrid: {reasoning: opus, build: devstral}
limits:
  stage_timeout: [5m, 10m]
"""

Write = Callable[..., Path]


@pytest.fixture
def write(tmp_path: Path) -> Write:
    def put(experiment: str | bytes = GOOD, fleet: str | bytes | None = FLEET) -> Path:
        for name, text in (("experiment.yaml", experiment), ("fleet.toml", fleet)):
            if text is not None:
                (tmp_path / name).write_bytes(text.encode() if isinstance(text, str) else text)
        return tmp_path / "experiment.yaml"

    return put


def faults(path: Path) -> list[str]:
    """The faults as text, with file names instead of paths."""
    with pytest.raises(InvalidInput) as caught:
        load_experiment(path)
    return [str(fault).replace(f"{path.parent}/", "") for fault in caught.value.faults]


def fault_of(write: Write, old: str, new: str) -> list[str]:
    """The faults of the good file with one place replaced."""
    assert old in GOOD
    return faults(write(GOOD.replace(old, new)))


# -- what is accepted --


def test_a_good_file(write: Write) -> None:
    path = write()
    loaded = load_experiment(path)
    assert loaded.path == path
    assert loaded.experiment.targets[0].checks["test"].run == "make test"
    assert loaded.experiment.profiles["opus"] == Profile(reasoning="opus", build="opus")
    assert loaded.experiment.axes() == {"stage_timeout": (300.0, 600.0)}
    assert loaded.fleet.resource_of("devstral") == "pool:gpu"
    assert loaded.fleet == load_fleet(path.parent / "fleet.toml")


@pytest.mark.filterwarnings("error")
def test_what_is_stored_of_an_experiment_is_the_same_experiment(write: Write) -> None:
    """Swept limits and rules with lists too, and without a warning on standard error."""
    rules = "include: [{profile: [opus, hybrid]}]\nexclude: [{profile: opus, stage_timeout: 5m}]\n"
    experiment = load_experiment(write(GOOD + "  max_turns: [3, null]\n" + rules)).experiment
    stored = experiment.model_dump(mode="json")
    assert stored["limits"] == {"stage_timeout": ["5m", "10m"], "max_turns": [3, None]}
    assert Experiment.model_validate(stored) == experiment


def test_paths_count_from_the_file_and_urls_stay(write: Write, tmp_path: Path) -> None:
    text = GOOD.replace(
        "  - repo: /src/shapes\n    task: task.md\n",
        "  - {repo: ., prompt: x}\n  - {repo: ../other.git, prompt: x}\n  - {worktree: ~/wt, prompt: x}\n"
        "  - {repo: 'git@host.test:group/scp.git', prompt: x}\n"
        "  - {repo: 'https://host.test/group/url.git/', prompt: x}\n"
        "  - repo: file:///src/file\n    task: task.md\n",
    )
    targets = load_experiment(write(text)).experiment.targets
    assert [(target.source, target.label) for target in targets] == [
        (str(tmp_path), tmp_path.name),
        (str(tmp_path.parent / "other.git"), "other"),
        (str(Path.home() / "wt"), "wt"),
        ("git@host.test:group/scp.git", "scp"),
        ("https://host.test/group/url.git/", "url"),
        ("file:///src/file", "file"),
    ]


def test_anchors_and_merges_save_words(write: Write) -> None:
    text = GOOD.replace("  - repo: /src/shapes\n", "  - &one\n    repo: /src/shapes\n").replace(
        "profiles:", "  - <<: *one\n    name: two\n    task: other.md\nprofiles:"
    )
    two = load_experiment(write(text)).experiment.targets[1]
    assert (two.label, two.source, two.task, two.checks["test"].run) == (
        "two",
        "/src/shapes",
        "other.md",
        "make test",
    )


def test_the_words_of_yaml_1_1_are_just_text(write: Write) -> None:
    text = GOOD.replace("task: task.md", "task: yes").replace("      test: make test", "      on: make\n      1: no")
    target = load_experiment(write(text)).experiment.targets[0]
    assert (target.task, {name: check.run for name, check in target.checks.items()}) == (
        "yes",
        {"on": "make", "1": "no"},
    )


def test_what_a_fleet_does_not_use_is_no_fault(write: Write) -> None:
    load_experiment(write(fleet=FLEET + '[accounts.idle]\nbase_url = "https://idle.test"\n'))


def test_own_agents_are_known(write: Write) -> None:
    own = "agents: {mine: {command: [run, '{prompt_file}']}}\n"
    assert load_experiment(write(GOOD + "agent: mine\n" + own)).experiment.agents["mine"].stdin
    path = write(GOOD + "agent: special\n")
    load_experiment(path, agents=("special",))
    assert faults(path) == [f"experiment.yaml:13: agent: is no known agent (found 'special'); accepted: {KNOWN}"]


# -- faults --


def test_all_faults_of_both_files_come_together(write: Write) -> None:
    experiment = """\
experiment: shapes
repeats: true
repats: 3
targets:
  - repo: /src/a
    task: t.md
    checks:
      test: {run: make, timeout: soon}
  - {repo: /src/a, base: 123456, prompt: x}
profiles:
  a: opos
  b: {reasoning: opus, build: devstral}
limits:
  stage_timeout: [5m, soon, 300]
  max_turn: 3
include:
  - {targt: a, profile: [a, zz]}
"""
    fleet = FLEET.replace('account = "max"', 'account = "mux"').replace("98_304", '"98k"')
    assert faults(write(experiment, fleet)) == [
        "experiment.yaml:2: repeats: is not a whole number (found true); accepted: a whole number",
        "experiment.yaml:3: repats: is not a known key; accepted: did you mean 'repeats'? Known: experiment, fleet, "
        "agent, agents, loop, prompts, repeats, priority, seed, race, then, targets, profiles, limits, include, "
        "exclude",
        "experiment.yaml:8: targets[0].checks.test.timeout: is not accepted (found 'soon'); accepted: a duration "
        "like 90s, 15m or 1h30m",
        "experiment.yaml:9: targets[1].base: is not text (found 123456); accepted: text; numbers and true/false "
        "need quotes here",
        "experiment.yaml:9: targets[1].repo: names the target 'a' like targets[0] does; accepted: a 'name' of its "
        "own for each target",
        "experiment.yaml:11: profiles.a: is no model of the fleet (found 'opos'); accepted: did you mean 'opus'? "
        "Known: opus, devstral",
        "experiment.yaml:12: profiles.b: has two models, but the loop 'single' has one stage (found reasoning "
        "'opus', build 'devstral'); accepted: 'loop: staged', or one model for this profile",
        "experiment.yaml:14: limits.stage_timeout[1]: is not accepted (found 'soon'); accepted: a duration like "
        "90s, 15m or 1h30m",
        "experiment.yaml:14: limits.stage_timeout[2]: is the same as value 0 (found 300); accepted: each value once",
        "experiment.yaml:15: limits.max_turn: is no limit; accepted: did you mean 'max_turns'? Known: "
        "stage_timeout, wall_timeout, idle_timeout, setup_timeout, grace, max_iterations, max_turns, max_tokens, "
        "max_cost_usd, max_failures, max_repeated_calls, max_repeated_stages, max_unchanged_stages, max_same_errors, "
        "max_output_bytes, max_memory_bytes, max_processes, "
        "max_disk_bytes, context_warn_percent, context_compact_percent, context_kill_percent, rate_limit_wait, "
        "max_infra_attempts, max_builds, max_decompose_depth, max_rejects, max_check_repairs, "
        "investigate_batch_size, verify_batch_size",
        "experiment.yaml:17: include[0].targt: is no axis of this matrix; accepted: did you mean 'target'? Known: "
        "target, profile, stage_timeout",
        "experiment.yaml:17: include[0].profile[1]: is no value of this axis (found 'zz'); accepted: a, b",
        "fleet.toml:10: models.opus.account: is no account of this file (found 'mux'); accepted: did you mean "
        "'max'? Known: max",
        "fleet.toml:16: models.devstral.context_window: is not a whole number (found '98k'); accepted: a whole "
        "number",
    ]


@pytest.mark.parametrize(
    ("old", "new", "fault"),
    [
        (
            "  opus: opus",
            "  opus: opus\n  opus: devstral",
            "experiment.yaml:10: profiles.opus: is given twice; the first is in line 9; accepted: each key once",
        ),
        (
            "    task: task.md",
            "    tusk: task.md",
            "experiment.yaml:5: targets[0].tusk: is not a known key; accepted: did you mean 'task'? Known: name, "
            "repo, worktree, base, task, prompt, setup, checks, plan, protected, tampering",
        ),
        (
            "    task: task.md",
            "    task: ../task.md",
            "experiment.yaml:5: targets[0].task: is not accepted (found '../task.md'); accepted: a path inside the "
            "repository, without '..'",
        ),
        (
            "/src/shapes",
            "ext::sh -c id",
            "experiment.yaml:4: targets[0].repo: is not accepted (found 'ext::sh -c id'); accepted: a local path, "
            "or a https, ssh or file URL",
        ),
        (
            "/src/shapes",
            "https://me:secret@host.test/x",
            "experiment.yaml:4: targets[0].repo: is not accepted (found 'https://...@host.test/x'); accepted: a URL "
            "without user or password; git's own credential helper supplies those",
        ),
        (
            "    task: task.md",
            "    task: task.md\n    prompt: Do it.",
            "experiment.yaml:4: targets[0]: is not accepted (found a mapping); accepted: exactly one of 'task' (a "
            "file at the base) and 'prompt' (text)",
        ),
        (
            "  opus: opus",
            "  opus: {model: opuss}",
            "experiment.yaml:9: profiles.opus.model: is no model of the fleet (found 'opuss'); accepted: did you "
            "mean 'opus'? Known: opus, devstral",
        ),
        (
            "  opus: opus",
            "  opus: {model: opus, agent: cod}",
            "experiment.yaml:9: profiles.opus.agent: is no known agent (found 'cod'); accepted: did you mean "
            f"'codex'? Known: {KNOWN}",
        ),
        (
            "  opus: opus",
            "  opus: {model: opus, models: x}",
            "experiment.yaml:9: profiles.opus.models: is not a known key; accepted: did you mean 'model'? Known: "
            "model, reasoning, build, agent, env, prompts",
        ),
        (
            "  opus: opus",
            "  opus: {model: opus, env: {KEY: sk-0123456789abcdefgh}}",
            "experiment.yaml:9: profiles.opus.env: is not accepted; accepted: no keys in files: KEY looks like one; "
            "accounts name theirs as env:VARIABLE",
        ),
        (
            "loop: staged",
            "loop: stage",
            "experiment.yaml:2: loop.kind: is not accepted (found 'stage'); accepted: 'single', 'staged', 'tasks' or "
            "'external'",
        ),
        (
            "loop: staged",
            "loop: external",
            "experiment.yaml:2: loop: is the loop of a harness, and the agent is none (found 'opencode'); accepted: "
            "one of your own 'agents', with 'telemetry'",
        ),
        (
            "loop: staged",
            "loop: {kind: staged, max_builds: [2, 3]}",
            "experiment.yaml:2: loop.max_builds: is not a whole number (found a list); accepted: a whole number; a "
            "list of them stands under 'limits'",
        ),
        (
            "  stage_timeout: [5m, 10m]",
            "  stage_timeout: [5m, 10m]\n  context_compact_percent: [60, 80]",
            "experiment.yaml:13: limits.context_compact_percent[0]: breaks the order warn < compact < kill (found "
            "60); accepted: more than context_warn_percent (70), or change that one too",
        ),
        (
            "  stage_timeout: [5m, 10m]",
            "  stage_timeout: []",
            "experiment.yaml:12: limits.stage_timeout: has no value (found an empty list); accepted: at least one "
            "value",
        ),
        (
            "  stage_timeout: [5m, 10m]",
            "  max_turns: [1, 0]",
            "experiment.yaml:12: limits.max_turns[1]: is not accepted (found 0); accepted: at least 1",
        ),
        (
            "  stage_timeout: [5m, 10m]",
            "  max_cost_usd: .inf",
            "experiment.yaml:12: limits.max_cost_usd: is not accepted (found inf); accepted: a finite number",
        ),
        (
            "limits:",
            "exclude: [{profile: [opus, hybrid]}]\nlimits:",
            "experiment.yaml:11: exclude: leaves no cell of the matrix; accepted: rules that match at least one cell",
        ),
        (
            "limits:",
            "repeats: 1000\nlimits:\n  max_turns: [" + ", ".join(map(str, range(1, 502))) + "]",
            "experiment.yaml:1: makes too large a matrix (found 2004000 jobs); accepted: at most 1000000 jobs",
        ),
        (
            "experiment: shapes",
            "experiment: shapes\nfleet: nowhere.toml",
            "experiment.yaml:2: fleet: names a fleet file that is not there (found nowhere.toml); accepted: a path "
            "from this file",
        ),
    ],
)
def test_one_fault(write: Write, old: str, new: str, fault: str) -> None:
    assert fault_of(write, old, new) == [fault]


def test_loop_parameters_have_one_place_and_a_loop(write: Write) -> None:
    text = GOOD.replace("loop: staged", "loop: {kind: staged, max_builds: 2}") + "  max_builds: [2, 3]\n"
    assert faults(write(text)) == [
        "experiment.yaml:13: limits.max_builds: is given under 'loop' too; accepted: one of the two"
    ]
    text = GOOD.replace("loop: staged\n", "").replace("  hybrid: {reasoning: opus, build: devstral}\n", "")
    assert faults(write(text + "  max_builds: 2\n")) == [
        "experiment.yaml:11: limits.max_builds: has no meaning in the loop 'single'; accepted: 'loop: staged'"
    ]
    assert faults(write(GOOD + "  verify_batch_size: [1, 5]\n")) == [
        "experiment.yaml:13: limits.verify_batch_size: has no meaning in the loop 'staged'; accepted: 'loop: tasks'"
    ]


def test_rules_may_leave_out_what_breaks_the_order(write: Write) -> None:
    axes = "  context_warn_percent: [60, 80]\n  context_compact_percent: [70, 90]\n"
    rule = "exclude: [{context_warn_percent: 80, context_compact_percent: 70}]\n"
    load_experiment(write(GOOD + axes + rule))
    assert len(faults(write(GOOD + axes))) == 1


@pytest.mark.parametrize(
    ("content", "fault"),
    [
        (b"", "experiment.yaml: is empty"),
        (b"\n \n", "experiment.yaml: is empty"),
        (b"# nothing\n", "experiment.yaml: holds nothing but comments; accepted: a mapping that begins with "
         "'experiment: NAME'"),
        (b"a: 1\nb: \xff\n", "experiment.yaml:2: is not UTF-8 (found byte 0xff at offset 8); accepted: text in "
         "UTF-8"),
        (b"#" * (1024 * 1024 + 1), "experiment.yaml: is too large (found more than 1048576 bytes)"),
        (b"- a\n", "experiment.yaml:1: is not a mapping (found a list); accepted: a mapping that begins with "
         "'experiment: NAME'"),
        (b"a: 1\nb: [1\nc: 2\n", "experiment.yaml:3: is not valid YAML (found while parsing a flow sequence expected "
         "',' or ']', but got ':')"),
        (b"a: 1\n---\nb: 2\n", "experiment.yaml:2: is not valid YAML (found expected a single document in the stream "
         "but found another document)"),
        (b"[" * 100_000, "experiment.yaml: is nested too deeply; accepted: at most 40 levels"),
    ],
)  # fmt: skip
def test_a_file_that_is_no_experiment(write: Write, content: bytes, fault: str) -> None:
    assert faults(write(content)) == [fault]


def test_what_is_not_a_file(tmp_path: Path, write: Write) -> None:
    assert faults(tmp_path / "no.yaml") == ["no.yaml: there is no such file"]
    (tmp_path / "dir.yaml").mkdir()
    assert faults(tmp_path / "dir.yaml") == ["dir.yaml: is not a file (found a directory)"]
    os.mkfifo(tmp_path / "pipe.yaml")
    assert faults(tmp_path / "pipe.yaml") == ["pipe.yaml: is not a file (found a device or pipe)"]
    (tmp_path / "fleet.toml").mkdir()
    assert faults(write(fleet=None)) == ["fleet.toml: is not a file (found a directory)"]


@pytest.mark.skipif(os.geteuid() == 0, reason="root reads everything")
def test_a_file_that_may_not_be_read(write: Write) -> None:
    path = write()
    path.chmod(0)
    assert faults(path) == ["experiment.yaml: cannot be read (found Permission denied)"]


def test_billions_of_laughs_and_rings_are_bounded(write: Write) -> None:
    laughs = "a0: &a0 [x, x, x, x, x, x, x, x, x, x]\n" + "".join(
        f"a{n}: &a{n} [{', '.join([f'*a{n - 1}'] * 10)}]\n" for n in range(1, 10)
    )
    assert "has too many values" in faults(write(laughs))[0]
    assert "is nested too deeply" in faults(write("a: &a [*a]\n"))[0]
    assert "is nested too deeply" in faults(write("a: &a\n  <<: *a\n"))[0]


def test_no_fault_shows_a_key(write: Write) -> None:
    secret = "sk-0123456789abcdefgh"
    fleet = FLEET.replace("env:CLOUD_KEY", secret).replace("http://gpu", f"http://u:{secret}@gpu")
    found = faults(write(GOOD.replace("opus: opus", "opus: {model: opus, env: {A: [" + secret + "]}}"), fleet))
    assert len(found) == 3
    assert secret not in "\n".join(found)


@pytest.mark.parametrize(
    ("old", "new", "fault"),
    [
        ("[pools.gpu]", "[pools.gpu", "fleet.toml:5: is not valid TOML (found Expected ']' at the end of a table "
         "declaration)"),
        ('pool = "gpu"', "", "fleet.toml:13: models.devstral: needs a server (found neither); accepted: exactly "
         "one of 'account' and 'pool'"),
        ('pool = "gpu"', 'pool = "gpu"\naccount = "max"', "fleet.toml:13: models.devstral: needs a server (found "
         "both); accepted: exactly one of 'account' and 'pool'"),
        ('name = "devstral"\n', "", "fleet.toml:13: models.devstral.name: is missing"),
        ("98_304", "0", "fleet.toml:16: models.devstral.context_window: is not accepted (found 0); accepted: more "
         "than 0"),
        ("98_304", "98_304\nprices = { dated = '1.1.26', input = -1 }", "fleet.toml:17: models.devstral.prices."
         "dated: is not accepted (found '1.1.26'); accepted: a date like 2026-07-01"),
        ('"http://gpu.test:8080"', '"gpu.test"', "fleet.toml:6: pools.gpu.base_url: is not accepted (found "
         "'gpu.test'); accepted: a URL beginning with http:// or https://"),
        ('"env:CLOUD_KEY"', '"env:CLOUD_KEY"\nwindows = [\n  { name = "5h", length = "5h", reserve = 1.5 },\n]',
         "fleet.toml:5: accounts.max.windows[0].reserve: is not accepted (found 1.5); accepted: at most 0.95"),
        ('"env:CLOUD_KEY"', '"env:CLOUD_KEY"\nwindows = [\n  { name = "a", length = "5h" },\n'
         '  { name = "a", length = "7d" },\n]',
         "fleet.toml:6: accounts.max.windows[1].name: names another window of this account (found 'a')"),
        ('"env:CLOUD_KEY"', '"env:CLOUD_KEY"\nwindows = [{ name = "a", length = "5h", model = "devstral" }]',
         "fleet.toml:4: accounts.max.windows[0].model: is no model of this account (found 'devstral'); accepted: "
         "opus"),
        ('"env:CLOUD_KEY"', '"env:CLOUD_KEY"\nwindows = [{ name = "a", length = "5h", token = 5 }]',
         "fleet.toml:4: accounts.max.windows[0].token: is not a known key; accepted: did you mean 'tokens'? Known: "
         "name, length, kind, tokens, requests, hours, model, reserve"),
        ('"env:CLOUD_KEY"', '"env:CLOUD_KEY"\nzones = { red = "stop" }',
         "fleet.toml:4: accounts.max.zones.red: is not accepted (found 'stop'); accepted: 'run', 'slow' or 'defer'"),
    ],
)  # fmt: skip
def test_one_fault_of_the_fleet(write: Write, old: str, new: str, fault: str) -> None:
    assert old in FLEET
    assert faults(write(fleet=FLEET.replace(old, new)))[0] == fault


# -- lines --


def test_lines_of_toml() -> None:
    text = '''\
# a comment with [brackets] = "and"
top = """
two = 2
"""
[a."b.c"]   # quoted
x.y = [ 1,
  { z = "]" }, # ]
  3 ]
"k\\"ey" = 'v'
[[list]]
one = 1
[[list]]
two = 2
[list.sub]
three = 3
'''
    tree = Tree("x")
    parse_toml(text, tree)
    assert not tree.faults
    expected: dict[tuple[str | int, ...], int] = {
        ("top",): 2,
        ("a", "b.c"): 5,
        ("a", "b.c", "x", "y"): 6,
        ("a", "b.c", "x", "y", 1, "z"): 7,
        ("a", "b.c", "x", "y", 2): 8,
        ("a", "b.c", 'k"ey'): 9,
        ("list",): 10,
        ("list", 0, "one"): 11,
        ("list", 1, "two"): 13,
        ("list", 1, "sub", "three"): 15,
    }
    assert {path: tree.line_of(path) for path in expected} == expected


keys = st.text(st.characters(codec="ascii", exclude_characters="\x00\x7f", min_codepoint=32), min_size=1, max_size=6)
plain = (
    st.booleans() | st.integers(-(10**9), 10**9) | st.text(st.characters(codec="utf-8", min_codepoint=32), max_size=8)
)
nested = st.recursive(
    plain, lambda inner: st.lists(inner, max_size=3) | st.dictionaries(keys, inner, max_size=3), max_leaves=8
)
contents = st.dictionaries(keys, nested, min_size=1, max_size=4)


def toml_value(value: Any) -> str:
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, int):
        return str(value)
    if isinstance(value, str):
        return '"' + "".join(f"\\U{ord(c):08x}" if c in '"\\\x7f' or ord(c) < 32 else c for c in value) + '"'
    if isinstance(value, list):
        return "[\n" + ",\n".join(map(toml_value, value)) + "]"
    return "{" + ", ".join(f"{toml_value(key)} = {toml_value(item)}" for key, item in value.items()) + "}"


def paths(value: Any, at: tuple[str | int, ...] = ()) -> list[tuple[str | int, ...]]:
    inner = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    return [at, *(path for key, item in inner for path in paths(item, (*at, key)))]


@given(contents)
def test_every_value_of_toml_has_a_line(content: dict[str, Any]) -> None:
    tree = Tree("x")
    parse_toml("".join(f"{toml_value(key)} = {toml_value(item)}\n" for key, item in content.items()), tree)
    assert tree.faults == []
    assert tree.data == content
    assert set(paths(content)) <= set(tree.lines)


@given(st.text(st.sampled_from("abc:-[]{}&*<>|'\"#%!? \n\t0.1e~\\"), max_size=60))
@settings(max_examples=300)
def test_no_text_makes_the_yaml_reader_fall_over(text: str) -> None:
    tree = Tree("x")
    parse_yaml(text, tree)
    assert tree.faults or set(paths(tree.data)) <= set(tree.lines)


@given(st.text(st.sampled_from("abc=-[]{}.'\"#\n\t 0_1e,\\"), max_size=60))
@settings(max_examples=300)
def test_no_text_makes_the_toml_reader_fall_over(text: str) -> None:
    tree = Tree("x")
    parse_toml(text, tree)
    assert tree.faults or set(paths(tree.data)) <= set(tree.lines)


@given(st.data())
@settings(max_examples=200, suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)
def test_any_damage_to_a_good_file_is_loaded_or_a_fault(write: Write, data: st.DataObject) -> None:
    lines = GOOD.splitlines()
    for _ in range(data.draw(st.integers(1, 3))):
        number = data.draw(st.integers(0, len(lines) - 1))
        lines[number] = data.draw(
            st.sampled_from(["", "  - 5", "  x: {a: [1, {b: ~}]}", "limits: 3", "profiles: [a]", "targets: {a: b}"])
            | st.just(lines[number].split(":")[0] + ": [1, x]")
            | st.just(lines[number].split(":")[0] + ": {x: 1}")
            | st.just(lines[number].split(":")[0] + ":")
        )
    path = write("\n".join(lines))
    with contextlib.suppress(InvalidInput):  # anything else would be a traceback for the user
        load_experiment(path)


# -- schemas and examples --


@pytest.mark.parametrize("page", ["experiment-file.md", "fleet-file.md"])
def test_the_examples_of_the_reference_load(page: str, write: Write) -> None:
    blocks = (ROOT / "docs" / "reference" / page).read_text().split("```")
    text = blocks[1].split("\n", 1)[1]
    path = write(text if page.startswith("exp") else GOOD, FLEET if page.startswith("exp") else text)
    load_experiment(path)


OWN = GOOD.replace("loop: staged", "loop: tasks\nprompts: {build: build.md}")


def test_own_prompts_and_a_plan_are_read(write: Write, tmp_path: Path) -> None:
    (tmp_path / "build.md").write_text("For $$5 do ${chosen}, of $plan.")
    (tmp_path / "check.md").write_text('$task: answer {"verdicts": {"1": true}}')
    (tmp_path / "plan.json").write_text(
        '{"job": "x#1", "tasks": [{"task_id": "1", "text": " one ", "planned": true}, "two",'
        ' {"task_id": "1.1", "text": "part", "planned": false}]}'
    )
    text = OWN.replace("    task: task.md", "    task: task.md\n    plan: plan.json")
    loaded = load_experiment(
        write(text.replace("opus: opus\n", "opus: {model: opus, prompts: {verify: check.md}}\n"))
    )
    assert loaded.given.plans == {"plan.json": ("one", "two")}
    pins = {"shapes": PinnedTarget(sha="a" * 40, task_text="t")}
    cells = expand(loaded.experiment, loaded.fleet, pins, {}, "p", loaded.given)
    assert {cell.spec.profile: sorted(cell.spec.prompts) for cell in cells} == {
        "opus": ["build", "verify"],
        "hybrid": ["build"],
    }
    assert {cell.spec.target.plan for cell in cells} == {("one", "two")}


def test_everything_that_is_wrong_with_own_prompts_and_plans_is_told_at_once(write: Write, tmp_path: Path) -> None:
    (tmp_path / "build.md").write_text("a $task\nfor $money: $ 5 and ${chosen\n$$HOME")
    (tmp_path / "verify.md").write_text("$task: good or bad?")
    (tmp_path / "empty.md").write_text("")
    (tmp_path / "plan.yaml").write_text("tasks:\n  - one\n  - 2\n  - {text: ''}\n")
    text = OWN.replace("{build: build.md}", "{build: build.md, verify: verify.md, plan: no.md, paint: build.md}")
    text = text.replace("    task: task.md", "    task: task.md\n    plan: plan.yaml")
    text = text.replace("opus: opus\n", "opus: {model: opus, prompts: {plan: empty.md}}\n")
    unknown = "experiment.yaml:3: prompts.build: has a placeholder that the stage 'build' does not fill"
    fills = "accepted: $task, $plan, $chosen, $ids; a dollar sign of the text itself is written $$"
    assert faults(write(text)) == [
        f"{unknown} (found $money in build.md, line 2); {fills}",
        f"{unknown} (found $ 5 and ${{chosen in build.md, line 2); {fills}",
        f"{unknown} (found ${{chosen in build.md, line 2); {fills}",
        "experiment.yaml:3: prompts.verify: does not ask for the answer that the stage 'verify' must give (found "
        'verify.md); accepted: text that asks for a JSON object with the key "verdicts" at the end of the answer',
        "experiment.yaml:3: prompts.plan: names an unusable file: there is no such file (found no.md)",
        "experiment.yaml:3: prompts.paint: is no stage of the loop 'tasks'; accepted: did you mean 'plan'? "
        "Known: plan, investigate, build, verify, decompose",
        "experiment.yaml:11: profiles.opus.prompts.plan: names an unusable file: is empty (found empty.md)",
        "plan.yaml:3: tasks[1]: is no task (found 2); accepted: a text of 1 to 4000 characters",
        "plan.yaml:4: tasks[2]: is no task (found ''); accepted: a text of 1 to 4000 characters",
    ]


def test_a_plan_belongs_to_the_loop_tasks(write: Write) -> None:
    assert fault_of(write, "    task: task.md", "    task: task.md\n    plan: plan.yaml") == [
        "experiment.yaml:6: targets[0].plan: has no meaning in the loop 'staged'; accepted: 'loop: tasks'"
    ]


def test_every_placeholder_of_a_built_in_prompt_may_be_used_in_an_own_one_and_is_in_the_reference() -> None:
    reference = (ROOT / "docs/reference/experiment-file.md").read_text()
    for loop, stages in PLACEHOLDERS.items():
        for stage, known in stages.items():
            text = (ROOT / "workers/loops/prompts" / f"{'tasks-' if loop == 'tasks' else ''}{stage}.md").read_text()
            assert list(template_faults(loop, stage, text)) == []
            assert set(known) >= set(Template(text).get_identifiers())
            assert all(f"`${name}`" in reference for name in known)


def test_every_limit_is_in_the_reference() -> None:
    page = (ROOT / "docs" / "reference" / "experiment-file.md").read_text()
    assert [name for name in limit_names() if f"`{name}`" not in page] == []


def plain_yaml(path: Path) -> object:
    return YAML(typ="safe", pure=True).load(path.read_text())


@pytest.mark.parametrize("path", [*EXAMPLES, *FOLLOW_UPS], ids=lambda path: path.stem)
def test_examples_load_and_fit_the_schema(path: Path) -> None:
    jsonschema = pytest.importorskip("jsonschema")
    loaded = load_experiment(path)
    jsonschema.Draft202012Validator(experiment_schema()).validate(plain_yaml(path))
    assert loaded.fleet.resource_of("opus") == "account:max"


def test_the_follow_ups_are_there_and_short() -> None:
    assert [path.name[:3] for path in FOLLOW_UPS] == ["002", "003", "004", "005", "006", "007", "008"]
    assert max(len(path.read_text().splitlines()) for path in FOLLOW_UPS) <= 25


SCHEMA_GOOD = [
    "{experiment: x, targets: [{repo: a, task: b}], profiles: {a: b}}",
    "{experiment: x, loop: {kind: staged}, targets: [{worktree: a, prompt: b, checks: {c: d}}], "
    "profiles: {a: {model: b}}}",
    "{experiment: x, targets: [{repo: a, task: b}], profiles: {a: b}, "
    "limits: {grace: 3, stage_timeout: [1m, '2m 3s', 4], max_turns: [1, null]}}",
    "{experiment: x, targets: [{repo: a, task: b, tampering: fail, protected: ['*.snap'], checks: "
    "{c: {run: x, hidden: true, files: [y, z], report: {junit: r.xml}, reruns: 2, flaky: fail}, "
    "d: {run: x, hidden: true, files: y, report: tap}}}], profiles: {a: b}}",
]
SCHEMA_BAD = [
    "{experiment: x, targets: [{repo: a, task: b}], profiles: {a: b}, extra: 1}",
    "{experiment: x, targets: [{repo: a, worktree: b, task: b}], profiles: {a: b}}",
    "{experiment: x, targets: [{repo: a}], profiles: {a: b}}",
    "{experiment: x, targets: [{repo: a, task: b}], profiles: {a: {build: b}}}",
    "{experiment: x, targets: [{repo: a, task: b}], profiles: {a: {model: b, build: b}}}",
    "{experiment: x, targets: [{repo: a, task: b}], profiles: {a b: c}}",
    "{experiment: x, targets: [{repo: a, task: b}], profiles: {a: b}, limits: {grace: soon}}",
    "{experiment: x, targets: [{repo: a, task: b}], profiles: {a: b}, limits: {gracy: 3}}",
    "{experiment: x, targets: [{repo: a, task: b}], profiles: {a: b}, loop: stages}",
    "{experiment: x, targets: [{repo: a, task: b}], profiles: {a: b}, include: [{targt: x}]}",
    "{experiment: x, targets: [{repo: a, task: b, tampering: forbid}], profiles: {a: b}}",
    "{experiment: x, targets: [{repo: a, task: b, checks: {c: {run: x, report: {xml: r}}}}], profiles: {a: b}}",
    "{experiment: x, targets: [{repo: a, task: b, checks: {c: {run: x, report: {tap: a, go: b}}}}], "
    "profiles: {a: b}}",
]


@pytest.mark.parametrize(("text", "fits"), [*((t, True) for t in SCHEMA_GOOD), *((t, False) for t in SCHEMA_BAD)])
def test_the_schema_accepts_short_forms_and_nothing_unknown(text: str, fits: bool) -> None:
    jsonschema = pytest.importorskip("jsonschema")
    jsonschema.Draft202012Validator.check_schema(experiment_schema())
    value = YAML(typ="safe", pure=True).load(text)
    assert jsonschema.Draft202012Validator(experiment_schema()).is_valid(value) is fits


def test_the_fleet_schema(tmp_path: Path) -> None:
    jsonschema = pytest.importorskip("jsonschema")
    validator = jsonschema.Draft202012Validator(fleet_schema())
    validator.check_schema(fleet_schema())
    tree = Tree("x")
    parse_toml(FLEET, tree)
    assert validator.is_valid(tree.data)
    for old, new in (("env:CLOUD_KEY", "sk-1"), ('pool = "gpu"', ""), ("name =", "nam ="), ("https://", "ftp://")):
        parse_toml(FLEET.replace(old, new), tree)
        assert not validator.is_valid(tree.data), old


# -- hidden files --

_HIDDEN = GOOD.replace(
    "      test: make test", "      test: make test\n      secret: {run: ./s, hidden: true, files: [hidden, one.sh]}"
)


def test_hidden_files_are_read_with_the_file(write: Write, tmp_path: Path) -> None:
    (tmp_path / "hidden/tests").mkdir(parents=True)
    (tmp_path / "hidden/tests/a.py").write_text("a")
    (tmp_path / "hidden/one.sh").write_text("loses to the later one")
    (tmp_path / "one.sh").write_text("one")
    (tmp_path / "one.sh").chmod(0o755)
    hidden = load_experiment(write(_HIDDEN)).hidden
    ((label, packs),) = hidden.packs.items()
    assert (label, list(packs)) == ("shapes", ["secret"])
    assert hidden.files[packs["secret"].sha256] == (
        HiddenFile("one.sh", b"one", True),
        HiddenFile("tests/a.py", b"a", False),
    )
    assert unpack(packs["secret"], hidden.blob(packs["secret"].sha256)) == hidden.files[packs["secret"].sha256]
    before = packs["secret"].sha256
    (tmp_path / "one.sh").chmod(0o644)
    assert load_experiment(write(_HIDDEN)).hidden.packs["shapes"]["secret"].sha256 != before


@pytest.mark.parametrize(
    ("make", "fault"),
    [
        ("true", "are not there"),
        ("mkdir hidden && touch one.sh && ln -s /etc/passwd hidden/x", "contain 'x', which is a link or cannot"),
        ("mkdir hidden && touch one.sh && ln -s /etc hidden/x", "contain 'x', which is a link or cannot"),
        ("mkdir hidden && touch one.sh && mkfifo hidden/x", "contain 'x', which is no regular file"),
        ("mkdir -p hidden/a/.GIT && touch one.sh hidden/a/.GIT/config", "contain 'a/.GIT/config': git's own folders"),
        ("mkdir hidden && truncate -s 17M one.sh", "are more than 16777216 bytes"),
        ("mkdir hidden && touch one.sh && touch $(seq -f hidden/%.0f 2001)", "are more than 2000 files"),
        ("mkdir hidden && touch one.sh && touch hidden/$(printf 'x\\377')", "contain a name that is not UTF-8"),
        ("mkdir -p hidden/one.sh && touch one.sh hidden/one.sh/x", "contain both the file 'one.sh' and 'one.sh/x'"),
    ],
)
def test_hidden_files_that_cannot_be_had(write: Write, tmp_path: Path, make: str, fault: str) -> None:
    subprocess.run(["bash", "-c", make], cwd=tmp_path, check=True)
    (found,) = faults(write(_HIDDEN))
    assert found.startswith(f"experiment.yaml:8: targets[0].checks.secret.files: {fault}")


def test_a_hidden_file_with_an_impossible_name_is_refused(write: Write) -> None:
    told = faults(write(_HIDDEN.replace("[hidden, one.sh]", '["a\\0b"]')))
    assert any("targets[0].checks.secret.files" in fault for fault in told), told


def test_what_is_wrong_with_the_rules_of_checks_is_told(write: Write) -> None:
    text = GOOD.replace(
        "      test: make test",
        "      a: {run: x, files: y}\n      b: {run: x, report: xml}\n      c: {run: x, report: {junit: ../r}}\n"
        "      d: {run: x, reruns: 11, flaky: maybe}\n    tampering: forbid\n    protected: [ok, /etc]",
    )
    told = [fault.split(": is not accepted")[0].partition(": ")[2] for fault in faults(write(text))]
    assert [line.split(":")[0] for line in told] == [
        "targets[0].checks.a",
        "targets[0].checks.b.report.format",
        "targets[0].checks.c.report.file",
        "targets[0].checks.d.reruns",
        "targets[0].checks.d.flaky",
        "targets[0].tampering",
        "targets[0].protected[1]",
    ]
