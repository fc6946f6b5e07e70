"""The routers that an application registers for operators, and the configuration of the schema.

They need `Services` in the application's state under `services.STATE`, and the middleware `csrf.csrf_middleware`.
"""

from __future__ import annotations

from typing import Any

from litestar import Response, Router
from litestar.exceptions import HTTPException, MethodNotAllowedException, NotFoundException
from litestar.openapi import OpenAPIConfig
from litestar.openapi.plugins import JsonRenderPlugin, YamlRenderPlugin
from litestar.openapi.spec import Components, SecurityScheme
from litestar.types import ExceptionHandlersMap

from app.api.authentication import AUTHENTICATION
from app.api.bodies import check_body
from app.api.cells import forget_cell
from app.api.events import events
from app.api.health import healthz, metrics, readyz
from app.api.hooks import alertmanager
from app.api.paths import load_canary
from app.api.people import UsersApi, errors, rollback_receipt, sessions
from app.api.problems import HANDLERS, AnyRequest, on_http
from app.api.rollout import RolloutApi
from app.api.series import series
from app.api.services import PROVIDE
from app.api.sign_in import sign_in, sign_in_once, sign_out
from dashboards.base.visit import NotThere
from dashboards.problem import tell_not_there


def control_router() -> Router:
    """All routes of the control API, the sign-in and the health checks."""
    return Router(
        path="/",
        route_handlers=[
            RolloutApi,
            UsersApi,
            sessions,
            errors,
            events,
            series,
            rollback_receipt,
            alertmanager,
            load_canary,
            forget_cell,
            sign_in,
            sign_in_once,
            sign_out,
            healthz,
            readyz,
            metrics,
        ],
        dependencies={"services": PROVIDE},
        before_request=check_body,
        exception_handlers=HANDLERS,
    )


def operators_router(pages: Router) -> Router:
    """The control API and the pages, with authentication."""
    return Router(path="/", route_handlers=[control_router(), pages], middleware=[AUTHENTICATION])


def on_unrouted(request: AnyRequest, error: HTTPException) -> Response[Any]:
    """Nothing is registered at this address: programs get a problem document, people a page."""
    if request.url.path.startswith("/api/") or not isinstance(error, NotFoundException):
        return on_http(request, error)
    return tell_not_there(request, NotThere("There is no page at this address."))


UNROUTED: ExceptionHandlersMap = {NotFoundException: on_unrouted, MethodNotAllowedException: on_unrouted}
"""Handlers for the application itself, because without a route no router is asked."""


def openapi_config(version: str) -> OpenAPIConfig:
    """The schema at `/schema`, as JSON and YAML. Not as a page: all of those load scripts from other hosts."""
    return OpenAPIConfig(
        title="Crossfade control API",
        version=version,
        path="/schema",
        render_plugins=[JsonRenderPlugin(path=["/", "/openapi.json"]), YamlRenderPlugin()],
        components=Components(
            security_schemes={"token": SecurityScheme(type="http", scheme="bearer", description="`crossfade token`")}
        ),
        security=[{"token": []}],
        use_handler_docstrings=True,
    )
