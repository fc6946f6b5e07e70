"""Templates and static files to text: strict about names, escaping everything, naming each static file by its digest.

It must not know what is on a page; whoever calls it hands over one of the declared contexts.
"""

from __future__ import annotations

import hashlib
from functools import cache
from pathlib import Path

from jinja2 import Environment, FileSystemLoader, StrictUndefined
from msgspec import Struct

from dashboards.contexts import TEMPLATES

HERE = Path(__file__).parent
STATIC = HERE / "static"


@cache
def static_url(name: str) -> str:
    """Address of a static file with its digest, so that it may be kept for ever. Raises OSError when there is none."""
    digest = hashlib.sha256((STATIC / name).read_bytes()).hexdigest()
    return f"/static/{name}?v={digest[:12]}"


def make_environment() -> Environment:
    """Autoescape for every template and an error for every undeclared name."""
    environment = Environment(
        loader=FileSystemLoader(HERE / "templates"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        auto_reload=False,
    )
    environment.globals["static"] = static_url
    return environment


_environment = make_environment()


def render(template: str, context: Struct) -> str:
    """One whole template. Raises TypeError when the context is not the one declared for it."""
    if type(context) is not TEMPLATES[template]:
        raise TypeError(f"{template} takes {TEMPLATES[template].__name__}, not {type(context).__name__}")
    return _environment.get_template(template).render(_fields(context))


def render_section(name: str, page: Struct) -> str:
    """One section of a page, the same text as inside the page."""
    return _environment.get_template(f"sections/{name}.html").render(_fields(page))


def partial(target: str, html: str, swap: str = "outerMorph") -> str:
    """Put `html`, already rendered, in the place of the element with the id `target` (htmx 4)."""
    return f'<hx-partial hx-target="#{target}" hx-swap="{swap}">{html}</hx-partial>'


def _fields(context: Struct) -> dict[str, object]:
    return {name: getattr(context, name) for name in context.__struct_fields__}
