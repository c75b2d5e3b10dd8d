"""The live page in a real browser: one evening, from the login through every outage to the agent's own words."""

import stat
from pathlib import Path

import pytest
from playwright.sync_api import Browser, Page, expect

from orchestrator.domain.check import CheckStatus
from orchestrator.storage.engine import Database
from tests.browser.test_report_page import CONTRAST
from tests.support.databases import PostgresDatabases
from tests.support.live_page import SCRIPT, WebProcess, finish, make_matrix, start_now, work

pytestmark = pytest.mark.browser

_PLENTY_MS = 60_000
# What the browser itself says about a server that is away or refuses: it is meant to.
_EXPECTED = ("ERR_CONNECTION_REFUSED", "ERR_CONNECTION_RESET", "ERR_EMPTY_RESPONSE", "401 (Unauthorized)")


class Witness:
    """Hears everything that a page says, asks for and loads."""

    def __init__(self, page: Page) -> None:
        self.said: list[str] = []
        self.asked: list[str] = []
        page.on("console", lambda message: self.said.append(message.text))
        page.on("pageerror", lambda error: self.said.append(str(error)))
        page.on("dialog", lambda dialog: self.said.append(f"dialog {dialog.message}"))
        page.on("request", lambda request: self.asked.append(request.url))

    def assert_quiet(self, url: str) -> None:
        """No complaint, no dialog, and nothing from anywhere else."""
        assert [text for text in self.said if not any(one in text for one in _EXPECTED)] == []
        assert [one for one in self.asked if not one.startswith(url + "/")] == []


def _log_in(page: Page, password: str) -> None:
    page.get_by_label("User").fill("bakeoff")
    page.get_by_label("Password").fill(password)
    page.get_by_role("button", name="Log in").click()


def test_an_evening_with_the_live_page(
    browser: Browser, postgres_databases: PostgresDatabases, tmp_path: Path
) -> None:
    with postgres_databases.fresh() as database:
        make_matrix(database)
        url = database.url.render_as_string(hide_password=False)
        web = WebProcess(tmp_path, url)
        page = browser.new_page(viewport={"width": 1280, "height": 900})
        page.set_default_timeout(_PLENTY_MS)
        expect.set_options(timeout=_PLENTY_MS)
        witness = Witness(page)
        try:
            _through_the_door(page, web)
            _what_moves_moves(page, database)
            web = _outages(page, database, postgres_databases, web, tmp_path, url)
            _down_to_the_job(page, database)
            _for_everybody(page, web)
            witness.assert_quiet(web.url)
            _without_scripts(browser, web)
        finally:
            page.close()
            told = web.stop()
        assert stat.S_IMODE(web.password_file.stat().st_mode) == 0o600
        assert str(web.password_file) in told
        assert web.password_file.read_text().strip() not in told


def _through_the_door(page: Page, web: WebProcess) -> None:
    page.goto(f"{web.url}/experiments/greetings")
    _log_in(page, "wrong")
    expect(page.get_by_role("alert")).to_have_text("User or password is wrong.")
    _log_in(page, web.password_file.read_text().strip())
    expect(page).to_have_url(f"{web.url}/experiments/greetings")
    expect(page.locator("#s-summary")).to_contain_text("0 of 8")
    expect(page.locator(".matrix tbody th").nth(1)).to_have_text(f"{SCRIPT}[U+202E]gnp.exe")
    expect(page.locator("#pulse")).to_have_class("pulse live")
    # Whatever happens from here on: this very document lives on.
    page.evaluate("window.mark = 'here from the beginning'")


def _still_here(page: Page) -> bool:
    return bool(page.evaluate("window.mark === 'here from the beginning'"))


