"""The composition, and the table of routes."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, nullcontext
from functools import partial
from importlib.metadata import version

from fastapi import FastAPI, Request
from fastapi_offline import FastAPIOffline
from starlette.responses import JSONResponse, Response
from starlette.routing import Route
from starlette.types import ASGIApp, Receive, Scope, Send

from router.config.models import Config
from router.dispatcher import Dispatcher
from router.record import RequestRecord
from router.structured.workers.grammar_workers import GrammarWorkers
from server.admission import Admission
from server.auth import Keyring
from server.endpoints import azure
from server.endpoints.health import readiness
from server.endpoints.openapi import describe
from server.endpoints.registry import ENDPOINTS
from server.endpoints.text import TextHandler
from server.http import envelope
from server.http.body_memory import max_body_bytes
from server.http.cors import Cors
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
    """Build the gateway, or one `worker` of it. If it is the only one, its lifespan starts and stops the fleet, too."""
    cors = Cors(settings.cors_origins)
    keyring = Keyring(settings.api_keys, cors.allows)
    metrics = Metrics(config, resources.fleet.statuses, resources.worker_counters, worker)
    admission = Admission(*settings.slots(worker), settings.queue_timeout_s, shared_counts=metrics.admission_counts)
    workers, access = GrammarWorkers(), AccessLog()
    dispatcher = Dispatcher(
        config,
        resources.policies,
        resources.fleet.pools,
        resources.upstream,
        resources.fleet.profiles,
        workers,
        resources.conversations,
        both_reasoning_names=settings.both_reasoning_names,
    )

    @asynccontextmanager
    async def lifespan(_: FastAPI) -> AsyncIterator[None]:
        try:
            async with resources.running_fleet() if settings.workers == 1 else nullcontext():
                yield
        finally:
            access.close()
            await workers.close()
            await resources.upstream.close()

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

    # The table of routes: requests for a model here, and all others in `_add_pages`.
    to_models = {path: TextHandler(served, keyring, admission, dispatcher) for path, served in ENDPOINTS.items()}
    # for the framework's answers to other methods; a POST does not come here (see `gateway`)
    app.router.routes += [Route(path, handler, methods=["POST"]) for path, handler in to_models.items()]
    for served in ENDPOINTS.values():
        deployments = azure.DeploymentHandler(served, keyring, admission, dispatcher)
        path = azure.PREFIX + served.endpoint.path
        app.router.routes.append(Route(path, deployments, methods=["POST"], include_in_schema=False))
    _add_pages(app, config, resources, keyring, metrics)

    describe(app)
    envelope.install_error_handlers(app)
    limit = max_body_bytes(settings.max_body_bytes, config)
    middleware = partial(RequestMiddleware, max_body_bytes=limit, on_finish=finish, cors=cors)
    app.add_middleware(middleware)
    fast_path = {path: middleware(handler) for path, handler in to_models.items()}

    async def gateway(scope: Scope, receive: Receive, send: Send) -> None:
        """Take requests for a model straight to their endpoint: the framework's way there costs a tenth of them."""
        handler = fast_path.get(scope["path"]) if scope["type"] == "http" and scope["method"] == "POST" else None
        await (handler or app)(scope, receive, send)

    return gateway


def _add_pages(app: FastAPI, config: Config, resources: Resources, keyring: Keyring, metrics: Metrics) -> None:
    """Add the paths that are answered without asking a model."""
    fleet, models = resources.fleet, resources.models

    @app.head("/v1/models", include_in_schema=False)
    @app.get("/v1/models", summary="List routes and models", tags=["models"])
    async def list_models(request: Request) -> Response:
        keyring.check(request.scope["headers"])
        return JSONResponse(models.all())

    @app.head("/v1/models/{name:path}", include_in_schema=False)
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

    @app.head("/metrics", include_in_schema=False)
    @app.get("/metrics", summary="Metrics for Prometheus", tags=["operator"])
    async def scrape() -> Response:
        body, media_type = metrics.render()
        return Response(body, media_type=media_type)
