"""Signing requests in: Litestar's authentication with our credentials, and the guards that ask for a role.

Knows ranks of roles; must not know what a call does.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

from litestar.enums import ScopeType
from litestar.exceptions import NotAuthorizedException, PermissionDeniedException
from litestar.handlers import BaseRouteHandler
from litestar.middleware import AbstractAuthenticationMiddleware, AuthenticationResult, DefineMiddleware

from app.api.access import Connection, Visitor
from app.api.services import provide_services
from app.store.port import TokenRole

_RANK: Final[dict[TokenRole, int]] = {"viewer": 0, "oncall": 1, "manager": 2}


class Authentication(AbstractAuthenticationMiddleware):
    """`connection.user` is the `Visitor`, or None; whoever needs somebody has a guard or asks."""

    async def authenticate_request(self, connection: Connection) -> AuthenticationResult:
        access = provide_services(connection.app.state).access
        return AuthenticationResult(user=await access.visitor(connection), auth=None)


AUTHENTICATION = DefineMiddleware(Authentication, scopes={ScopeType.HTTP})


def requires(role: TokenRole) -> Callable[[Connection, BaseRouteHandler], None]:
    """A guard: somebody signed in with at least this role."""

    def guard(connection: Connection, _: BaseRouteHandler) -> None:
        visitor: Visitor | None = connection.user
        if visitor is None:
            raise NotAuthorizedException(
                detail="sign in: send `Authorization: Bearer TOKEN`, or open the pages and sign in there",
                headers={"WWW-Authenticate": 'Bearer realm="crossfade"'},
            )
        if _RANK[visitor.role] < _RANK[role]:
            raise PermissionDeniedException(detail=f"{visitor.name} is {visitor.role}; this needs the role {role}")

    return guard
