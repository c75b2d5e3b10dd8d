"""The HTML report in a real browser: silent, offline, by keyboard, on a phone, in the dark."""

from itertools import pairwise
from pathlib import Path

import pytest
from playwright.sync_api import Browser, Page

from orchestrator.analysis.study import study
from orchestrator.reports.html import render
from orchestrator.reports.options import ReportOptions
from tests.unit.rows_factory import night

pytestmark = pytest.mark.browser


# The lowest ratio of text to its background over every visible text, by WCAG 2's formula.
CONTRAST = """() => {
  const canvas = document.createElement('canvas').getContext('2d', {willReadFrequently: true});
  const rgba = text => { canvas.clearRect(0, 0, 1, 1); canvas.fillStyle = text; canvas.fillRect(0, 0, 1, 1);
    return canvas.getImageData(0, 0, 1, 1).data; };
  const light = text => { const [r, g, b] = [...rgba(text)].slice(0, 3).map(v => { v /= 255;
    return v <= 0.03928 ? v / 12.92 : ((v + 0.055) / 1.055) ** 2.4; });
    return 0.2126 * r + 0.7152 * g + 0.0722 * b; };
  const behind = node => { for (let n = node; n; n = n.parentElement) {
    const colour = getComputedStyle(n).backgroundColor; if (rgba(colour)[3] > 200) return colour; }
    return getComputedStyle(document.body).backgroundColor; };
  let worst = [99, ''];
  const walker = document.createTreeWalker(document.body, NodeFilter.SHOW_TEXT);
  for (let text = walker.nextNode(); text; text = walker.nextNode()) {
    const node = text.parentElement;
    if (!text.data.trim() || !node.checkVisibility()) continue;
    const drawn = node.closest('svg') ? getComputedStyle(node).fill : getComputedStyle(node).color;
    const [a, b] = [light(drawn), light(behind(node))];
    const ratio = (Math.max(a, b) + 0.05) / (Math.min(a, b) + 0.05);
    if (ratio < worst[0]) worst = [ratio, text.data.trim().slice(0, 40)];
  }
  return worst;
}"""


@pytest.fixture(scope="module")
def report(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("report") / "report.html"
    path.write_text(render(study(night()), ReportOptions(agent_text=True)), encoding="utf-8")
    return path


def _open(browser: Browser, report: Path, *, width: int = 1280, dark: bool = False) -> Page:
    page = browser.new_page(viewport={"width": width, "height": 900}, color_scheme="dark" if dark else "light")
    page.set_default_timeout(10_000)
    page.goto(report.as_uri())
    return page


def test_nothing_is_loaded_and_nothing_complains(browser: Browser, report: Path) -> None:
    page = browser.new_page()
    asked: list[str] = []
    said: list[str] = []
    page.on("request", lambda request: asked.append(request.url))
    page.on("console", lambda message: said.append(message.text))
    page.on("pageerror", lambda error: said.append(str(error)))
    page.on("dialog", lambda dialog: said.append(f"dialog {dialog.message}"))
    page.goto(report.as_uri())
    page.evaluate("document.querySelectorAll('details').forEach(d => d.open = true)")
    page.wait_for_load_state("networkidle")
    assert [url for url in asked if not url.startswith("data:,")] == [report.as_uri()]
    assert said == []
    page.close()


def test_drill_down_opens_by_keyboard(browser: Browser, report: Path) -> None:
    page = _open(browser, report)
    cell = page.locator("table.matrix a").first
    cell.focus()
    page.keyboard.press("Enter")
    opened = page.locator(cell.get_attribute("href") or "")
    opened.wait_for(state="visible")  # the browser opens the block that holds the target of a link
    job = opened.locator("details > summary").first
    assert not opened.locator("details").first.evaluate("d => d.open")
    job.focus()
    page.keyboard.press("Enter")
    assert opened.locator("details").first.evaluate("d => d.open")
    assert opened.locator("table").first.is_visible()
    page.close()


@pytest.mark.parametrize("width", [360, 390, 768, 1280])
def test_the_page_never_scrolls_sideways(browser: Browser, report: Path, width: int) -> None:
    page = _open(browser, report, width=width)
    assert page.evaluate("document.documentElement.scrollWidth") <= width
    page.evaluate("document.querySelectorAll('details').forEach(d => d.open = true)")
    assert page.evaluate("document.documentElement.scrollWidth") <= width
    page.close()


@pytest.mark.parametrize("dark", [False, True])
@pytest.mark.parametrize("width", [390, 1280])
def test_all_text_has_contrast(browser: Browser, report: Path, dark: bool, width: int) -> None:
    page = _open(browser, report, width=width, dark=dark)
    page.evaluate("document.querySelectorAll('details').forEach((d, i) => d.open = i < 60)")
    ratio, text = page.evaluate(CONTRAST)
    assert ratio >= 4.5, text
    page.close()


def test_headings_and_tables_are_labelled(browser: Browser, report: Path) -> None:
    page = _open(browser, report)
    assert page.locator("h1").count() == 1
    levels = page.evaluate("[...document.querySelectorAll('h1,h2,h3,h4')].map(h => +h.tagName[1])")
    assert all(after - before <= 1 for before, after in pairwise(levels))
    assert page.locator("th:not([scope])").count() == 0
    pictures = page.evaluate(
        "[...document.querySelectorAll('svg')].map(s => [s.getAttribute('role'), ...s.getAttribute('aria-labelledby')"
        ".split(' ').map(id => document.getElementById(id).parentNode === s), s.firstElementChild.tagName])"
    )
    assert pictures == [["img", True, True, "title"]] * 12
    ids = page.evaluate("[...document.querySelectorAll('[id]')].map(n => n.id)")
    assert len(ids) == len(set(ids))
    links = page.evaluate("[...document.querySelectorAll('a')].map(a => a.getAttribute('href').slice(1))")
    assert set(links) <= set(ids)
    page.close()


def test_print_keeps_the_verdict_and_drops_the_drill_down(browser: Browser, report: Path) -> None:
    page = _open(browser, report)
    page.emulate_media(media="print")
    assert page.locator("#verdict").is_visible()
    assert not page.locator("#jobs").is_visible()
    # As wide as a sheet between its margins: what is wider than that is cut off.
    page.set_viewport_size({"width": 718, "height": 1000})
    assert page.evaluate("document.documentElement.scrollWidth") <= 718
    assert page.locator("svg.wide").first.is_visible()
    page.close()


def test_the_first_stop_of_the_keyboard_leads_to_the_verdict(browser: Browser, report: Path) -> None:
    page = _open(browser, report)
    page.keyboard.press("Tab")
    assert page.evaluate("document.activeElement.textContent") == "Skip to the verdict"
    assert page.locator(".skip").bounding_box()["x"] >= 0  # type: ignore[index]
    page.keyboard.press("Enter")
    assert page.url.endswith("#verdict")
    page.close()
