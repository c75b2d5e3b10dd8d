"""`ops/` and the compose file: units, images and services that fit the program, by tools where there are some."""

import json
import os
import re
import shlex
import shutil
import subprocess
import sys
from fnmatch import fnmatch
from pathlib import Path
from typing import Any

import jsonschema  # type: ignore[import-untyped]
import pytest
from ruamel.yaml import YAML

from orchestrator.domain.errors import ExitCode

ROOT = Path(__file__).resolve().parents[2]
UNITS = sorted((ROOT / "ops" / "systemd").glob("*.service"))
BAKEOFF = Path(sys.executable).with_name("bakeoff")
OURS = {"scheduler", "worker-cloud", "worker-gpu", "flower", "web", "metrics"}
PASSWORDS = [f"BAKEOFF_{name}_PASSWORD" for name in ("DB", "BROKER", "FLOWER", "WEB", "METRICS")]


def variables_read() -> set[str]:
    """Every BAKEOFF_ variable that the program knows."""
    return set(re.findall(r'"(BAKEOFF_[A-Z_]+)"', (ROOT / "orchestrator" / "settings.py").read_text()))


def understood(arguments: list[str]) -> bool:
    """Whether `bakeoff` takes this command line; `--help` after it stops it from being carried out."""
    done = subprocess.run([BAKEOFF, *arguments, "--help"], capture_output=True, text=True, check=False)
    return done.returncode == ExitCode.OK and arguments[0] in done.stdout


# -- systemd --


def unit(path: Path) -> dict[str, dict[str, list[str]]]:
    """Sections with every value of every key."""
    sections: dict[str, dict[str, list[str]]] = {}
    for line in path.read_text().splitlines():
        if match := re.fullmatch(r"\[(\w+)\]", line):
            section = sections.setdefault(match[1], {})
        elif line and not line.startswith("#"):
            key, _, value = line.partition("=")
            section.setdefault(key, []).append(value)
    return sections


@pytest.mark.parametrize("path", UNITS, ids=lambda path: path.name)
def test_units_start_commands_that_exist_and_end_them_in_order(path: Path) -> None:
    service = unit(path)["Service"]
    command = service["ExecStart"][0].replace("%i", "name").replace("$WORKER_ARGS", "--slots 2")
    assert understood(shlex.split(command)[1:])
    assert service["Restart"] == ["always"]
    assert service["KillMode"] == ["mixed"], "a TERM to agents and checks would look like their own end"
    assert service["RestartPreventExitStatus"] == [f"{ExitCode.USAGE:d} {ExitCode.INVALID_INPUT:d}"]
    assert service["User"] == ["bakeoff"]
    assert service["EnvironmentFile"][0] == "/etc/bakeoff/bakeoff.env"


@pytest.mark.parametrize("path", [path for path in UNITS if "worker" in path.name], ids=lambda path: path.name)
def test_a_workers_hardening_leaves_the_shim_its_namespaces(path: Path) -> None:
    """Measured: with /proc/sys covered by a read-only mount, as these options do it, the shim's own test of user
    namespaces fails; without capabilities and new privileges it succeeds."""
    service = unit(path)["Service"]
    covers_proc = {"ProtectKernelTunables", "ProtectKernelLogs", "ProtectProc", "ProcSubset", "RestrictNamespaces"}
    assert covers_proc & set(service) == set()
    assert service["OOMPolicy"] == ["continue"]
    assert service["NoNewPrivileges"] == ["yes"]


def test_only_workers_get_the_accounts_keys() -> None:
    with_keys = {path.name for path in UNITS if "keys.env" in path.read_text()}
    assert with_keys == {path.name for path in UNITS if "worker" in path.name}


