"""The live page's server: four pages, what changed of each, and the files that they load."""

import asyncio
import json
import logging
import secrets
import signal
from collections.abc import Hashable
from pathlib import Path
from typing import Any
from urllib.parse import quote

from aiohttp import web
from aiohttp.typedefs import Handler
from markupsafe import Markup

from orchestrator import reports
from orchestrator.domain.errors import NotFound
from orchestrator.settings import Settings
from orchestrator.storage.engine import Database
from orchestrator.web.fleet import FleetReader
from orchestrator.web.gate import Door, add_routes, middlewares
from orchestrator.web.looks import Look, experiment_reader, job_reader, list_reader
from orchestrator.web.render import matrix, page, signs
from orchestrator.web.source import TICK_SECONDS, Shown, Sources

log = logging.getLogger("bakeoff.web")

_STATIC = Path(__file__).parent / "static"
_COLOURS = Path(reports.__file__).parent / "templates" / "colours.css"
# Pages that were looked at last and are kept up to date by what moved.
_MOST_EXPERIMENTS, _MOST_JOBS = 16, 64
# Nothing that is sent to this server is long.
_MOST_BYTES = 8192
_MAX_ID = 2**31 - 1


class LivePage:
    """Answers requests. `_epoch` tells this process from an earlier one, whose versions mean nothing here."""

    def __init__(self, settings: Settings, database: Database) -> None:
        fleet = FleetReader(database)
        self._epoch = secrets.token_hex(4)
        self._lists = Sources[Look](lambda _: list_reader(database, fleet), 1)
        self._experiments = Sources[Look](
            lambda name: experiment_reader(database, fleet, str(name)), _MOST_EXPERIMENTS
        )

        def of_job(key: Hashable) -> Any:
            assert isinstance(key, tuple)  # made by _job
            return job_reader(database, fleet, settings, key[0], agent_text=key[1])

        self._jobs = Sources[Look](of_job, _MOST_JOBS)

    def add_routes(self, app: web.Application) -> None:
        """The pages and their changes."""
        app.router.add_get("/", self._list_page)
        app.router.add_get("/changes", self._list_changes)
        app.router.add_get("/experiments/{name}", self._experiment_page)
        app.router.add_get("/experiments/{name}/changes", self._experiment_changes)
        app.router.add_get(r"/jobs/{id:\d{1,10}}", self._job_page)
        app.router.add_get(r"/jobs/{id:\d{1,10}}/changes", self._job_changes)
        app.router.add_get("/healthcheck", _healthy)
        app.router.add_get("/static/colours.css", _colours)
        app.router.add_static("/static/", _STATIC)

    async def _list_page(self, request: web.Request) -> web.Response:
        shown = await self._lists.look("")
        return self._page("page", shown, "/changes", "list", "Experiments", order=("experiments", "fleet"))

    async def _list_changes(self, request: web.Request) -> web.Response:
        return self._changes(request, await self._lists.look(""), "list")

    async def _experiment_page(self, request: web.Request) -> web.Response:
        name = request.match_info["name"]
        shown = await self._experiments.look(name)
        view = shown.value.view if shown.value else None
        number = request.query.get("page", "1")
        grid = (
            matrix(view, int(number) if number.isascii() and number.isdigit() and len(number) < 7 else 1)
            if view
            else None
        )
        return await asyncio.to_thread(
            self._page,
            "experiment",
            shown,
            f"{request.rel_url.raw_path}/changes",
            view.layout if view else "none",
            name,
            trail=((name, ""),),
            grid=grid,
            signs=signs(view) if view else {},
        )

    async def _experiment_changes(self, request: web.Request) -> web.Response:
        shown = await self._experiments.look(request.match_info["name"])
        view = shown.value.view if shown.value else None
        return self._changes(request, shown, view.layout if view else "none")

    async def _job_page(self, request: web.Request) -> web.Response:
        shown = await self._job(request)
        path = f"{request.path}/changes" + ("?agent-text=shown" if _agent_text(request) else "")
        look = shown.value
        trail = ((look.experiment, f"/experiments/{quote(look.experiment)}"), (look.title, "")) if look else ()
        order = ("head", "stages", "guards", "checks", "attempts", "transcript", "events")
        title = look.title if look else f"job {request.match_info['id']}"
        return self._page("page", shown, path, "job" if look else "none", title, trail=trail, order=order, kind="job")

    async def _job_changes(self, request: web.Request) -> web.Response:
        shown = await self._job(request)
        return self._changes(request, shown, "job" if shown.value else "none")

    async def _job(self, request: web.Request) -> Shown[Look]:
        number = int(request.match_info["id"])
        if number > _MAX_ID:
            raise NotFound(f"no job {number}")
        return await self._jobs.look((number, _agent_text(request)))

    def _page(
        self, template: str, shown: Shown[Look], changes: str, layout: str, title: str, **values: object
    ) -> web.Response:
        look = shown.value
        defaults: dict[str, object] = {"trail": (), "order": (), "kind": template}
        text = page(
            template,
            **defaults | values,
            title=title,
            changes=changes,
            layout=layout,
            since=self._since(look),
            at=shown.read_at or shown.away_since,
            away=away_text(shown),
            sections=_safe(look.sections) if look else {},
        )
        answer = web.Response(text=text, content_type="text/html")
        answer.enable_compression()
        return answer

    def _since(self, look: Look | None) -> str:
        if look is None:
            return f"{self._epoch}.-1.-1"
        return f"{self._epoch}.{look.view.version if look.view else 0}.{look.tick}"

    def _changes(self, request: web.Request, shown: Shown[Look], layout: str) -> web.Response:
        """What somebody who has seen `since` does not have, as JSON."""
        look = shown.value
        document: dict[str, Any] = {
            "since": self._since(look),
            "at": f"{shown.read_at:%H:%M:%S}" if shown.read_at else "",
            "away": away_text(shown),
            "rest": round(1000 * TICK_SECONDS),
            "reload": layout != request.query.get("layout"),
        }
        if look is not None and not document["reload"]:
            version, tick = self._versions(request.query.get("since", ""))
            document["sections"] = look.changed_since(tick)
            document["spoken"] = look.spoken
            if look.view is not None:
                moved = look.view.moved_since(version)
                document["cells"] = [[job.job_id, job.word, job.title] for job in moved]
                document["signs"] = signs(look.view) if moved else {}
        answer = web.Response(text=json.dumps(document), content_type="application/json")
        answer.enable_compression()
        return answer

    def _versions(self, since: str) -> tuple[int, int]:
        """What the viewer has; nothing, where it has it from another process."""
        epoch, _, rest = since.partition(".")
        numbers = rest.split(".")
        if epoch != self._epoch or len(numbers) != 2 or not all(one.isascii() and one.isdigit() for one in numbers):
            return -1, -1
        return int(numbers[0]), int(numbers[1])


