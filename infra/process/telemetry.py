"""Metrics and health of a long-running process: /metrics, /healthz, /readyz."""

from __future__ import annotations

import os
import threading
from collections.abc import Callable
from dataclasses import dataclass, field

import structlog
import uvicorn
from fastapi import FastAPI, Response
from prometheus_client import CONTENT_TYPE_LATEST, REGISTRY, generate_latest

from millrace.infra.process.exit_status import BROKEN
from millrace.infra.settings import Settings

_log = structlog.get_logger(__name__)


@dataclass
class Health:
    """Health that the process reports.

    Attributes:
        alive: None while the process is healthy, else the failure; a supervisor should restart it.
        waiting_for: Conditions that are missing before it does its work; empty when ready.
    """

    alive: Callable[[], str | None] = lambda: None
    waiting_for: set[str] = field(default_factory=set)


def telemetry_app(health: Health) -> FastAPI:
    """Build the web application that serves a process's metrics and health."""
    app = FastAPI(title="Millrace telemetry", docs_url=None, redoc_url=None)

    @app.get("/metrics")
    def metrics() -> Response:
        return Response(generate_latest(REGISTRY), media_type=CONTENT_TYPE_LATEST)

    @app.get("/healthz")
    def healthz(response: Response) -> dict[str, str]:
        problem = health.alive()
        response.status_code = 200 if problem is None else 503
        return {"status": problem or "ok"}

    @app.get("/readyz")
    def readyz(response: Response) -> dict[str, object]:
        missing = sorted(health.waiting_for)
        response.status_code = 503 if missing else 200
        return {"status": "waiting" if missing else "ready", "waiting_for": missing}

    return app


def serve_telemetry(settings: Settings, health: Health) -> uvicorn.Server:
    """Serve a process's telemetry from a thread of its own, until the process ends."""
    server = uvicorn.Server(
        uvicorn.Config(
            telemetry_app(health),
            host=settings.telemetry_host,
            port=settings.telemetry_port,
            log_level="warning",
            access_log=False,
        )
    )
    threading.Thread(target=_serve, args=(server,), name="telemetry", daemon=True).start()
    return server


def _serve(server: uvicorn.Server) -> None:
    """Serve; a process whose health cannot be queried ends, and is restarted."""
    try:
        server.run()
    except SystemExit:  # raised by uvicorn for a port that is taken
        _log.error("telemetry cannot be served", port=server.config.port)
        os._exit(BROKEN)