@pytest.mark.skipif(shutil.which("systemd-analyze") is None, reason="systemd-analyze is not installed")
def test_systemd_itself_finds_nothing_wrong(tmp_path: Path) -> None:
    for path in (ROOT / "ops" / "systemd").glob("bakeoff*"):
        # What is not on this machine: the installation and its user.
        text = path.read_text().replace("/opt/bakeoff/.venv/bin/bakeoff", str(BAKEOFF))
        text = re.sub(r"^User=.*$", "", text, flags=re.MULTILINE)
        (tmp_path / path.name.replace("@.", "@name.")).write_text(text)
    paths = [str(path) for path in tmp_path.iterdir() if path.suffix in (".service", ".target")]
    done = subprocess.run(
        ["systemd-analyze", "verify", "--man=no", "--generators=no", *paths],
        capture_output=True,
        text=True,
        check=False,
    )
    ours = [line for line in done.stderr.splitlines() if "bakeoff" in line]
    assert (done.returncode, ours) == (0, []), done.stderr


def test_the_example_of_settings_names_settings_that_exist() -> None:
    example = (ROOT / "ops" / "systemd" / "bakeoff.env.example").read_text()
    named = set(re.findall(r"^#?(BAKEOFF_\w+)=", example, re.MULTILINE))
    assert named
    assert named - variables_read() == set()


# -- compose --


@pytest.fixture(scope="module")
def compose() -> dict[str, Any]:
    loaded = YAML(typ="safe").load(ROOT / "docker-compose.yml")
    assert isinstance(loaded, dict)
    return loaded


def test_compose_file_fits_the_specification(compose: dict[str, Any]) -> None:
    schema = json.loads((ROOT / "tests" / "fixtures" / "compose_spec" / "compose-spec.json").read_text())
    check = jsonschema.validators.validator_for(schema)(schema)
    assert [f"{'.'.join(map(str, fault.path))}: {fault.message}" for fault in check.iter_errors(compose)] == []
    assert list(check.iter_errors({"services": {"one": {"imagee": "x"}}})), "the schema sees a misspelt key"


def test_compose_commands_exist_and_every_service_is_watched(compose: dict[str, Any]) -> None:
    services = compose["services"]
    assert set(services) == OURS | {"postgres", "valkey"}
    assert services["scheduler"]["deploy"]["replicas"] == 2
    built = services["scheduler"]["build"]["dockerfile"]
    in_image = "\nHEALTHCHECK " in (ROOT / built).read_text()
    for name, service in services.items():
        assert "healthcheck" in service or (in_image and service.get("build", {}).get("dockerfile") == built), name
        assert all(port.startswith("127.0.0.1:") for port in service.get("ports", ())), name
    for name in OURS:
        command = services[name]["command"]
        assert command[0] == "bakeoff"
        assert understood([re.sub(r"\$\{\w+:-(\w+)\}", r"\1", word) for word in command[1:]]), name
        conditions = {server: wait["condition"] for server, wait in services[name]["depends_on"].items()}
        assert conditions == {"postgres": "service_healthy", "valkey": "service_healthy"}


def test_compose_gives_every_secret_only_to_those_who_need_it(compose: dict[str, Any]) -> None:
    text = (ROOT / "docker-compose.yml").read_text()
    used = re.findall(r"\$\{(\w*PASSWORD)([^}]*)\}", text)
    assert {name for name, _ in used} == set(PASSWORDS)
    assert all(rest.startswith(":?") for _, rest in used), "a password must have no default"
    example = (ROOT / "ops" / "compose.env.example").read_text()
    assert re.findall(r"^(\w*PASSWORD)=(.*)$", example, re.MULTILINE) == [(name, "") for name in PASSWORDS]
    services = compose["services"]
    files = {name: service["env_file"][0]["path"] for name, service in services.items() if "env_file" in service}
    assert files == {"worker-cloud": "keys.env", "worker-gpu": "keys.env", "scheduler": "notify.env"}
    given = {name: set(services[name]["environment"]) for name in OURS}
    assert given["metrics"] == {"BAKEOFF_DATABASE_URL", "BAKEOFF_METRICS_PASSWORD"}
    assert given["flower"] == {"BAKEOFF_BROKER_URL", "BAKEOFF_FLOWER_PASSWORD"}
    assert given["web"] == {"BAKEOFF_DATABASE_URL", "BAKEOFF_WEB_PASSWORD"}
    assert set().union(*given.values()) - variables_read() == set()
    homes = [volume for name in OURS for volume in services[name].get("volumes", ())]
    assert len(homes) == len(set(homes)), "two workers must not share a home across containers"


