"""The composition, and the table of routes."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, nullcontext
from importlib.metadata import version

from fastapi import FastAPI, Request
from fastapi_offline import FastAPIOffline
from starlette.responses import JSONResponse, Response
from starlette.routing import Route
from starlette.types import ASGIApp, Receive, Scope, Send

from router.config.models import Config
from router.dispatch import Dispatcher
from router.record import RequestRecord
from router.structured.workers.grammar_workers import GrammarWorkers
from server.admission import Admission
from server.auth import Keyring
from server.endpoints.decode import describe
from server.endpoints.health import readiness
from server.endpoints.registry import ENDPOINTS
from server.endpoints.text import TextHandler
from server.http import envelope
from server.http.middleware import RequestMiddleware
from server.observability.access_log import AccessLog
from server.observability.metrics import Metrics
from server.processes.resources import Resources
from server.settings import Settings

DESCRIPTION = """OpenAI's API in front of small models, with a large one to fall back to.

The interactive calls below run against this server. Answers carry `x-smallfirst-*` headers: which model answered,
why, and what it cost.
"""


def create_app(config: Config, settings: Settings, resources: Resources, worker: int = 0) -> ASGIApp:
    """Build the gateway, or one `worker` of it. Where it is alone, its lifespan starts and stops the fleet, too."""
    upstream, fleet = resources.upstream, resources.fleet
    keyring = Keyring(settings.api_keys)
    metrics = Metrics(config, fleet.statuses, resources.worker_counters, worker)
    admission = Admission(*settings.slots(worker), settings.queue_timeout_s, shared_counts=metrics.admission_counts)
    workers = GrammarWorkers()
    dispatcher = Dispatcher(config, resources.policies, fleet.pools, upstream, workers)
    models = resources.models
    access = AccessLog()

    @asynccontextmanager
    async def lifespan(_: FastAPI) -> AsyncIterator[None]:
        try:
            async with resources.running_fleet() if settings.workers == 1 else nullcontext():
                yield
        finally:
            access.close()
            await workers.close()
            await upstream.close()

    def finish(record: RequestRecord, scope: Scope) -> None:
        metrics.observe(record)
        access.write(record, scope)

    app = FastAPIOffline(
        title="smallfirst",
        version=version("smallfirst"),
        description=DESCRIPTION,
        openapi_tags=[{"name": name} for name in ("text", "models", "operator")],
        redoc_url=None,
        lifespan=lifespan,
    )

    text = {path: TextHandler(served, keyring, admission, dispatcher) for path, served in ENDPOINTS.items()}
    # for the framework's answers to other methods; a POST does not come here (see `gateway`)
    app.router.routes += [Route(path, endpoint, methods=["POST"]) for path, endpoint in text.items()]

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
    envelope.install_error_handlers(app)
    app.add_middleware(RequestMiddleware, max_body_bytes=settings.max_body_bytes, on_finish=finish)

    straight = {
        path: RequestMiddleware(endpoint, max_body_bytes=settings.max_body_bytes, on_finish=finish)
        for path, endpoint in text.items()
    }

    async def gateway(scope: Scope, receive: Receive, send: Send) -> None:
        """Take requests for text straight to their endpoint: the framework's way there costs a tenth of them."""
        wanted = straight.get(scope["path"]) if scope["type"] == "http" and scope["method"] == "POST" else None
        await (wanted or app)(scope, receive, send)

    return gateway
