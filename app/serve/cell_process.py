"""The process of one cell of several: takes settings, its end of the bus and the shared socket from the parent."""

from __future__ import annotations

import os
import socket
from pathlib import Path

from app.data_folder import DataFolder
from app.fleet.host_bus import HostBus
from app.link.parent_death import die_with
from app.link.preamble import receive_config
from app.logs import configure_logging
from app.process_title import set_process_title
from app.serve.cell_config import CellConfig
from app.serve.server import greet, serve
from app.serve.service import Service
from app.serve.signals import Signals


def main(listener_descriptor: int, link_descriptor: int, owner_descriptor: int) -> int:
    """Serve as a cell until a signal, or until the parent is gone. Returns the exit code.

    While it has the owner's file open, nobody else can own the data folder, even if the parent was killed.
    """
    signals = Signals()
    signals.hear()
    listener = socket.socket(fileno=listener_descriptor)
    link = socket.socket(fileno=link_descriptor)
    for inherited in (listener_descriptor, link_descriptor, owner_descriptor):
        os.set_inheritable(inherited, False)
    try:
        config = receive_config(link, CellConfig)
    except EOFError:
        return 1
    if not die_with(config.parent_pid):
        return 1
    set_process_title(f"gateway {config.name}")
    configure_logging(config.settings.log_level, cell=config.name)

    bus = HostBus(config.name, link)

    async def ready(service: Service) -> None:
        bus.serving()
        service.spawn(_greet_when_asked(bus, service))

    def make() -> Service:
        folder = DataFolder(Path(config.settings.data), owner_descriptor)
        return Service(config.settings, folder, config.name, bus=bus)

    return serve(config.settings, make, listener, signals, ready)


async def _greet_when_asked(bus: HostBus, service: Service) -> None:
    await bus.greet.wait()
    await greet(service)