def away_text(shown: Shown[Look]) -> str:
    """That the database does not answer, since when, and how old is what is shown; empty when it does."""
    if shown.away_since is None:
        return ""
    old = f" What is shown is of {shown.read_at:%H:%M:%S} UTC." if shown.read_at else ""
    since = f"The database cannot be reached since {shown.away_since:%Y-%m-%d %H:%M:%S} UTC."
    return f"{since}{old} It is tried again every second. ({shown.fault})"


def _safe(sections: Any) -> dict[str, Any]:
    """Rendered before, escaping included."""
    return {name: Markup(html) for name, html in sections.items()}  # noqa: S704


def _page_number(request: web.Request) -> int:
    asked = request.query.get("page", "1")
    return int(asked) if asked.isascii() and asked.isdigit() and len(asked) < 7 else 1


def _agent_text(request: web.Request) -> bool:
    return request.query.get("agent-text") == "shown"


async def _colours(_: web.Request) -> web.FileResponse:
    return web.FileResponse(_COLOURS)


async def _healthy(request: web.Request) -> web.Response:
    """Says "OK" and nothing else, so that a supervisor can ask without a password."""
    return web.Response(text="OK")


@web.middleware
async def _faults(request: web.Request, handler: Handler) -> web.StreamResponse:
    """What is not there, as a page."""
    try:
        found = await handler(request)
    except (NotFound, web.HTTPNotFound) as error:
        text = str(error) if isinstance(error, NotFound) else "No such page."
        html = page("fault", title="Not found", text=text)
        return web.Response(text=html, content_type="text/html", status=404)
    return found


def make_app(settings: Settings, database: Database, door: Door) -> web.Application:
    """The whole application."""
    app = web.Application(middlewares=[*middlewares(door), _faults], client_max_size=_MOST_BYTES)
    add_routes(app, door)
    LivePage(settings, database).add_routes(app)
    return app


async def serve(app: web.Application, address: str, port: int) -> None:
    """Until TERM or Ctrl-C. Raises OSError when the port is taken."""
    stop = asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(number, stop.set)
    runner = web.AppRunner(app, access_log=None, shutdown_timeout=2.0)
    await runner.setup()
    try:
        await web.TCPSite(runner, address, port).start()
        log.info("web_ready address=%s port=%d", address, port)
        await stop.wait()
    finally:
        await runner.cleanup()
