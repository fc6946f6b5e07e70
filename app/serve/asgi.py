"""The Litestar application of one cell: sockets, messages, control API and pages over an assembled `Service`."""

from __future__ import annotations

from importlib.metadata import version

from litestar import Litestar
from litestar.config.compression import CompressionConfig

from app.api.body_limits import BODY_BYTES
from app.api.csrf import csrf_middleware
from app.api.http_rules import with_http_rules
from app.api.root_path import under_root_path
from app.api.routes import UNROUTED, openapi_config, operators_router
from app.api.services import STATE, Services
from app.api.user_ids import keep_slashes
from app.gateway.handshake import open_websocket, refuse_without_upgrade
from app.gateway.hosts import refuse_unknown_hosts
from app.gateway.http import post_message
from app.serve.service import Service
from dashboards.router import SOURCE, make_router

# Streams are left out: their events are small and must leave at once, and a compressor would delay them.
COMPRESSION = CompressionConfig(
    backend="gzip", gzip_compress_level=5, minimum_size=1000, exclude=["^/changes", "^/api/messages", "^/ws"]
)


def create_app(service: Service) -> Litestar:
    """The application over a service, which the caller starts and stops."""
    app = Litestar(
        route_handlers=[open_websocket, refuse_without_upgrade, post_message, operators_router(make_router())],
        middleware=[csrf_middleware(service.secret.decode(), service.settings.root_path)],
        compression_config=COMPRESSION,
        request_max_body_size=BODY_BYTES,
        exception_handlers=UNROUTED,
        openapi_config=openapi_config(version("crossfade"), service.settings.root_path),
        logging_config=None,  # `app.logs.configure_logging` has done it, for our log and the libraries
    )
    app.asgi_handler = with_http_rules(keep_slashes(app.asgi_handler))
    app.asgi_handler = under_root_path(app.asgi_handler, service.settings.root_path)
    app.asgi_handler = refuse_unknown_hosts(app.asgi_handler, service.settings)
    app.state.session_opener = service.session_opener
    app.state[STATE] = Services(service.controller, service.access, service.metrics, service.history)
    app.state[SOURCE] = service.page_source
    return app
