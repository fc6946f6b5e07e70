"""Static files: what is vendored is what it says, the page is light, and the colours can be read."""

from __future__ import annotations

import gzip
import hashlib
import re
import tomllib

import pytest

from dashboards.base.render import DASHBOARDS, STATIC, render, static_url
from tests.dashboards.memory import entry, overview

CSS = (STATIC / "crossfade.css").read_text()
LIMIT_BYTES = 150_000
SCRIPTS = ("crossfade.js", "clicks.js", "changes.js", "live.js", "charts.js", "try.js")


def test_vendored_files_are_the_ones_that_are_written_down() -> None:
    rows = re.findall(
        r"^\| `([^`]+)` \| npm `([^`]+)` ([\d.]+), `[^`]+` \| (\S+) \| `([0-9a-f]{64})` \|$",
        (STATIC / "VENDORED.md").read_text(),
        re.M,
    )
    listed = {name for name, *_ in rows}
    for name, _, version, licence, digest in rows:
        assert hashlib.sha256((STATIC / name).read_bytes()).hexdigest() == digest
        assert version in name
        assert licence == "0BSD" or (STATIC / f"{name.partition('.min')[0]}.LICENSE.txt").exists()
    assert listed == {path.name for path in STATIC.glob("*.min.*")}


def test_every_file_of_the_pages_is_packaged() -> None:
    project = tomllib.loads((DASHBOARDS.parent / "pyproject.toml").read_text())
    patterns = project["tool"]["setuptools"]["package-data"]["*"]
    files = [path for path in DASHBOARDS.rglob("*") if path.is_file() and path.suffix not in (".py", ".pyc")]
    assert len(files) > 30
    for path in files:
        assert any(path.match(pattern) for pattern in patterns), path


def test_the_first_visit_is_light() -> None:
    page = render(overview(entries=[entry(number) for number in range(8)]))
    names = re.findall(r'"/static/([^"?]+)\?', page)
    weight = len(gzip.compress(page.encode())) + sum(
        len(gzip.compress((STATIC / name).read_bytes())) for name in set(names)
    )
    assert {"crossfade.css", "htmx-4.0.1.min.js", "crossfade.js", "live.js", "charts.js"} <= set(names)
    assert weight < LIMIT_BYTES


def test_an_address_changes_with_the_file_and_an_unknown_name_is_an_error() -> None:
    digest = hashlib.sha256((STATIC / "crossfade.css").read_bytes()).hexdigest()
    assert static_url("crossfade.css") == f"/static/crossfade.css?v={digest[:12]}"
    with pytest.raises(OSError, match=r"nothing\.css"):
        static_url("nothing.css")


@pytest.mark.parametrize("name", ["crossfade.css", *SCRIPTS])
def test_own_files_name_no_other_host(name: str) -> None:
    text = (STATIC / name).read_text()
    assert not re.search(r"https?://[a-z]|@import|url\(", text)


@pytest.mark.parametrize("name", SCRIPTS)
def test_own_scripts_put_no_text_into_the_page_as_markup(name: str) -> None:
    text = (STATIC / name).read_text()
    assert not re.search(
        r"innerHTML|outerHTML|insertAdjacentHTML|document\.write|\beval\b|new Function|\.style\b", text
    )


def tokens(scheme: str) -> dict[str, str]:
    light = CSS[CSS.index(":root") : CSS.index("@media")]
    dark = CSS[CSS.index("@media (prefers-color-scheme: dark)") : CSS.index("*, *::before")]
    found = dict(re.findall(r"--([\w-]+): (#[0-9a-f]{6});", light))
    return found | (dict(re.findall(r"--([\w-]+): (#[0-9a-f]{6});", dark)) if scheme == "dark" else {})


def luminance(colour: str) -> float:
    """Relative luminance, WCAG 2.2."""
    channels = (int(colour[place : place + 2], 16) / 255 for place in (1, 3, 5))
    red, green, blue = (part / 12.92 if part <= 0.04045 else ((part + 0.055) / 1.055) ** 2.4 for part in channels)
    return 0.2126 * red + 0.7152 * green + 0.0722 * blue


def contrast(one: str, other: str) -> float:
    high, low = sorted((luminance(one), luminance(other)), reverse=True)
    return (high + 0.05) / (low + 0.05)


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_every_colour_of_text_can_be_read(scheme: str) -> None:
    colours = tokens(scheme)
    for text in ("text", "quiet", "none", "v2", "v3", "good", "warn", "bad", "link"):
        for ground in ("card", "ground"):
            assert contrast(colours[text], colours[ground]) >= 4.5, (text, ground)
    assert contrast(colours["on-danger"], colours["danger"]) >= 4.5
    assert contrast(colours["danger"], colours["ground"]) >= 3
    assert contrast(colours["focus"], colours["ground"]) >= 3


def test_both_schemes_have_every_colour() -> None:
    light, dark = tokens("light"), tokens("dark")
    assert light.keys() == dark.keys()
    assert all(light[name] != dark[name] for name in light if name != "on-danger")


def test_colours_are_written_down_once() -> None:
    rules = CSS[CSS.index("*, *::before") :]
    assert not re.search(r"#[0-9a-fA-F]{3,8}\b(?![^{]*\{)", rules)
