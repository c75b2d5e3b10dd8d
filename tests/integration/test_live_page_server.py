"""The live page's server over HTTP: closed to strangers, the same on both databases, open about what is not there."""

import asyncio
import json
import re
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import aiohttp
import pytest
from aiohttp import ClientSession
from aiohttp.test_utils import TestServer

from orchestrator.clock import boot_seconds
from orchestrator.domain.check import CheckStatus
from orchestrator.settings import Settings, load_settings
from orchestrator.storage.artifacts import ArtifactStore
from orchestrator.storage.attempts import ArtifactRecord
from orchestrator.storage.engine import Database
from orchestrator.web.access import Brake, Login
from orchestrator.web.gate import Door
from orchestrator.web.server import make_app
from tests.support.live_page import SCRIPT, finish, make_matrix, start_now, work

PASSWORD = "canary-of-the-web-login"
PAGES = ("/", "/changes", "/experiments/greetings", "/experiments/greetings/changes", "/jobs/1", "/jobs/1/changes")
LOGIN_OF_ALL = Login("bakeoff", PASSWORD)
LOGIN = {"user": "bakeoff", "password": PASSWORD, "next": "/healthcheck"}


def settings_of(home: Path, machine: str = "box") -> Settings:
    return load_settings({"BAKEOFF_HOME": str(home), "BAKEOFF_MACHINE": machine})


def visit(
    database: Database,
    home: Path,
    story: Callable[[ClientSession], Awaitable[None]],
    *,
    https: bool = False,
    brake: Brake | None = None,
) -> None:
    """Play a story against the server, by somebody who is not logged in."""

    async def play() -> None:
        door = Door(login=LOGIN_OF_ALL, brake=brake or Brake(), names=frozenset(), https=https)
        other = Database(database.url.render_as_string(hide_password=False))
        server = TestServer(make_app(settings_of(home), other, door))
        await server.start_server()
        jar = aiohttp.CookieJar(unsafe=True)
        try:
            async with ClientSession(server.make_url("/"), cookie_jar=jar) as session:
                await story(session)
        finally:
            await server.close()
            other.close()

    asyncio.run(play())


async def text_of(session: ClientSession, path: str) -> str:
    async with session.get(path) as answer:
        assert answer.status == 200, path
        return await answer.text()


async def changes_of(session: ClientSession, path: str, since: str = "") -> dict[str, Any]:
    """What a viewer of the page gets who has this version of it."""
    html = await text_of(session, path)
    marks = {name: re.findall(f'data-{name}="(.*?)"', html)[0] for name in ("since", "layout")}
    text = await text_of(session, f"{path}/changes?since={since or marks['since']}&layout={marks['layout']}")
    found: dict[str, Any] = json.loads(text)
    return found


async def news_with(session: ClientSession, path: str, cell: list[object]) -> dict[str, Any]:
    """Ask until this cell is among the news."""
    for _ in range(600):
        news: dict[str, Any] = json.loads(await text_of(session, path))
        if cell in news["cells"]:
            return news
        await asyncio.sleep(0.1)
    raise AssertionError(f"{cell} never came: {news}")


def test_strangers_see_a_login_and_nothing_else(sqlite_databases: Any, tmp_path: Path) -> None:
    async def story(session: ClientSession) -> None:
        for path in (*PAGES, "/nothing", "/experiments/%3Cb%3E"):
            async with session.get(path, allow_redirects=False) as answer:
                assert answer.status in (303, 401), path
                assert "greetings" not in (await answer.text()) or "login" in answer.headers.get("Location", "")
        for method in ("POST", "PUT", "DELETE", "PATCH"):
            async with session.request(method, "/jobs/1") as answer:
                assert answer.status == 401
        assert await text_of(session, "/healthcheck") == "OK"
        for wrong in ({"password": "x"}, {"user": "root"}, {"password": ""}):
            async with session.post("/login", data=LOGIN | wrong) as answer:
                assert answer.status == 401
                assert not answer.cookies
                assert "User or password is wrong." in await answer.text()
        forged = f"9999999999.{'0' * 64}"
        async with session.get(
            "/", headers={"Cookie": f"{LOGIN_OF_ALL.cookie}={forged}"}, allow_redirects=False
        ) as answer:
            assert answer.status == 303

    with sqlite_databases.fresh() as database:
        make_matrix(database)
        visit(database, tmp_path, story)


def test_guessing_is_braked_and_another_sites_form_is_refused(sqlite_databases: Any, tmp_path: Path) -> None:
    async def story(session: ClientSession) -> None:
        async with session.post("/login", data=LOGIN, headers={"Origin": "http://evil.org"}) as answer:
            assert answer.status == 403
        for _ in range(5):
            async with session.post("/login", data=LOGIN | {"password": "guess"}) as answer:
                assert answer.status == 401
        assert brake.wait_seconds("127.0.0.1", 0.0) > 0, "they were counted"
        for _ in range(7):
            brake.failed("127.0.0.1", boot_seconds())
        async with session.post("/login", data=LOGIN) as answer:
            assert answer.status == 429, "the right password has to wait too"
            assert int(answer.headers["Retry-After"]) >= 1
        async with session.post("/login", data={"password": "x" * 20_000}) as answer:
            assert answer.status == 413

    brake = Brake()
    with sqlite_databases.fresh() as database:
        visit(database, tmp_path, story, brake=brake)