# -- the image --


def instructions() -> list[tuple[str, str]]:
    """Every instruction of the Dockerfile with its arguments, continuation lines joined."""
    text = (ROOT / "ops" / "Dockerfile").read_text()
    joined = re.sub(r"\\\n\s*", "", re.sub(r"^#.*\n", "", text, flags=re.MULTILINE))
    return [(word, rest) for word, _, rest in (line.partition(" ") for line in joined.splitlines() if line)]


def sources(arguments: str) -> list[str]:
    """What a COPY takes from the checkout; nothing when it takes it from another stage."""
    words = arguments.split()
    return [] if words[0].startswith("--from=") else words[:-1]


def copied() -> list[str]:
    return [source for word, rest in instructions() if word == "COPY" for source in sources(rest)]


def test_the_image_is_built_in_stages_and_does_not_run_as_root() -> None:
    words = instructions()
    bases = [rest for word, rest in words if word == "FROM"]
    assert len(bases) >= 2
    assert all(re.match(r"[\w./-]+:[\w.-]*\d[\w.-]*( AS \w+)?$", base) for base in bases), "a tag with a version"
    stages = [re.search(r" AS (\w+)", base) for base in bases]
    names = {stage[1] for stage in stages if stage}
    taken = {match[1] for word, rest in words if word == "COPY" and (match := re.match(r"--from=(\w+)", rest))}
    assert taken == names
    last = words[max(number for number, (word, _) in enumerate(words) if word == "FROM") :]
    uid = next(rest for word, rest in last if word == "USER")
    assert int(uid) > 0
    assert any(word == "RUN" and f"--uid {uid} " in rest for word, rest in last)
    assert last.index(("USER", uid)) > max(number for number, (word, _) in enumerate(last) if word == "RUN")


def test_what_the_image_copies_exists_and_is_not_ignored() -> None:
    lines = (ROOT / ".dockerignore").read_text().splitlines()
    allowed = [line[1:] for line in lines if line.startswith("!")]
    assert lines[1] == "*", "nothing gets in that is not named: histories, results, keys"
    assert "orchestrator" in copied()
    for source in copied():
        assert (ROOT / source).exists(), source
        assert any(fnmatch(source, pattern) or source.startswith(pattern + "/") for pattern in allowed), source


def test_what_the_image_copies_is_enough_to_install_and_run(tmp_path: Path) -> None:
    """The steps of the Dockerfile without an engine; the packages of the lock are those of this environment."""
    checkout, site = tmp_path / "bakeoff", tmp_path / "site"
    for source in copied():
        target = checkout / source
        target.parent.mkdir(parents=True, exist_ok=True)
        if (ROOT / source).is_dir():
            shutil.copytree(ROOT / source, target, ignore=shutil.ignore_patterns("__pycache__"))
        else:
            shutil.copy(ROOT / source, target)
    install = ["-m", "pip", "install", "-q", "--no-deps", "--no-build-isolation", "--no-index", "--target", str(site)]
    subprocess.run([sys.executable, *install, str(checkout)], check=True, cwd=tmp_path)
    shutil.rmtree(checkout / "orchestrator")  # what runs is what was installed
    env = {"PATH": os.environ["PATH"], "PYTHONPATH": str(site), "BAKEOFF_HOME": str(tmp_path / "home")}

    def run(*arguments: object) -> "subprocess.CompletedProcess[str]":
        argv = [sys.executable, *map(str, arguments)]
        return subprocess.run(argv, cwd=tmp_path, env=env, capture_output=True, text=True, check=False)

    where = run("-c", "import orchestrator, workers; print(orchestrator.__file__, workers.__file__)").stdout.split()
    assert all(Path(one).is_relative_to(site) for one in where)
    (tmp_path / "home").mkdir()
    before = run(checkout / "ops" / "healthcheck.py")
    assert (before.returncode, "needs" in before.stdout) == (1, True), before
    doctor = run(site / "bin" / "bakeoff", "doctor")
    assert "ok   database" in doctor.stdout, doctor
    healthy = run(checkout / "ops" / "healthcheck.py")
    assert (healthy.returncode, healthy.stdout) == (0, ""), healthy
    env["BAKEOFF_DATABASE_URL"] = "postgresql://nobody@127.0.0.1:1/none"
    away = run(checkout / "ops" / "healthcheck.py")
    assert (away.returncode, "cannot be reached" in away.stdout) == (1, True), away
    for pattern in (
        "orchestrator/reports/templates/*",
        "workers/loops/prompts/*.md",
        "workers/gateway/scripts/*.yaml",
    ):
        of = {path.relative_to(ROOT) for path in ROOT.glob(pattern)}
        assert of, pattern
        assert {path for path in of if not (site / path).exists()} == set()


