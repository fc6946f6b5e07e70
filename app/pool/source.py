"""What a host's own settings say of a path: which factory serves it, and in which interpreter."""

from __future__ import annotations

from app.settings import Settings
from rollout.builds import BuildSource
from rollout.names import STABLE, PathName


def source_of(settings: Settings, path: PathName) -> BuildSource:
    """What a path is served from, unless another build was loaded in its place."""
    if path == STABLE:
        return BuildSource(settings.paths_v2, settings.paths_v2_python)
    return BuildSource(settings.paths_v3, settings.paths_v3_python)