@pytest.mark.parametrize("https", [False, True])
def test_the_session_is_a_cookie_that_scripts_and_other_sites_do_not_get(
    sqlite_databases: Any, tmp_path: Path, https: bool
) -> None:
    async def story(session: ClientSession) -> None:
        async with session.post("/login", data=LOGIN | {"next": "//evil.org"}, allow_redirects=False) as answer:
            [(name, cookie)] = answer.cookies.items()
            assert name == ("__Host-" if https else "") + LOGIN_OF_ALL.cookie
            assert (answer.status, answer.headers["Location"]) == (303, "/")
            assert (cookie["httponly"], cookie["samesite"], cookie["path"]) == (True, "Lax", "/")
            assert bool(cookie["secure"]) is https
        headers = {"Cookie": f"{name}={cookie.value}"}
        async with session.get("/experiments/greetings", headers=headers) as answer:
            assert answer.status == 200
            assert "default-src 'none'" in answer.headers["Content-Security-Policy"]
            assert "unsafe" not in answer.headers["Content-Security-Policy"]
            assert answer.headers["X-Frame-Options"] == "DENY"
            assert answer.headers["Cache-Control"] == "no-store"
            assert answer.headers["Server"] == "bakeoff"
        async with session.get("/", headers={**headers, "Host": "rebound.evil.org"}) as answer:
            assert answer.status == 421
            assert "greetings" not in await answer.text()
        async with session.get("/jobs/4000000000", headers=headers) as answer:
            assert answer.status == 404
        async with session.post("/jobs/1", headers=headers) as answer:
            assert answer.status == 405, "nothing can be changed"

    with sqlite_databases.fresh() as database:
        make_matrix(database)
        visit(database, tmp_path, story, https=https)


def test_an_update_brings_what_moved_and_a_new_viewer_everything(database: Database, tmp_path: Path) -> None:
    make_matrix(database)

    async def story(session: ClientSession) -> None:
        await session.post("/login", data=LOGIN)
        page = await text_of(session, "/experiments/greetings")
        assert page.count('<a id="j') == 8
        assert "0 of 8" in page
        first, second = await asyncio.to_thread(start_now, database)
        await asyncio.to_thread(work, database, first, 1)
        await asyncio.to_thread(finish, database, second, CheckStatus.FAIL)
        since, layout = (re.findall(f'data-{name}="(.*?)"', page)[0] for name in ("since", "layout"))
        path = f"/experiments/greetings/changes?since={since}&layout={layout}"
        news = await news_with(session, path, [second.job_id, "checks_failed", "#2 checks failed"])
        moved = {job: (word, title) for job, word, title in news["cells"]}
        assert moved[first.job_id] == ("running", "#1 running: build")
        assert ("queued", "#1 queued") in moved.values()
        assert news["signs"]["checks_failed"] == ["✗", "F", "bad"]
        assert "context" in news["sections"]["running"]
        assert len(moved) == 4, "the other cells look as they did, whatever their jobs wait for"
        again = await changes_of(session, "/experiments/greetings")
        assert (again["cells"], again["reload"]) == ([], False)
        everything = await changes_of(session, "/experiments/greetings", "00000000.7.7")
        assert len(everything["cells"]) == 8
        assert set(everything["sections"]) == {"summary", "running", "waiting", "fleet"}

    visit(database, tmp_path, story)


def test_a_job_shows_where_its_transcript_is_and_withholds_what_its_agent_wrote(
    database: Database, tmp_path: Path
) -> None:
    make_matrix(database)
    here, elsewhere = start_now(database)
    work(database, here, 1)
    store = ArtifactStore(settings_of(tmp_path).artifacts)
    kept = store.put(f"first\n{SCRIPT}\nlast line\n".encode())
    for claimed, sha256 in ((here, kept), (elsewhere, "f" * 64)):
        record = ArtifactRecord(name="01-build.transcript", kind="transcript", sha256=sha256, size_bytes=40)
        finish(database, claimed, CheckStatus.PASS, record)

    async def story(session: ClientSession) -> None:
        await session.post("/login", data=LOGIN)
        for job in (here.job_id, elsewhere.job_id):
            page = await text_of(session, f"/jobs/{job}")
            assert SCRIPT not in page
            assert "said 1" not in page
            assert "last line" not in page
            assert "I did it" not in page
            assert "withheld" in page
        shown = await text_of(session, f"/jobs/{here.job_id}?agent-text=shown")
        assert SCRIPT not in shown
        for text in (
            "last line",
            "said 1",
            "I did it",
            "[U+202E]",
            "&lt;script&gt;",
            "context 71 % of 100000",
            "71 %",
        ):
            assert text in shown, text
        missing = await text_of(session, f"/jobs/{elsewhere.job_id}?agent-text=shown")
        assert "artifact ffffffffffff is not in" in missing
        assert str(store.root) in missing

    visit(database, tmp_path, story)


def test_before_there_is_a_database_it_says_so_and_makes_none(tmp_path: Path) -> None:
    database = Database(f"sqlite:///{tmp_path / 'none.db'}")

    async def story(session: ClientSession) -> None:
        await session.post("/login", data=LOGIN)
        for path in ("/", "/experiments/greetings", "/jobs/1"):
            assert "is not there yet" in await text_of(session, path)
        assert json.loads(await text_of(session, "/changes?layout=list"))["away"].startswith("The database cannot")

    visit(database, tmp_path, story)
    assert not (tmp_path / "none.db").exists()
