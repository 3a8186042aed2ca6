"""The composition, and the table of routes."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from importlib.metadata import version

from fastapi import FastAPI, Request
from fastapi_offline import FastAPIOffline
from starlette.responses import JSONResponse, Response
from starlette.routing import Route
from starlette.types import Scope

from router.config import Config
from router.dispatch import Dispatcher
from router.fleet import Fleet
from router.record import RequestRecord
from router.upstream.http import HttpUpstream
from server import envelope, logs
from server.admission import Admission
from server.auth import Keyring
from server.banner import announce
from server.chat import TextEndpoint
from server.health import readiness
from server.metrics import Metrics
from server.middleware import RequestMiddleware
from server.models import ModelList
from server.settings import Settings
from server.wire import describe

DESCRIPTION = """OpenAI's API in front of small models, with a large one to fall back to.

The interactive calls below run against this server. Answers carry `x-smallfirst-*` headers: which model answered,
why, and what it cost.
"""


def create_app(config: Config, settings: Settings, *, url: str, progress: Callable[[str], None]) -> FastAPI:
    """Build the gateway. Its lifespan starts and stops everything that runs behind it.

    `url` is where clients reach it; `progress` shows lines to the person who started it.
    """
    upstream = HttpUpstream()
    fleet = Fleet(config, upstream, settings.state_dir, progress)
    keyring = Keyring(settings.api_keys)
    admission = Admission(settings.max_in_flight, settings.max_queued, settings.queue_timeout_s)
    dispatcher = Dispatcher(config, fleet.pools, upstream)
    metrics = Metrics(config, admission, fleet.statuses)
    models = ModelList(config)

    @asynccontextmanager
    async def lifespan(_: FastAPI) -> AsyncIterator[None]:
        fleet.start()
        greeting = asyncio.create_task(
            announce(config, fleet.statuses, url, keys=bool(settings.api_keys), show=progress)
        )
        try:
            yield
        finally:
            greeting.cancel()
            await fleet.stop()
            await upstream.close()

    def finish(record: RequestRecord, scope: Scope) -> None:
        metrics.observe(record)
        logs.access(record, scope)

    app = FastAPIOffline(
        title="smallfirst",
        version=version("smallfirst"),
        description=DESCRIPTION,
        openapi_tags=[{"name": name} for name in ("text", "models", "operator")],
        redoc_url=None,
        lifespan=lifespan,
    )

    chat = TextEndpoint("chat/completions", keyring, admission, dispatcher)
    completions = TextEndpoint("completions", keyring, admission, dispatcher)
    # plain routes: what every request pays for is what it needs
    app.router.routes += [
        Route("/v1/chat/completions", chat, methods=["POST"]),
        Route("/v1/completions", completions, methods=["POST"]),
    ]

    @app.head("/v1/models", include_in_schema=False)
    @app.get("/v1/models", summary="List routes and models", tags=["models"])
    async def list_models(request: Request) -> Response:
        keyring.check(request.scope["headers"])
        return JSONResponse(models.all())

    @app.get("/v1/models/{name:path}", summary="One route or model", tags=["models"])
    async def get_model(request: Request, name: str) -> Response:
        keyring.check(request.scope["headers"])
        return JSONResponse(models.one(name))

    @app.head("/health", include_in_schema=False)
    @app.get("/health", summary="Does this process live? Touches no upstream", tags=["operator"])
    async def health() -> Response:
        return JSONResponse({"status": "ok"})

    @app.head("/ready", include_in_schema=False)
    @app.get("/ready", summary="Can a route answer? 503 when none can", tags=["operator"])
    async def ready() -> Response:
        state, body = readiness(config, fleet.statuses())
        return JSONResponse(body, status_code=503 if state == "unavailable" else 200)

    @app.get("/metrics", summary="Metrics for Prometheus", tags=["operator"])
    async def scrape() -> Response:
        body, media_type = metrics.render()
        return Response(body, media_type=media_type)

    describe(app)
    envelope.install(app)
    app.add_middleware(RequestMiddleware, max_body_bytes=settings.max_body_bytes, on_finish=finish)
    return app
