"""Makes the pictures of the documents anew, by the program itself: `make pictures`, after `make demo`.

A picture is a page, opened in Chromium in a window of a size, in light or dark. Others are one line in the table.
"""

import argparse
import os
import shutil
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from playwright.sync_api import Browser, sync_playwright

from orchestrator.cli.report import write_report
from orchestrator.storage.engine import Database
from orchestrator.storage.evidence import experiment_names
from tests.support.chromium import ARGUMENTS

ROOT = Path(__file__).resolve().parents[1]
DEMO = ROOT / ".bakeoff/demo/home"
IMAGES = ROOT / "docs" / "images"


@dataclass(frozen=True, kw_only=True)
class Picture:
    """`page` is a URL, or the name of a page that `_pages` makes. `at` is the id of the element at the top."""

    name: str
    page: str
    width: int = 1280
    height: int = 1500
    scheme: Literal["light", "dark"] = "light"
    at: str = ""


PICTURES = (
    Picture(name="report", page="report", height=1800),
    Picture(name="report-dark", page="report", height=1800, scheme="dark"),
    Picture(name="report-phone", page="report", width=390, height=1400),
    Picture(name="report-night", page="report", at="night", height=900),
    Picture(name="report-night-dark", page="report", at="night", height=900, scheme="dark"),
)


def main() -> int:
    """Make them all, or those that are named; 1 where something is missing."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("names", nargs="*", help="pictures to make; default: all")
    parser.add_argument("--home", type=Path, default=DEMO, help="a home with a results database")
    args = parser.parse_args()
    wanted = [one for one in PICTURES if not args.names or one.name in args.names]
    database = args.home / "bakeoff.db"
    program = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
    if program is None or not database.exists():
        missing = "chromium is not on PATH" if program is None else f"there is no {database}: `make demo` makes it"
        sys.stderr.write(f"no pictures: {missing}\n")
        return 1
    pages = _pages(database, args.home)
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=program, args=ARGUMENTS)
        for one in wanted:
            _make(browser, one, pages.get(one.page, one.page))
            sys.stdout.write(f"{os.path.relpath(IMAGES / one.name)}.png\n")
        browser.close()
    return 0


def _pages(database: Path, home: Path) -> dict[str, str]:
    """The pages that are made of the results, by name."""
    opened = Database(f"sqlite:///{database}")
    page = home / "pictures" / "report.html"
    write_report(opened, experiment_names(opened)[0], page)
    opened.close()
    return {"report": page.as_uri()}


def _make(browser: Browser, one: Picture, url: str) -> None:
    page = browser.new_page(viewport={"width": one.width, "height": one.height}, color_scheme=one.scheme)
    page.goto(url)
    if one.at:
        page.evaluate("id => document.getElementById(id).scrollIntoView()", one.at)
    page.screenshot(path=IMAGES / f"{one.name}.png")
    page.close()


if __name__ == "__main__":
    sys.exit(main())
