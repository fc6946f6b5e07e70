"""What the handlers of the API use: one value in the application's state, under `STATE`."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final, TypeAlias

from litestar import Request
from litestar.datastructures import State
from litestar.di import NamedDependency, Provide
from litestar.params import SkipValidation

from app.api.access import Access, Visitor
from app.control.controller import Controller
from app.control.history import SeriesHistory
from app.metrics.prometheus import Metrics
from rollout.events import Actor

STATE: Final = "api"


@dataclass(frozen=True)
class Services:
    """The parts of the service that the API uses."""

    control: Controller
    access: Access
    metrics: Metrics
    history: SeriesHistory


def provide_services(state: State) -> Services:
    services: Services = state[STATE]
    return services


PROVIDE = Provide(provide_services, sync_to_thread=False)
TheServices: TypeAlias = NamedDependency[SkipValidation[Services]]
VisitorRequest: TypeAlias = Request[Visitor, None, State]


def actor_of(visitor: Visitor) -> Actor:
    return Actor(visitor.name, visitor.role)
