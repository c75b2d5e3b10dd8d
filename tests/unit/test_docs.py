"""The documents say what is true: module table, links, commands and records."""

import re
import subprocess
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
SKIPPED = {"targets"}
LINK = re.compile(r"(?<!!)\[[^\]]*\]\(([^)\s]+)\)")
CODE = re.compile(r"^```.*?^```", re.DOTALL | re.MULTILINE)
PACKAGES = ("orchestrator", "workers")


def documents() -> list[Path]:
    """Every Markdown file of ours; the demo's targets are other projects."""
    listed = subprocess.run(
        ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard", "--", "*.md"],
        cwd=ROOT,
        capture_output=True,
        check=True,
    ).stdout
    found = (Path(name.decode()) for name in listed.split(b"\0") if name)
    return sorted(ROOT / path for path in found if not SKIPPED & set(path.parts) and (ROOT / path).exists())


def anchors(text: str) -> set[str]:
    """Anchors of the headings, as code hosts make them."""
    titles = re.findall(r"^#+ +(.+)$", CODE.sub("", text), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", title.lower()).strip().replace(" ", "-") for title in titles}


def packages() -> set[str]:
    """Every package of the tree, as a path."""
    found = (path.parent for top in PACKAGES for path in (ROOT / top).rglob("__init__.py"))
    return {str(path.relative_to(ROOT)) for path in found if any(path.glob("*.py"))}


def listed_packages(architecture: str) -> set[str]:
    return set(re.findall(r"^\| `([\w/]+)` \|", architecture, re.MULTILINE))


def inner(package: str) -> bool:
    """Data folders that are packages only so that they are found, such as prompts and migrations."""
    return package.count("/") > 1


def test_architecture_lists_every_package_and_no_other() -> None:
    listed = listed_packages((ROOT / "ARCHITECTURE.md").read_text())

    assert listed - packages() == set()
    assert {package for package in packages() if not inner(package)} - listed == set()


def test_every_module_that_the_documents_name_exists() -> None:
    named = {
        (document.name, path)
        for document in documents()
        for path in re.findall(
            r"`((?:orchestrator|workers|tests|ops|benchmarks)/[\w/.]+\.\w+)`", document.read_text()
        )
    }

    assert named
    assert {(name, path) for name, path in named if not (ROOT / path).exists()} == set()


@pytest.mark.parametrize("document", documents(), ids=lambda path: str(path.relative_to(ROOT)))
def test_links_lead_somewhere(document: Path) -> None:
    for link in LINK.findall(CODE.sub("", document.read_text())):
        if link.startswith(("http://", "https://", "mailto:")):
            continue
        name, _, anchor = link.partition("#")
        target = document.parent / name if name else document
        assert target.exists(), f"{link} leads nowhere"
        if anchor and target.suffix == ".md":
            assert anchor in anchors(target.read_text()), f"{link}: no such heading"


def test_decision_records_are_numbered_without_gaps_and_short() -> None:
    records = sorted((ROOT / "docs" / "adr").glob("*.md"))

    assert [int(path.name[:4]) for path in records] == list(range(1, len(records) + 1))
    for path in records:
        text = path.read_text()
        assert text.startswith(f"# {int(path.name[:4])}. ")
        assert re.search(r"^Status: (accepted|superseded by \[ADR \d+\])", text, re.MULTILINE)
        assert [line for line in text.splitlines() if line.startswith("## ")] == [
            "## Context",
            "## Decision",
            "## Consequences",
        ]
        assert len(text.splitlines()) <= 60


def test_every_runtime_dependency_has_its_reason() -> None:
    declared = re.search(
        r"^dependencies = \[(.*?)^\]", (ROOT / "pyproject.toml").read_text(), re.DOTALL | re.MULTILINE
    )
    assert declared is not None
    names = set(re.findall(r'"([a-z0-9.-]+)', declared[1]))
    reasons = "".join(path.read_text() for path in (ROOT / "docs" / "adr").glob("*.md"))

    assert {
        name for name in names if not re.search(rf"^\|[^|]*\b{re.escape(name)}\b", reasons, re.MULTILINE)
    } == set()


def test_documents_name_only_targets_that_the_makefile_has() -> None:
    targets = set(re.findall(r"^([a-z]+):", (ROOT / "Makefile").read_text(), re.MULTILINE))
    named = {name for path in documents() for name in re.findall(r"`make ([a-z]+)", path.read_text())}

    assert named - targets == set()


def test_make_alone_lists_every_target_for_people() -> None:
    listing = subprocess.run(["make"], cwd=ROOT, capture_output=True, text=True, check=True).stdout

    for name in ("demo", "test", "check", "bench", "fmt", "agents", "clean"):
        assert f"make {name}" in listing


@pytest.mark.parametrize("lock", ["requirements.lock", "requirements-dev.lock", "ops/uv.lock"])
def test_locks_pin_with_hashes_and_name_no_registry(lock: str) -> None:
    text = (ROOT / lock).read_text()
    pinned = re.findall(r"^[A-Za-z0-9_.\[\]-]+==", text, re.MULTILINE)

    assert pinned
    assert text.count("--hash=sha256:") >= len(pinned)
    assert "://" not in text
    assert "index" not in text


def test_dev_lock_contains_the_runtime_lock() -> None:
    def pins(name: str) -> set[str]:
        return set(re.findall(r"^([a-z0-9_.\[\]-]+==[^ ;\\]+)", (ROOT / name).read_text(), re.MULTILINE))

    assert pins("requirements.lock") - pins("requirements-dev.lock") == set()
