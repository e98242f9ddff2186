"""What stands before the two Gradio pages: language of the page, headers that keep everything on this machine, the login.

Pure ASGI, because replies are streamed. Gradio takes the language of its own words from the browser; a line of script at the
head of each page tells it the page's language instead.
"""

from __future__ import annotations

import hmac
import re
import secrets
import time
from collections.abc import Awaitable, Callable, MutableMapping
from html import escape
from http.cookies import SimpleCookie
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs

from .words import LANGS, load

Scope = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[MutableMapping[str, Any]]]
Send = Callable[[MutableMapping[str, Any]], Awaitable[None]]
App = Callable[[Scope, Receive, Send], Awaitable[None]]
COOKIE = "hearme_studio"
LOCAL = {"127.0.0.1", "localhost", "::1", "[::1]"}
POLICY = (
    "default-src 'self'; script-src 'self' 'unsafe-inline' 'unsafe-eval' blob:; style-src 'self' 'unsafe-inline'; img-src 'self' data: blob:; "
    "font-src 'self' data:; connect-src 'self'; media-src 'self' blob:; worker-src 'self' blob:; frame-ancestors 'none'; base-uri 'self'; form-action 'self'"
)
"""Nothing is fetched from elsewhere, whatever a page says. Gradio needs inline scripts."""
HEADERS = {"content-security-policy": POLICY, "x-content-type-options": "nosniff", "referrer-policy": "no-referrer"}
_META = re.compile(r'<meta\s+(?:property|name)="(?:og|twitter):[^>]*>\s*')
WRONG_S = 1.0
"""Delay after a wrong password; attempts are answered one at a time, so guessing is slow."""


class Front:
    """The outermost layer of the studio.

    Args:
        app: what is served behind it.
        lang: the language at `/`.
        password: asked for before anything else; empty: no login (127.0.0.1 only).
        hosts: names under which the studio may be addressed (against DNS rebinding); None: any.
    """

    def __init__(self, app: App, lang: str, password: str = "", hosts: set[str] | None = None) -> None:
        self.app, self.lang, self.password, self.hosts = app, lang, password, hosts
        self._sessions: set[str] = set()
        self._next_try = 0.0
        self._script = Path(__file__).with_name("studio.js").read_text(encoding="utf-8")

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one request."""
        if scope["type"] == "websocket":  # no page of ours opens one, and the login does not reach there
            await send({"type": "websocket.close", "code": 1008})
            return
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        path: str = scope["path"]
        headers = {k.decode("latin-1"): v.decode("latin-1") for k, v in scope["headers"]}
        host = headers.get("host", "").rsplit(":", 1)[0]
        if self.hosts is not None and host not in self.hosts:
            await _reply(send, 403, "text/plain", "expected to be addressed as 127.0.0.1 or localhost")
        elif path == "/login":
            await self._login(scope, receive, send)
        elif self.password and not self._known(headers.get("cookie", "")):
            await _reply(send, 303, "text/plain", "", ("location", f"/login?lang={self._page_lang(path)}"))
        elif path == "/":
            query = scope.get("query_string", b"").decode("latin-1")
            await _reply(send, 307, "text/plain", "", ("location", f"/{self.lang}/" + (f"?{query}" if query else "")))
        elif path.strip("/") in LANGS and scope["method"] == "GET":
            await self._page(path.strip("/"), scope, receive, send)
        else:
            await self.app(scope, receive, _with_headers(send))

    def _page_lang(self, path: str) -> str:
        first = path.strip("/").split("/")[0]
        return first if first in LANGS else self.lang

    def _known(self, cookies: str) -> bool:
        jar = SimpleCookie(cookies)
        return COOKIE in jar and jar[COOKIE].value in self._sessions

    async def _page(self, lang: str, scope: Scope, receive: Receive, send: Send) -> None:
        """Gradio's page, told its language before any of its scripts runs."""
        start: MutableMapping[str, Any] = {}
        body = bytearray()

        async def collect(message: MutableMapping[str, Any]) -> None:
            if message["type"] == "http.response.start":
                start.update(message)
            else:
                body.extend(message.get("body", b""))

        await self.app(scope, receive, collect)
        text = bytes(body).decode("utf-8", "replace")
        tag = {"zh": "zh-CN", "en": "en"}[lang]
        script = f"<script>window.hearmeLang={tag!r};{self._script}</script>"
        text = _META.sub("", text).replace('lang="en"', f'lang="{tag}"', 1).replace("<head>", f"<head>{script}", 1)
        kept = [(k, v) for k, v in start.get("headers", []) if k.lower() not in (b"content-length", b"content-type")]
        content = (b"content-type", b"text/html; charset=utf-8")
        await _with_headers(send)(
            {"type": "http.response.start", "status": start.get("status", 500), "headers": [*kept, content]}
        )
        await send({"type": "http.response.body", "body": text.encode()})

    async def _login(self, scope: Scope, receive: Receive, send: Send) -> None:
        asked = parse_qs(scope.get("query_string", b"").decode("latin-1")).get("lang", [self.lang])[0]
        lang = asked if asked in LANGS else self.lang
        if scope["method"] != "POST":
            await _reply(send, 200, "text/html; charset=utf-8", _login_page(lang, wrong=False))
            return
        body = b""
        while True:
            message = await receive()
            body += message.get("body", b"")
            if not message.get("more_body") or len(body) > 10_000:
                break
        given = parse_qs(body[:10_000].decode("utf-8", "replace")).get("password", [""])[0]
        if time.monotonic() >= self._next_try and hmac.compare_digest(given.encode(), self.password.encode()):
            token = secrets.token_urlsafe(32)
            self._sessions.add(token)
            cookie = f"{COOKIE}={token}; HttpOnly; SameSite=Strict; Path=/; Max-Age=86400"
            await _reply(send, 303, "text/plain", "", ("location", f"/{lang}/"), ("set-cookie", cookie))
            return
        self._next_try = time.monotonic() + WRONG_S
        await _reply(send, 403, "text/html; charset=utf-8", _login_page(lang, wrong=True))


