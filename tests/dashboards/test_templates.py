"""A template uses what its context declares and nothing else, down to the fields of its sections."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from types import NoneType, UnionType
from typing import Union, get_args, get_origin, get_type_hints

import pytest
from jinja2 import nodes
from jinja2.meta import find_referenced_templates, find_undeclared_variables
from msgspec import Struct

from dashboards import router, sign_in_link
from dashboards.base.render import TEMPLATES, TemplateContext, make_environment, render, render_section
from tests.dashboards.memory import overview

ENVIRONMENT = make_environment()
GIVEN = {"back", "label", "settings", "stages"}
"""What a template that includes another one gives it, by `with`."""
ALL = sorted(str(path.relative_to(TEMPLATES)) for path in TEMPLATES.rglob("*.html"))


def contexts(of: type[TemplateContext] = TemplateContext) -> Iterator[type[TemplateContext]]:
    """Every context that names a template, as far as the application's router knows it."""
    for context in of.__subclasses__():
        if "template" in vars(context):
            yield context
        yield from contexts(context)


PAGES = (router, sign_in_link)
"""All pages: the one of a sign-in link is answered by the API."""
DECLARED = {context.template: context for context in contexts()}


def reached(template: str) -> set[str]:
    """A template with all that it extends and includes."""
    tree = ENVIRONMENT.parse((TEMPLATES / template).read_text())
    found = {template}
    for name in find_referenced_templates(tree):
        assert name is not None, f"{template}: a name of a template must be written down"
        found |= reached(name)
    return found


def attributes(template: str) -> set[tuple[str, ...]]:
    """Chains such as `rollback.receipt.silent`, whose first name is a variable of the context."""
    tree = ENVIRONMENT.parse((TEMPLATES / template).read_text())
    chains = set()
    for node in tree.find_all(nodes.Getattr):
        chain: list[str] = []
        inner: nodes.Node = node
        while isinstance(inner, nodes.Getattr):
            chain.insert(0, inner.attr)
            inner = inner.node
        if isinstance(inner, nodes.Name):
            chains.add((inner.name, *chain))
    return chains


def declared(owner: type, chain: tuple[str, ...]) -> bool:
    for name in chain:
        hints = get_type_hints(owner)
        if name not in hints:
            return False
        hint = hints[name]
        options = get_args(hint) if get_origin(hint) in (Union, UnionType) else (hint,)
        structs = [option for option in options if isinstance(option, type) and issubclass(option, Struct)]
        owner = structs[0] if structs else NoneType
    return True


@pytest.mark.parametrize("template", sorted(DECLARED))
def test_a_template_uses_only_its_declared_context(template: str) -> None:
    context = DECLARED[template]
    fields = set(context.__struct_fields__)
    for name in reached(template):
        undeclared = find_undeclared_variables(ENVIRONMENT.parse((TEMPLATES / name).read_text()))
        assert undeclared <= fields | {"static", "at"} | GIVEN, name
        for chain in attributes(name):
            if chain[0] in fields:
                assert declared(context, chain), f"{name}: {'.'.join(chain)}"


def test_a_template_has_one_context() -> None:
    assert len(list(contexts())) == len(DECLARED)


@pytest.mark.parametrize("name", router.LIVE)
def test_every_section_of_a_stream_is_a_field_of_its_page(name: router.Live) -> None:
    page = get_type_hints(router.LIVE[name])["return"]
    assert set(page.sections) <= set(page.__struct_fields__)


def test_every_template_belongs_to_a_declared_one() -> None:
    assert set().union(*(reached(template) for template in DECLARED)) == set(ALL)


def test_the_check_of_chains_finds_a_misspelt_field() -> None:
    context = DECLARED["overview.html"]
    assert declared(context, ("rollback", "receipt", "silent"))
    assert not declared(context, ("rollback", "receipt", "silence"))
    assert not declared(context, ("rollback", "label", "upper"))


@pytest.mark.parametrize("template", ALL)
def test_nothing_is_marked_as_safe(template: str) -> None:
    text = Path(TEMPLATES / template).read_text()
    for hole in ("|safe", "| safe", "autoescape", "Markup"):
        assert hole not in text


def test_a_section_alone_is_the_same_text_as_in_the_page() -> None:
    shown = overview()
    whole = render(shown)
    for name in shown.sections:
        assert render_section(name, shown).strip() in whole


@pytest.mark.parametrize("template", ALL)
def test_every_address_is_written_for_the_path_under_which_a_browser_sees_the_service(template: str) -> None:
    """What begins with a slash or comes from a context goes through `at`; static files do so by themselves."""
    text = (TEMPLATES / template).read_text()
    for attribute in re.finditer(r'\b(href|src|action|formaction|hx-get|hx-post|data-\w+)="(.)', text):
        begin = text[attribute.end(2) - 1 :][:12]
        of_address = not attribute[1].startswith("data-") or begin.startswith("/")
        if of_address and not begin.startswith("#"):
            assert begin.startswith(("{{ at(", "{{ static(")), f"{template}: {attribute[1]}={begin}"
