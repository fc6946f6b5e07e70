"""Rendering: templates are strict about names and escape everything, static files are addressed by their digest."""

from __future__ import annotations

import hashlib
from contextvars import ContextVar
from functools import cache
from pathlib import Path
from typing import ClassVar

from jinja2 import Environment, FileSystemLoader, StrictUndefined
from msgspec import Struct

DASHBOARDS = Path(__file__).parent.parent
STATIC = DASHBOARDS / "static"
TEMPLATES = DASHBOARDS / "templates"


class TemplateContext(Struct, frozen=True, kw_only=True):
    """All that one template may use. Values are ready to be shown: no service object, no markup."""

    template: ClassVar[str]
    """The template's name under `templates/`."""


ROOT_PATH: ContextVar[str] = ContextVar("root_path", default="")
"""The path under which the browser of this request sees the service; whoever takes requests sets it."""


def at(address: str) -> str:
    """An address of our own as a browser has to write it. Every address in a template goes through this."""
    return ROOT_PATH.get() + address if address.startswith("/") else address


def static_url(name: str) -> str:
    """Address of a static file with its digest, so that it may be cached for ever. Raises OSError if it is missing."""
    return at(f"/static/{name}?v={_digest_of_file(name)}")


@cache
def _digest_of_file(name: str) -> str:
    return hashlib.sha256((STATIC / name).read_bytes()).hexdigest()[:12]


def make_environment() -> Environment:
    """Escapes in every template and refuses every undeclared name."""
    environment = Environment(
        loader=FileSystemLoader(TEMPLATES),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        auto_reload=False,
    )
    environment.globals["static"] = static_url
    environment.globals["at"] = at
    environment.globals["ICONS"] = sorted(icon.stem for icon in (STATIC / "icons").glob("*.svg"))
    return environment


_environment = make_environment()


def render(context: TemplateContext) -> str:
    """The whole template of a context."""
    return _environment.get_template(context.template).render(_fields(context))


def render_section(name: str, page: TemplateContext) -> str:
    """One section of a page, the same text as inside the page."""
    return _environment.get_template(f"sections/{name}.html").render(_fields(page))


def digest_of(name: str, html: str) -> str:
    """Tells one state of a section from another."""
    return hashlib.blake2s(f"{name}\n{html}".encode(), digest_size=8).hexdigest()


def partial(target: str, html: str, swap: str = "outerMorph") -> str:
    """A fragment for htmx 4: puts `html`, already rendered, in the place of the element with the id `target`."""
    return f'<hx-partial hx-target="#{target}" hx-swap="{swap}">{html}</hx-partial>'


def _fields(context: TemplateContext) -> dict[str, object]:
    return {name: getattr(context, name) for name in context.__struct_fields__}
