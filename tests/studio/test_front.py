"""The layer before the pages: language, headers, hosts, login; and the charts and markup, which escape what comes from outside."""

from __future__ import annotations

import asyncio

import httpx
import pytest

from hearmeglm.errors import DataError, UserError
from hearmeglm.studio import charts, markup, serve, words
from hearmeglm.studio.front import LOCAL, Front

PAGE = '<!doctype html><html lang="en"><head><meta property="og:image" content="https://elsewhere/x.png" /></head><body>page</body></html>'


async def _inner(scope, receive, send):
    await send(
        {
            "type": "http.response.start",
            "status": 200,
            "headers": [(b"content-type", b"text/html"), (b"content-length", b"3")],
        }
    )
    await send({"type": "http.response.body", "body": PAGE.encode()})


def _ask(front, path, method="GET", host="127.0.0.1:7860", **kwargs):
    async def go():
        transport = httpx.ASGITransport(app=front)
        async with httpx.AsyncClient(transport=transport, base_url=f"http://{host}") as client:
            return await client.request(method, path, **kwargs)

    return asyncio.run(go())


def test_each_page_is_told_its_language_and_fetches_nothing_elsewhere():
    front = Front(_inner, "zh")
    zh, en = _ask(front, "/zh/"), _ask(front, "/en/")
    assert 'lang="zh-CN"' in zh.text
    assert "hearmeLang='en'" in en.text
    assert "elsewhere" not in zh.text
    assert "default-src 'self'" in zh.headers["content-security-policy"]


def test_the_root_leads_to_the_language_and_keeps_the_query():
    reply = _ask(Front(_inner, "en"), "/?run=a")
    assert (reply.status_code, reply.headers["location"]) == (307, "/en/?run=a")


def test_other_host_names_are_refused():
    assert _ask(Front(_inner, "zh", hosts=LOCAL), "/zh/", host="evil.example").status_code == 403


def test_no_websocket_passes_by_the_login():
    sent, reached = [], []

    async def app(scope, receive, send):
        reached.append(scope)

    async def send(message):
        sent.append(message)

    asyncio.run(
        Front(app, "zh", "correct horse battery")({"type": "websocket", "path": "/", "headers": []}, None, send)
    )
    assert not reached
    assert sent == [{"type": "websocket.close", "code": 1008}]


def test_login_before_anything():
    front = Front(_inner, "zh", "correct horse battery")
    assert _ask(front, "/en/config").headers["location"] == "/login?lang=en"
    assert 'type="password"' in _ask(front, "/login?lang=en").text
    wrong = _ask(front, "/login?lang=zh", "POST", data={"password": "guess"})
    assert wrong.status_code == 403
    front._next_try += 60.0  # however slow this machine is
    assert _ask(front, "/login", "POST", data={"password": "correct horse battery"}).status_code == 403, (
        "too soon after a wrong one"
    )
    front._next_try = 0.0
    right = _ask(front, "/login", "POST", data={"password": "correct horse battery"})
    cookie = right.headers["set-cookie"].split(";")[0]
    assert "HttpOnly" in right.headers["set-cookie"]
    assert _ask(front, "/zh/", headers={"cookie": cookie}).status_code == 200
    assert _ask(front, "/zh/", headers={"cookie": "hearme_studio=forged"}).status_code == 303


def test_passwords(monkeypatch):
    monkeypatch.delenv(serve.PASSWORD, raising=False)
    assert serve.password_for("127.0.0.1", False) == ""
    assert len(serve.password_for("0.0.0.0", False)) >= serve.SHORTEST
    monkeypatch.setenv(serve.PASSWORD, "short")
    with pytest.raises(UserError, match="at least"):
        serve.password_for("0.0.0.0", False)


def test_what_comes_from_outside_is_escaped():
    bad = "<script>alert(1)</script>"
    zh = words.load("zh")
    pages = [
        markup.table([bad], [[bad, bad]], bad), markup.notice(bad, "bad", bad), markup.problem(zh, DataError(bad, where=bad, hint=bad)),
        markup.marked(bad, "x"), charts.lines({bad: [(1, 1), (2, 2)]}, bad, bad), charts.bars({bad: 1}, bad), charts.histogram([1, 2], bad, bad),
    ]  # fmt: skip
    assert all("<script" not in p for p in pages)


def test_errors_are_told_in_both_languages():
    err = DataError("expected JSON, found x", where="a.json:3", hint="check it")
    assert "位置：a.json:3" in markup.problem(words.load("zh"), err)
    assert "What to do: check it" in markup.problem(words.load("en"), err)


@pytest.mark.parametrize(("low", "high"), [(0, 1), (3, 3), (0.00003, 0.0004), (0, 12345), (-2, 5)])
def test_ticks_enclose(low, high):
    marks = charts.ticks(low, high)
    assert marks[0] <= low + 1e-12
    assert marks[-1] >= high - 1e-12
    assert 2 <= len(marks) <= 8


def test_a_report_is_served_as_paper(tmp_path):
    from fastapi import FastAPI

    from hearmeglm.recipe_file import load_recipe
    from hearmeglm.run import RunDir
    from hearmeglm.studio.store import Store

    run = RunDir.create(tmp_path / "甲", load_recipe("demo"))
    (run.path / "report").mkdir()
    (run.path / "report" / "report.html").write_text("<h1>报告</h1>", encoding="utf-8")
    app = FastAPI()
    serve._serve_reports(app, Store(tmp_path))
    front = Front(app, "zh")
    reply = _ask(front, "/report/甲/report.html")
    assert "报告" in reply.text
    assert reply.headers["content-security-policy"].startswith("sandbox; default-src 'none'")
    assert _ask(front, "/report/甲/recipe.yaml").status_code == 404
    assert _ask(front, "/report/乙/report.html").status_code == 404
    assert _ask(front, "/report/..%2f甲/report.html").status_code == 404
