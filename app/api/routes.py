"""The control API as one router, and the schema's configuration: what the application registers.

Needs `Services` in the application's state under `services.STATE`, and `csrf.csrf_middleware` among its middleware.
"""

from __future__ import annotations

from litestar import Router
from litestar.openapi import OpenAPIConfig
from litestar.openapi.plugins import JsonRenderPlugin, YamlRenderPlugin
from litestar.openapi.spec import Components, SecurityScheme

from app.api.authentication import AUTHENTICATION
from app.api.bodies import check_body
from app.api.events import events
from app.api.health import healthz, metrics, readyz
from app.api.paths import load_canary
from app.api.people import UsersApi, alertmanager, errors, rollback_receipt, sessions
from app.api.problems import HANDLERS
from app.api.rollout import RolloutApi
from app.api.series import series
from app.api.services import PROVIDE
from app.api.sign_in import sign_in, sign_in_once, sign_out


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
    """The control API and the pages, and who it is that asks them."""
    return Router(path="/", route_handlers=[control_router(), pages], middleware=[AUTHENTICATION])


def openapi_config(version: str) -> OpenAPIConfig:
    """The schema as JSON at `/schema` and as YAML; no page of it, because every one loads scripts from elsewhere."""
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
