"""The errors of the service, one tree; what a person reads in them says what was wrong and what is allowed.

    CrossfadeError
    ├── SettingError        a setting has a value that is not allowed; stops the start
    ├── FactoryError        a supervisor factory cannot be imported or is not usable
    ├── StateIncompatible   one path cannot restore the other's state documents
    ├── LinkError           a peer on a worker's link broke the frame protocol
    ├── IllegalTransition   a session was told something its state does not allow
    ├── StoreUnavailable    the store cannot be reached; serving goes on, changes are refused
    ├── UnknownCell         there is no cell of this name                                  (404)
    ├── CellStillThere      a cell cannot be given up, because it reports or did just now  (409)
    └── Unsatisfied         a call cannot be answered as asked (API: a problem document)

It must not know of any web framework.
"""


class CrossfadeError(Exception):
    """Root of the tree; its text may be shown to an operator, never to a WebSocket client."""


class SettingError(CrossfadeError):
    """A setting's value is not allowed: names the variable, the value and what is allowed, on one line."""


class FactoryError(CrossfadeError):
    """A supervisor factory (`package.module:factory`) cannot be imported, or makes nothing usable."""


class StateIncompatible(CrossfadeError):
    """One path cannot restore the other's state documents, so a load or a rollback would lose state."""


class LinkError(CrossfadeError):
    """A frame on a worker's link is too long or cannot be read; the link is closed."""


class IllegalTransition(CrossfadeError):
    """A session was told something that its state does not allow: names the expected states and the actual one."""


class StoreUnavailable(CrossfadeError):
    """The store cannot be reached. What is known is served on; a change other than a rollback is refused."""


class UnknownCell(CrossfadeError):
    """There is no cell of this name: names those that there are."""


class CellStillThere(CrossfadeError):
    """A cell that cannot be given up: says how long ago it was heard."""
