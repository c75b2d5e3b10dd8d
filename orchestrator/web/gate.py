"""Stands before every page: which host was asked for, who is logged in, and the headers that every answer carries."""

import logging
import math
from dataclasses import dataclass
from urllib.parse import quote, urlsplit

from aiohttp import web
from aiohttp.typedefs import Handler, Middleware

from orchestrator.clock import boot_seconds, utc_now
from orchestrator.web.access import SESSION_SECONDS, Brake, Login, is_known_host, safe_path
from orchestrator.web.render import page

log = logging.getLogger("bakeoff.web")

# Ours to the last byte, and nothing of an experiment in it.
_OPEN_PATHS = ("/login", "/healthcheck")
_OPEN_FOLDER = "/static/"
# Scripts, styles and pictures of ours alone; nobody may frame a page, and no form may send a password elsewhere.
_HEADERS = {
    "Content-Security-Policy": "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; "
    "connect-src 'self'; form-action 'self'; base-uri 'none'; frame-ancestors 'none'",
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "DENY",
    "Referrer-Policy": "same-origin",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Permissions-Policy": "camera=(), geolocation=(), microphone=()",
    "Cache-Control": "no-store",
    "Server": "bakeoff",
}


@dataclass(frozen=True, kw_only=True)
class Door:
    """Who may come in. `names` are the host names that count; `https`: the page is reached through TLS."""

    login: Login
    brake: Brake
    names: frozenset[str]
    https: bool

    @property
    def cookie(self) -> str:
        """The session's name. Through TLS browsers then take it from this very host alone."""
        return ("__Host-" if self.https else "") + self.login.cookie


@web.middleware
async def _headers(request: web.Request, handler: Handler) -> web.StreamResponse:
    try:
        response = await handler(request)
    except web.HTTPException as answer:
        answer.headers.update(_HEADERS)
        raise
    response.headers.update(_HEADERS)
    return response


def middlewares(door: Door) -> list[Middleware]:
    """In the order in which a request passes them."""

    @web.middleware
    async def host(request: web.Request, handler: Handler) -> web.StreamResponse:
        if not is_known_host(request.headers.get("Host", ""), door.names):
            text = "This server is not known under that name: start `bakeoff web` with --url for a name of its own.\n"
            return web.Response(status=421, text=text)
        return await handler(request)

    @web.middleware
    async def session(request: web.Request, handler: Handler) -> web.StreamResponse:
        is_open = request.path in _OPEN_PATHS or request.path.startswith(_OPEN_FOLDER)
        if is_open or door.login.admits(request.cookies.get(door.cookie, ""), utc_now().timestamp()):
            return await handler(request)
        if request.path.endswith("/changes") or request.method != "GET":
            return web.Response(status=401, text="Log in again.\n")
        raise web.HTTPSeeOther(f"/login?next={quote(request.path_qs)}")

    return [_headers, host, session]


def add_routes(app: web.Application, door: Door) -> None:
    """The login and the logout."""

    async def ask(request: web.Request) -> web.Response:
        return _form(request.query.get("next", "/"))

    async def enter(request: web.Request) -> web.Response:
        _same_site(request)
        form = await request.post()
        user, password, path = (str(form.get(name, "")) for name in ("user", "password", "next"))
        peer, now = request.remote or "", boot_seconds()
        if (wait := door.brake.wait_seconds(peer, now)) > 0:
            log.warning("login_delayed peer=%s seconds=%.0f", peer, wait)
            answer = _form(path, f"Too many tries: wait {math.ceil(wait)} s and try again.", user, 429)
            answer.headers["Retry-After"] = str(math.ceil(wait))
            return answer
        if not door.login.knows(user, password):
            door.brake.failed(peer, now)
            log.warning("login_refused peer=%s", peer)
            return _form(path, "User or password is wrong.", user, 401)
        door.brake.succeeded(peer)
        log.info("login peer=%s", peer)
        found = web.Response(status=303, headers={"Location": safe_path(path)})
        found.set_cookie(
            door.cookie,
            door.login.session(utc_now().timestamp()),
            max_age=int(SESSION_SECONDS),
            httponly=True,
            secure=door.https,
            samesite="Lax",
            path="/",
        )
        return found

    async def leave(request: web.Request) -> web.Response:
        _same_site(request)
        answer = web.Response(status=303, headers={"Location": "/login"})
        answer.del_cookie(door.cookie, path="/", secure=door.https)
        return answer

    app.router.add_get("/login", ask)
    app.router.add_post("/login", enter)
    app.router.add_post("/logout", leave)


def _same_site(request: web.Request) -> None:
    """A form of another site may neither log anybody in nor out."""
    origin = request.headers.get("Origin")
    if origin is not None and urlsplit(origin).netloc != request.headers.get("Host"):
        raise web.HTTPForbidden(text="This form was sent from another site.\n")


def _form(path: str, fault: str = "", user: str = "", status: int = 200) -> web.Response:
    text = page("login", next=safe_path(path), fault=fault, user=user)
    return web.Response(text=text, content_type="text/html", status=status)
