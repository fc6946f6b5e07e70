"""The errors of the service, one tree. A message says what was wrong and what is allowed.

    CrossfadeError
    ├── SettingError        a setting has a value that is not allowed; stops the start
    ├── FactoryError        a supervisor factory cannot be imported, or makes nothing usable
    ├── HostShortage        the machine has no descriptor, memory or process left to start one of ours
    ├── StateIncompatible   one path cannot restore the other's state documents
    ├── LinkError           a frame on a worker's link cannot be read; the link is closed
    ├── IllegalTransition   a session does not allow this in its state
    ├── StoreUnavailable    the store cannot be reached; serving goes on, changes are refused
    ├── FolderTaken         the data folder belongs to another service; stops the start
    ├── UnknownCell         there is no cell of this name                                         (404)
    ├── CellStillThere      a cell cannot be given up, because it reports or did just now         (409)
    ├── RevisionTaken       another writer saved the record first                    app.store.port
    ├── FlagRejected        the flag engine does not take a document                 app.flags
    ├── UnusableKeys        a key, or a set of them, can check no token              app.verification_keys
    ├── FetchFailed         an issuer's keys cannot be had now                       app.gateway.key_set_fetch
    ├── KeysUnavailable     a token cannot be checked now                            app.gateway.issuer_keys
    ├── UnknownKey          an issuer has no such key                                app.gateway.issuer_keys
    ├── TokenRefused        a token signs nobody in                                  app.gateway.token_check
    ├── RequestRefused      a request is refused before it is parsed                 app.gateway.request_head
    ├── AdmissionRefused    a client is not let in, with its HTTP status             app.gateway.admission
    ├── BrokenRun           a supervisor broke the rules of a run                    app.worker.execution
    ├── LoadTestError       a load test cannot be run as asked                       app.loadtest.options
    └── SupervisorError     what a supervisor raises; drawn there                    app.supervisor.errors

Those with a module behind them are defined there, beside what raises them.
"""

from __future__ import annotations


class CrossfadeError(Exception):
    """Root of the tree; its text may be shown to an operator, never to a WebSocket client."""


class SettingError(CrossfadeError):
    """A setting's value is not allowed: names the variable, the value and what is allowed, in one line."""

    def __init__(self, words: str) -> None:
        super().__init__(" ".join(words.splitlines()))  # the cause's own text may have several


class FactoryError(CrossfadeError):
    """A supervisor factory (`package.module:factory`) cannot be imported, or makes nothing usable."""


class HostShortage(CrossfadeError):
    """The machine has no descriptor, memory or process left to start one of ours; no fault of what it would run."""


class StateIncompatible(CrossfadeError):
    """One path cannot restore the other's state documents, so a load or a rollback would lose state."""


class LinkError(CrossfadeError):
    """A frame on a worker's link is too long or cannot be read; the link is closed."""


class IllegalTransition(CrossfadeError):
    """A session does not allow this in its state: names the states that would, and the actual one."""


class StoreUnavailable(CrossfadeError):
    """The store cannot be reached. Serving goes on with what is known; every change but a rollback is refused."""


class FolderTaken(CrossfadeError):
    """The data folder belongs to another service of this host: says whose it is. Stops the start."""


class UnknownCell(CrossfadeError):
    """There is no cell of this name: names the cells that exist."""


class CellStillThere(CrossfadeError):
    """A cell cannot be given up, because it still reports: says how long ago it was heard."""
