"""The routers that an application registers for operators, and the configuration of the schema.

They need `Services` in the application's state under `services.STATE`, and the middleware `csrf.csrf_middleware`.
"""

from __future__ import annotations

from http import HTTPStatus

from litestar import Router
from litestar.exceptions import NotFoundException
from litestar.openapi import OpenAPIConfig
from litestar.openapi.plugins import JsonRenderPlugin, YamlRenderPlugin
from litestar.openapi.spec import Components, SecurityScheme, Server
from litestar.types import ExceptionHandlersMap

from app.api.authentication import AUTHENTICATION
from app.api.bodies import check_body
from app.api.cells import forget_cell
from app.api.events import events
from app.api.health import healthz, metrics, readyz
from app.api.hooks import alertmanager
from app.api.paths import load_canary
from app.api.people import UsersApi, errors, rollback_receipt, sessions
from app.api.problems import HANDLERS, PAGE_HANDLERS, AnyRequest, ProblemDocument, answer, by_accept, on_http
from app.api.rollout import RolloutApi
from app.api.series import series
from app.api.services import PROVIDE
from app.api.sign_in import show_link, sign_in, sign_out, use_link
from app.problem import problem_of


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
            show_link,
            use_link,
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
    shown = Router(path="/", route_handlers=[pages], exception_handlers=PAGE_HANDLERS)
    return Router(path="/", route_handlers=[control_router(), shown], middleware=[AUTHENTICATION])


def on_unrouted(request: AnyRequest, error: NotFoundException) -> ProblemDocument:
    """Nothing is registered at this address, unless a handler says in words of its own what there is not."""
    if error.detail != HTTPStatus.NOT_FOUND.phrase:
        return on_http(request, error)
    what = "call" if request.url.path.startswith("/api/") else "page"
    return answer(problem_of(404, f"there is no {what} at this address"))


UNROUTED: ExceptionHandlersMap = {**HANDLERS, NotFoundException: by_accept(on_unrouted)}
"""Handlers for the application itself, because without a route no router is asked."""


def openapi_config(version: str, root_path: str = "") -> OpenAPIConfig:
    """The schema at `/schema`, as JSON and YAML. Not as a page: all of those load scripts from other hosts."""
    return OpenAPIConfig(
        title="Crossfade control API",
        version=version,
        path="/schema",
        servers=[Server(url=root_path or "/")],
        render_plugins=[JsonRenderPlugin(path=["/", "/openapi.json"]), YamlRenderPlugin()],
        components=Components(
            security_schemes={"token": SecurityScheme(type="http", scheme="bearer", description="`crossfade token`")}
        ),
        security=[{"token": []}],
        use_handler_docstrings=True,
    )
