"""How the parts of a service are, for people: its store, and its settings as they were read, without their secrets.

It reads only; must not know of pages.
"""

from __future__ import annotations

from typing import Final
from urllib.parse import urlsplit, urlunsplit

from app.control.overview import Known
from app.settings import Settings, describe, variable_of
from dashboards.views import HealthView, SettingView

SECRETS: Final = frozenset({"secret", "jwt_key", "unleash_token", "unleash_admin_token", "notify"})
"""Shown as set or unset; the targets of notifications carry keys in their addresses."""


def health_view(known: Known) -> HealthView:
    """The store and the settings."""
    return HealthView(
        store=shown("store", known.settings.store), store_down=known.store_down, settings=settings_view(known.settings)
    )


def settings_view(settings: Settings) -> list[SettingView]:
    """All settings, in the order in which they are declared."""
    defaults = Settings()
    rows = []
    for name, described in zip(Settings.__struct_fields__, describe(), strict=True):
        value = getattr(settings, name)
        rows.append(
            SettingView(
                variable=variable_of(name),
                value=shown(name, value),
                is_default=value == getattr(defaults, name),
                meaning=described.meaning,
            )
        )
    return rows


def shown(name: str, value: object) -> str:
    """A setting's value as a page may show it: no secret, and no password inside an address."""
    if value in (None, ""):
        return "unset"
    if name in SECRETS:
        return "set, not shown"
    text = str(value)
    if "://" not in text:
        return text
    parts = urlsplit(text)
    host = parts.netloc.rpartition("@")[2]
    hidden = "…@" if "@" in parts.netloc else ""
    return urlunsplit((parts.scheme, hidden + host, parts.path, "…" if parts.query else "", ""))
