"""Litestar's authentication with our credentials, and the guards that require a role."""

from __future__ import annotations

from collections.abc import Callable

from litestar.enums import ScopeType
from litestar.exceptions import NotAuthorizedException, PermissionDeniedException
from litestar.handlers import BaseRouteHandler
from litestar.middleware import AbstractAuthenticationMiddleware, AuthenticationResult, DefineMiddleware

from app.api.access import Connection, Visitor
from app.api.services import provide_services
from rollout.names import Action
from rollout.permissions import lowest_role, suffices

Guard = Callable[[Connection, BaseRouteHandler], None]


class Authentication(AbstractAuthenticationMiddleware):
    """Sets `connection.user` to the `Visitor` or None; a guard refuses None where somebody must be signed in."""

    async def authenticate_request(self, connection: Connection) -> AuthenticationResult:
        access = provide_services(connection.app.state).access
        return AuthenticationResult(user=await access.visitor(connection), auth=None)


AUTHENTICATION = DefineMiddleware(Authentication, scopes={ScopeType.HTTP})


def may(action: Action) -> list[Guard]:
    """The guards of a call: somebody must be signed in, with a role that may do this in some situation."""
    role = lowest_role(action)

    async def guard(connection: Connection, _: BaseRouteHandler) -> None:
        # A coroutine, although it waits for nothing: Litestar calls plain functions in the default executor, where a
        # rollback would wait for whoever has filled it.
        visitor: Visitor | None = connection.user
        if visitor is None:
            raise NotAuthorizedException(
                detail="sign in: send `Authorization: Bearer TOKEN`, or open the pages and sign in there",
                headers={"WWW-Authenticate": 'Bearer realm="crossfade"'},
            )
        if not suffices(visitor.role, role):
            raise PermissionDeniedException(
                detail=f"{visitor.name} has the role {visitor.role}; this needs the role {role}"
            )

    return [guard]  # type: ignore[list-item]  # Litestar awaits it; its type knows plain functions only