def _login_page(lang: str, wrong: bool) -> str:
    w = load(lang)
    other = next(x for x in LANGS if x != lang)
    style = Path(__file__).with_name("login.css").read_text(encoding="utf-8")
    said = f'<p role="alert">{escape(w("login.wrong"))}</p>' if wrong else ""
    return (
        f'<!doctype html><html lang="{lang}"><head><meta charset="utf-8"><meta name="viewport" content="width=device-width, initial-scale=1">'
        f"<title>{escape(w('title'))}</title><style>{style}</style></head><body><main><h1>{escape(w('title'))}</h1><p>{escape(w('login.lead'))}</p>{said}"
        f'<form method="post" action="/login?lang={lang}"><label for="p">{escape(w("login.password"))}</label>'
        f'<input id="p" name="password" type="password" autocomplete="current-password" required autofocus><button>{escape(w("login.do"))}</button></form>'
        f'<a href="/login?lang={other}" lang="{other}">{escape(w("other"))}</a></main></body></html>'
    )


def _with_headers(send: Send) -> Send:
    async def sender(message: MutableMapping[str, Any]) -> None:
        if message["type"] == "http.response.start":
            have = {k.lower() for k, _ in message.get("headers", [])}
            more = [(k.encode(), v.encode()) for k, v in HEADERS.items() if k.encode() not in have]
            message = {**message, "headers": [*message.get("headers", []), *more]}
        await send(message)

    return sender


async def _reply(send: Send, status: int, kind: str, text: str, *headers: tuple[str, str]) -> None:
    lines = [(b"content-type", kind.encode()), *((k.encode(), v.encode()) for k, v in headers)]
    await _with_headers(send)({"type": "http.response.start", "status": status, "headers": lines})
    await send({"type": "http.response.body", "body": text.encode()})
