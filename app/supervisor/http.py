"""Makes the supervisor for one HTTP request, on either path.

The gateway has read the request; only its identity comes here, so no web framework is needed.
"""

from __future__ import annotations

from app.supervisor.context import RequestContext
from app.supervisor.contract import Opening
from app.supervisor.core import Dependencies, Supervisor, create_supervisor_core


def get_request_scoped_supervisor(context: RequestContext, dependencies: Dependencies) -> Supervisor:
    """The supervisor of one HTTP request. Raises `SharedDependency`."""
    return create_supervisor_core(context, dependencies)


def open_request(opening: Opening, dependencies: Dependencies) -> Supervisor:
    """The supervisor of a request that the gateway opened. Raises `ValueError` for a missing identity."""
    return get_request_scoped_supervisor(RequestContext.of(opening), dependencies)
