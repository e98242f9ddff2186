"""The API: OpenAI's chat completions, models, health, metrics. Everything else stands in the modules beside this one."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncGenerator, AsyncIterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import aclosing, asynccontextmanager
from dataclasses import dataclass, field
from threading import Event
from typing import Annotated, Any, Literal

from fastapi import Depends, FastAPI, Header, Request, Response
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse
from fastapi.security import HTTPBearer
from starlette.exceptions import HTTPException
from starlette.middleware.cors import CORSMiddleware
from starlette.types import ASGIApp

from .. import __version__
from ..chat.guarded import GuardEvent
from ..chat.model import ChatModel, Chunk
from ..chat.sessions import SessionStore
from ..errors import Busy
from ..recipe import Sampling
from ..safety.guard import guard
from ..safety.hotlines import regions, warning
from ..safety.incidents import IncidentLog
from ..safety.policy import Policy, notice
from .answers import Answer
from .auth import KeyFile
from .errors import ApiError, from_exception
from .gate import Gate, log, place_of
from .limits import FairQueue, Limits, RateLimiter
from .metrics import CONTENT_TYPE, Metrics, server_metrics
from .replies import ClientLeft, EventStream, pieces, unless_gone
from .schema import ChatRequest, Completion, Disclosure, ErrorAnswer, Health, ModelCard, ModelList
from .talks import Talk, Talks

SESSION_NAME = r"^[\x21-\x7e]{1,128}$"
REGION = f"^({'|'.join(regions())})$"
PURGE_S = 3600.0
"""How often what is older than the retention is deleted, in seconds."""
END_S = 10.0
"""How long replies that were told to stop may take to do so before the server ends all the same, in seconds."""
_ERRORS: dict[int | str, dict[str, Any]] = {
    status: {"model": ErrorAnswer, "description": text}
    for status, text in {
        400: "The request is malformed or too long.",
        401: "No valid API key.",
        404: "No such model.",
        408: "The body came too slowly.",
        413: "The body is too large.",
        415: "The body is not application/json.",
        421: "Wrong Host header.",
        429: "Rate or queue limit; see Retry-After.",
        500: "A fault of this server.",
        502: "The model cannot answer.",
        504: "The reply took too long.",
    }.items()
}


@dataclass
class Serving:
    """What is served, and how.

    Attributes:
        model: answers; called from several threads at once; closed at the end, like the store.
        policy: the guard's region, notices and incident log; None: no guard.
        told: what the disclosure tells of storage and other machines where there is no guard.
        notices: False where the front end shows the policy's notices itself.
        keys: who may use it; None: anybody who can reach it.
        store: the session store; None: nothing is kept.
        origins: web origins that may call from a browser (CORS); none by default.
        hosts: names that the Host header may have; empty: any.
        defaults: sampling where a request names none.
    """

    model: ChatModel
    policy: Policy | None
    limits: Limits = field(default_factory=Limits)
    keys: KeyFile | None = None
    store: SessionStore | None = None
    notices: bool = True
    origins: tuple[str, ...] = ()
    hosts: tuple[str, ...] = ()
    told: Policy | None = None
    defaults: Sampling = field(default_factory=lambda: Sampling(temperature=0.7, top_p=0.9))


def build_app(serving: Serving) -> ASGIApp:
    """The ASGI application."""
    if serving.policy is not None:
        guard().prepare([("你好", "hello")])  # loaded before the first request waits for it
    metrics = server_metrics()
    queue = FairQueue(serving.limits.running, serving.limits.waiting)
    metrics.gauge("hearme_running", "Replies being made.", lambda: queue.running)
    metrics.gauge("hearme_waiting", "Requests waiting for their turn.", lambda: queue.waiting)
    pool = ThreadPoolExecutor(serving.limits.running, thread_name_prefix="reply")
    running: dict[asyncio.Future[None], Event] = {}

    @asynccontextmanager
    async def lifespan(_: FastAPI) -> AsyncIterator[None]:
        purge = asyncio.create_task(_purge(serving.store)) if serving.store else None
        yield
        if purge:
            purge.cancel()
        for stopped in running.values():
            stopped.set()
        close = getattr(serving.model, "close", None)
        if close:
            await asyncio.to_thread(close)  # replies that wait for the model's next token end with it
        if running:
            await asyncio.wait(running, timeout=END_S)
        pool.shutdown(wait=False, cancel_futures=True)
        if serving.store:
            serving.store.close()

    api = FastAPI(
        title="HearMeGLM",
        version=__version__,
        description="OpenAI-compatible chat with HearMeGLM's guard inside.",
        lifespan=lifespan,
        docs_url=None,  # Swagger and ReDoc load their scripts from elsewhere; /openapi.json stays
        redoc_url=None,
        redirect_slashes=False,
        responses=_ERRORS,
        dependencies=[Depends(HTTPBearer(auto_error=False))]
        if serving.keys is not None
        else None,  # for the description; Gate checks
    )
    _add_errors(api)
    _describe(api, serving)
    _add_pages(api, serving, queue, metrics)
    _add_chat(api, serving, queue, metrics, pool, running)
    app: ASGIApp = Gate(api, serving.limits, metrics, keys=serving.keys, hosts=serving.hosts)
    if serving.origins:
        app = CORSMiddleware(
            app,
            allow_origins=serving.origins,
            allow_methods=["GET", "POST"],
            allow_headers=["*"],  # origins are named, and there are no cookies
            expose_headers=["Retry-After", "X-Request-Id"],
        )
    return app


def _guard_state() -> Literal["on", "degraded", "closed"]:
    it = guard()
    return "closed" if it.broken else "degraded" if it.listener is not None and it.listener.why else "on"


def _add_pages(api: FastAPI, serving: Serving, queue: FairQueue, metrics: Metrics) -> None:
    card = ModelCard(id=serving.model.name, created=int(time.time()))

    @api.get("/v1/models")
    async def models() -> ModelList:
        """The served models."""
        return ModelList(data=[card])

    @api.get("/v1/models/{model:path}")
    async def model(model: str) -> ModelCard:
        """One served model."""
        if model != card.id:
            raise _no_model()
        return card

    @api.get("/health", responses={503: {"model": Health, "description": "No backend answers."}})
    async def health(response: Response) -> Health:
        """Whether this server can answer; needs no key."""
        healthy = getattr(serving.model, "healthy", None)
        ok = healthy is None or await asyncio.to_thread(healthy) > 0  # it may ask the backends
        response.status_code = 200 if ok else 503
        return Health(
            status="ok" if ok else "failing",
            model=card.id,
            guard="off" if serving.policy is None else _guard_state(),
            running=queue.running,
            waiting=queue.waiting,
        )

    @api.get("/v1/disclosure")
    async def disclosure(
        lang: Literal["zh", "en"] = "zh", x_region: Annotated[str | None, Header(pattern=REGION)] = None
    ) -> Disclosure:
        """What a front end shows at first use and asks consent for: what this is, who should not rely on it, what is stored."""
        policy = serving.policy or serving.told or Policy.model_validate({})
        policy = policy.model_copy(update={"region": x_region or policy.region})
        return Disclosure(
            first_use=policy.first_use(lang),
            start="\n".join([notice("start", policy.region, lang), *warning(policy.region, lang)]),
        )

    @api.get("/metrics", response_class=Response, responses={200: {"content": {"text/plain": {}}}})
    async def page() -> Response:
        """Counters in the Prometheus text format."""
        return Response(metrics.text(), headers={"Content-Type": CONTENT_TYPE})


def _add_chat(
    api: FastAPI,
    serving: Serving,
    queue: FairQueue,
    metrics: Metrics,
    pool: ThreadPoolExecutor,
    running: dict[asyncio.Future[None], Event],
) -> None:
    limits = serving.limits
    rate = RateLimiter(limits.per_minute if serving.keys is not None else 0, limits.burst)

    incidents = IncidentLog.of(serving.policy) if serving.policy else IncidentLog()

    def seen(event: GuardEvent, talk: Talk) -> None:
        metrics.add("hearme_guard_total", level=event.assessment.level, reply=event.intervened or "model")
        try:
            incidents.record(event.turn, text=talk.said.content if talk.said else "", consent=talk.consent)
        except OSError as err:  # a full disk must not keep the reply from somebody in danger
            log.error("the incident log cannot be written: %s", place_of(err))

    talks = Talks(serving.model, serving.policy, serving.store, seen, serving.notices)

    def admit(owner: str) -> Any:
        for reason, enter in (("rate", rate.take), ("queue", queue.enter)):
            try:
                place = enter(owner)
            except Busy:
                metrics.add("hearme_refused_total", reason=reason)
                raise
        return place

    @api.post(
        "/v1/chat/completions",
        response_model=Completion,
        responses={200: {"content": {"text/event-stream": {}}}},
    )
    async def chat(
        body: ChatRequest,
        request: Request,
        x_session_id: Annotated[str | None, Header(pattern=SESSION_NAME)] = None,
        x_region: Annotated[str | None, Header(pattern=REGION, description="Whose hotlines to show.")] = None,
        x_incident_consent: Annotated[
            str | None,
            Header(pattern="^(yes|no)$", description="Whether the client lets an incident hold its message."),
        ] = None,
    ) -> Any:
        """Answer a talk, whole or as server-sent events (`stream`). Closing the connection ends the reply."""
        if body.model != serving.model.name:
            raise _no_model()
        owner = request.scope.get("hearme.owner", "")
        session = x_session_id or body.user or None
        said, sampling = body.talk(limits), body.sampling(serving.defaults, limits)
        talk = Talk(owner, session, x_region, said, sampling, x_incident_consent == "yes")
        try:
            place = admit(owner)
        except Busy as err:
            raise from_exception(err) from None
        begun = time.monotonic()

        entered = answered = False

        async def chunks() -> AsyncGenerator[Chunk]:
            nonlocal entered
            entered = True  # from here on the place is left by `turn`, or by `pieces` when its thread is through
            await place.turn(limits.waiting_s)
            made = pieces(lambda stopped: talks.reply(talk, stopped), pool, place.leave, limits.reply_s, running)
            async with aclosing(made):
                async for chunk in made:
                    yield chunk

        stream = chunks()
        try:
            # the first piece decides about the status: an error before it is an HTTP error, not an event
            first = await unless_gone(request.receive, anext(stream))
            metrics.observe("hearme_first_token_seconds", time.monotonic() - begun)
            answer = Answer(stream, first, body, serving.model.name, metrics, begun)
            answered = True
            if body.stream:
                return EventStream(answer.events(), stream, lambda: metrics.add("hearme_cancelled_total"))
            return await unless_gone(request.receive, answer.whole())
        except ClientLeft:
            metrics.add("hearme_cancelled_total")
            return Response(status_code=499)  # nobody reads it
        except Exception as err:
            told = from_exception(err)
            if told.status >= 500:
                log.error("a reply failed: %s", place_of(err))
            raise told from None
        finally:
            if not answered:
                await stream.aclose()
            if not entered:
                place.leave()


def _add_errors(api: FastAPI) -> None:
    def answer(err: ApiError) -> JSONResponse:
        return JSONResponse(err.body(), err.status, err.headers())

    @api.exception_handler(RequestValidationError)
    async def invalid(_: Request, err: RequestValidationError) -> JSONResponse:
        fault = err.errors()[0]
        place = ".".join(str(p) for p in fault["loc"][1:]) or "body"
        message = "the body is not JSON" if fault["type"] == "json_invalid" else f"{place}: {fault['msg']}"
        return answer(ApiError(400, message[:300], "invalid_request", param=place[:100]))

    @api.exception_handler(HTTPException)
    async def http(_: Request, err: HTTPException) -> JSONResponse:
        text = {404: "no such path", 405: "this path does not take that method"}.get(err.status_code, "bad request")
        out = answer(
            ApiError(
                err.status_code, text, {404: "not_found", 405: "method_not_allowed"}.get(err.status_code, "bad_request")
            )
        )
        out.headers.update(err.headers or {})
        return out

    @api.exception_handler(ApiError)
    async def ours(_: Request, err: ApiError) -> JSONResponse:
        return answer(err)


def _describe(api: FastAPI, serving: Serving) -> None:
    """Put this server's model and limits in, and take out FastAPI's own 422: a malformed request is a 400 in OpenAI's shape."""
    made = api.openapi

    def openapi() -> dict[str, Any]:
        tree = made()
        for path in tree["paths"].values():
            for operation in path.values():
                operation["responses"].pop("422", None)
                for parameter in operation.get("parameters", ()):  # a header is a text or absent, never null
                    schema = parameter["schema"]
                    parameter["schema"] = {**schema, **schema.pop("anyOf", [{}])[0]}
        for name in ("HTTPValidationError", "ValidationError"):
            tree["components"]["schemas"].pop(name, None)
        fields = tree["components"]["schemas"]["ChatRequest"]["properties"]
        fields["model"]["enum"] = [serving.model.name]
        fields["messages"]["maxItems"] = serving.limits.messages
        for name in ("max_tokens", "max_completion_tokens"):
            fields[name]["anyOf"][0]["maximum"] = serving.limits.new_tokens
        return tree

    api.openapi = openapi  # type: ignore[method-assign]


def _no_model() -> ApiError:
    return ApiError(404, "no such model here; GET /v1/models lists what is served", "model_not_found", param="model")


async def _purge(store: SessionStore) -> None:
    while True:
        await asyncio.sleep(PURGE_S)
        try:
            await asyncio.to_thread(store.purge)
        except Exception as err:
            log.error("old talks could not be deleted, it will be tried again: %s", place_of(err))
