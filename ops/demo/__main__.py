"""`python -m ops.demo`: reads `SEED`, `FAULT`, `MINUTES` and `CLIENTS`; exit code 0 only if every claim was true."""

from __future__ import annotations

import asyncio
import os
import random
import sys

from ops.demo.run import INTERRUPTED, demo
from ops.demo.script import BadSetting, read_script


def main() -> int:
    """The exit code: 0 all claims true, 1 not all, 2 a wrong setting, 130 Ctrl-C."""
    try:
        script = read_script(os.environ, random.Random())
    except BadSetting as error:
        print(f"crossfade demo: {error}", file=sys.stderr)
        return 2
    try:
        return asyncio.run(demo(script))
    except (KeyboardInterrupt, asyncio.CancelledError):
        return INTERRUPTED


sys.exit(main())
