"""Flower's pages in a real browser while a stage runs."""

import os
from collections.abc import Iterator
from pathlib import Path

import pytest
from playwright.sync_api import Browser, HttpCredentials, Page

from tests.support.flower import PASSWORD, FlowerProcess, free_port, held_models, write_held_matrix
from tests.support.lab import Lab
from tests.support.waiting import until

pytestmark = pytest.mark.browser

# Set it to a folder to keep the pictures; docs/images/flower.png is made so.
_PICTURES = os.environ.get("BAKEOFF_TEST_PICTURES")


@pytest.fixture
def flower(tmp_path: Path) -> Iterator[FlowerProcess]:
    """Flower beside a run of three jobs, of which those that run are held in their second stage."""
    gate = tmp_path / "go-on"
    with held_models(tmp_path, gate) as url:
        lab = Lab(tmp_path, base_url=url)
        write_held_matrix(lab, {"opus": "opus", "hybrid": {"reasoning": "opus", "build": "local"}, "local": "local"})
        lab.start("run", str(lab.file))
        until((lab.home / "broker.url").exists, "the broker")
        process = FlowerProcess(lab, free_port())
        yield process
        gate.touch()
        process.stop()
        lab.close()


def _page(browser: Browser, flower: FlowerProcess, path: str) -> Page:
    login = HttpCredentials(username="bakeoff", password=PASSWORD)
    page = browser.new_context(http_credentials=login, viewport={"width": 1280, "height": 640}).new_page()
    page.set_default_timeout(20_000)
    page.goto(flower.url + path)
    return page


def _keep(page: Page, name: str) -> None:
    if _PICTURES:
        page.screenshot(path=Path(_PICTURES) / f"{name}.png")


def test_the_task_pages_show_the_stage_that_runs(browser: Browser, flower: FlowerProcess) -> None:
    task = flower.task_with(state="PROGRESS", result="2 requests", args="local")

    page = _page(browser, flower, "/tasks")
    row = page.locator("tr", has_text=task["uuid"][:8])
    row.get_by_text("PROGRESS").wait_for()
    assert task["args"] in row.inner_text()
    assert "requests" in row.inner_text()
    _keep(page, "flower")

    detail = _page(browser, flower, f"/task/{task['uuid']}")
    detail.get_by_text(task["result"]).first.wait_for()
    detail.get_by_text(task["args"]).first.wait_for()
    assert detail.get_by_role("button", name="Terminate").count() == 0
    _keep(detail, "flower-task")
