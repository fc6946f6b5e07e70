"""The page that a sign-in link opens: one button, which signs in and uses the link up.

Opening it changes nothing, because previews of messages, scanners of mail and impatient browsers open links too.
"""

from __future__ import annotations

from litestar import Response

from dashboards.base.page import Chrome, Page, title_of
from dashboards.base.security import secured
from dashboards.base.source import PageRequest
from dashboards.base.visit import answer, csrf_of


class SignInLinkPage(Page, frozen=True, kw_only=True):
    template = "sign_in_link.html"
    code: str
    who: str
    """Name and role that the link signs in as."""


def sign_in_link_page(request: PageRequest, code: str, who: str) -> Response[str]:
    """The page for a link that is still good."""
    chrome = Chrome(title_of("Sign in"), "idle", "sign-in")
    return secured(answer(SignInLinkPage(chrome=chrome, csrf_token=csrf_of(request), code=code, who=who)))
