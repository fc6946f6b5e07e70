"""How a supervisor is made for one HTTP request, on either path.

It must not know of a web framework: the gateway has read the request, and what is left of it is an identity.
"""

from __future__ import annotations

from app.supervisor.context import RequestContext
from app.supervisor.contract import Opening
from app.supervisor.core import Dependencies, Supervisor, create_supervisor_core


def get_request_scoped_supervisor(context: RequestContext, dependencies: Dependencies) -> Supervisor:
    """The supervisor of one HTTP request. Raises `SharedDependency`."""
    return create_supervisor_core(context, dependencies)


def open_request(opening: Opening, dependencies: Dependencies) -> Supervisor:
    """The same, from what the gateway says of a request. Raises `ValueError` for a missing identity."""
    return get_request_scoped_supervisor(RequestContext.of(opening), dependencies)