# -- runbooks --


def runbooks() -> list[Path]:
    return sorted((ROOT / "ops" / "runbooks").glob("*.md"))


def test_runbooks_name_log_lines_that_the_program_writes() -> None:
    spans = {span.split()[0] for path in runbooks() for span in re.findall(r"`([^`\n]+)`", path.read_text())}
    slugs = {span for span in spans if re.fullmatch(r"(?!pg_)[a-z]+(_[a-z]+)+", span)}
    program = "".join(path.read_text() for top in ("orchestrator", "workers") for path in (ROOT / top).rglob("*.py"))
    assert {"pass_failed", "lease_expired", "worker_takes_no_new_jobs"} <= slugs
    # Some lines are put together from `worker_%s` and the rest.
    assert {slug for slug in slugs if slug not in program and slug.removeprefix("worker_") not in program} == set()


def test_the_upgrade_runbook_says_what_a_refused_worker_says() -> None:
    runbook = (ROOT / "ops" / "runbooks" / "upgrade.md").read_text()
    registrar = (ROOT / "workers" / "registrar.py").read_text()
    said = "".join(re.findall(r'f?"([^"\n]*)"', registrar))
    for fix in (
        "pip install bakeoff==",
        "(or update the scheduler)",
        "start `bakeoff scheduler` first, which migrates",
    ):
        assert fix in said
        assert fix in runbook
    assert f"exits with code {ExitCode.CONFLICT:d}" in runbook


def named_commands(text: str) -> set[tuple[str, str]]:
    """Every `bakeoff COMMAND` of a text that stands in code, with the options behind it."""
    fenced = re.findall(r"^```.*?^```|^ {4,}.*$", text, re.DOTALL | re.MULTILINE)
    spans = [*re.findall(r"`([^`\n]+)`", text), *(line for block in fenced for line in block.splitlines())]
    found = (re.search(r"(?:^|[\s/])bakeoff ([a-z]+)(.*)", span.partition("#")[0]) for span in spans)
    return {(match[1], option) for match in found if match for option in ["", *re.findall(r"--[\w-]+", match[2])]}


def test_documents_name_commands_and_options_that_exist() -> None:
    files = [ROOT / "README.md", *(ROOT / "docs").glob("*.md"), *(ROOT / "docs" / "howto").glob("*.md"), *runbooks()]
    named = {pair for path in files for pair in named_commands(path.read_text())}
    assert ("drain", "--machine") in named
    helps = {name: _help(name) for name in {name for name, _ in named}}
    assert {(name, option) for name, option in named if option not in helps[name]} == set()


def _help(name: str) -> str:
    import click
    from click.testing import CliRunner

    from orchestrator.cli import bakeoff

    command, context = bakeoff.get_command(click.Context(bakeoff), name), click.Context(bakeoff)
    below = command.list_commands(context) if isinstance(command, click.Group) else []
    arguments = [[name], *([name, one] for one in below)]
    results = [CliRunner().invoke(bakeoff, [*words, "--help"]) for words in arguments]
    assert all(result.exit_code == 0 for result in results), name
    return "".join(result.output for result in results)