def _what_moves_moves(page: Page, database: Database) -> None:
    top = page.locator(".matrix").bounding_box()
    first, second = start_now(database)
    work(database, first, 1)
    expect(page.locator(f"#j{first.job_id}")).to_have_text("▶R")
    expect(page.locator("#s-running")).to_contain_text("71 %")
    finish(database, second, CheckStatus.FAIL)
    expect(page.locator(f"#j{second.job_id}")).to_have_text("✗F")
    expect(page.locator("#s-summary")).to_contain_text("1 of 8")
    expect(page.locator("#spoken")).not_to_be_empty()
    assert page.locator(".matrix").bounding_box() == top, "nothing jumps"
    assert _still_here(page)
    finish(database, first, CheckStatus.PASS)
    expect(page.locator(f"#j{first.job_id}")).to_have_text("✓S")


def _outages(
    page: Page, database: Database, databases: PostgresDatabases, web: WebProcess, home: Path, url: str
) -> WebProcess:
    web.stop()
    expect(page.locator("#lost")).to_contain_text("cannot reach its server since")
    again = WebProcess(home, url, web.port)
    expect(page.locator("#lost")).to_be_hidden()
    expect(page.locator("#pulse")).to_have_class("pulse live")

    databases.server.crash()
    try:
        expect(page.locator("#away")).to_contain_text("The database cannot be reached since")
        expect(page.locator("#s-summary")).to_contain_text("2 of 8")
    finally:
        databases.server.start()
    expect(page.locator("#away")).to_be_hidden()
    database.engine.dispose()  # its connections are those of before the crash
    [third] = start_now(database, 1)
    expect(page.locator(f"#j{third.job_id}")).to_have_text("▶R")
    assert _still_here(page), "no outage was answered by loading the page again"
    work(database, third, 1)
    return again


def _down_to_the_job(page: Page, database: Database) -> None:
    cell = page.locator("td a.busy")
    assert page.locator("td a:not([tabindex='-1'])").count() == 1, "the matrix is one stop of the Tab key"
    page.locator("td a").first.focus()
    for key in ("ArrowRight", "ArrowRight", "ArrowDown", "ArrowLeft"):
        page.keyboard.press(key)
    second_row = page.locator(".matrix tbody tr").nth(1).locator("td a")
    assert page.evaluate("document.activeElement.id") == second_row.nth(1).get_attribute("id")
    cell.focus()
    page.keyboard.press("Enter")
    expect(page.locator("#s-stages")).to_contain_text("build")
    expect(page.locator("#s-guards")).to_contain_text("context 71 % of 100000")
    expect(page.locator("#s-events")).to_contain_text("characters withheld")
    assert "said" not in page.locator("main").inner_text()
    page.locator("#limits summary").click()
    page.locator("#s-events").get_by_role("link", name="Show it").click()
    expect(page.locator("#s-events")).to_contain_text(f"{SCRIPT} said 1")
    expect(page.locator("#s-transcript")).to_contain_text("It is stored when attempt 1 ends.")


def _without_scripts(browser: Browser, web: WebProcess) -> None:
    page = browser.new_context(java_script_enabled=False).new_page()
    page.goto(f"{web.url}/experiments/greetings")
    _log_in(page, web.password_file.read_text().strip())
    expect(page.locator("#s-summary")).to_contain_text("2 of 8")
    assert page.locator("noscript meta").get_attribute("content") == "10", "it loads itself again"
    page.locator("td a").first.click()
    expect(page.locator("#s-stages")).to_contain_text("build")
    page.context.close()


def _for_everybody(page: Page, web: WebProcess) -> None:
    job = page.url
    for path in (f"{web.url}/", f"{web.url}/experiments/greetings", job):
        for width, scheme in ((390, "dark"), (1280, "light")):
            page.set_viewport_size({"width": width, "height": 900})
            page.emulate_media(color_scheme="dark" if scheme == "dark" else "light")
            page.goto(path)
            assert page.evaluate("document.documentElement.scrollWidth") <= width, (path, width)
            ratio, text = page.evaluate(CONTRAST)
            assert ratio >= 4.5, (path, scheme, text)
            assert page.locator("h1").count() == 1
    page.get_by_role("button", name="Log out").click()
    page.goto(job)
    expect(page.get_by_role("heading")).to_have_text("Log in")
