"""Memory of a worker as the kernel counts it: resident size, and its proportional share (PSS)."""

from __future__ import annotations

import resource
import sys
from dataclasses import dataclass
from pathlib import Path

import psutil

from app.daemon_thread import DaemonThread

_PAGE_BYTES = resource.getpagesize()
_LINUX = sys.platform == "linux"


@dataclass(frozen=True, slots=True)
class ProportionalShare:
    """PSS counts a page shared by n processes as 1/n; `anonymous_bytes` leaves out what is backed by files."""

    pss_bytes: int
    anonymous_bytes: int


@dataclass(slots=True)
class WorkerMemory:
    """What is known of one worker's memory; None: not measured yet."""

    rss_bytes: int | None = None
    share: ProportionalShare | None = None
    baseline: ProportionalShare | None = None
    """Right after the start, before the first session."""

    def session_bytes(self, sessions: int) -> float | None:
        """Anonymous PSS above the baseline, per session; None: unknown, or there is no session."""
        if self.share is None or self.baseline is None or sessions <= 0:
            return None
        return max(0, self.share.anonymous_bytes - self.baseline.anonymous_bytes) / sessions


share_thread = DaemonThread("proc")
"""For `read_share`; the gateway's workers share it."""


def read_rss(pid: int) -> int | None:
    """Resident bytes of a process, which takes microseconds; None: it is gone."""
    try:
        if _LINUX:
            return int(Path(f"/proc/{pid}/statm").read_bytes().split()[1]) * _PAGE_BYTES
        return int(psutil.Process(pid).memory_info().rss)  # type: ignore[no-untyped-call]
    except (OSError, IndexError, psutil.Error):
        return None


def read_share(pid: int) -> ProportionalShare | None:
    """The share of a process; None: it is gone. It takes 20 ms at 1 GB, so call it in a thread.

    Elsewhere than on Linux the resident size stands for both.
    """
    if not _LINUX:
        resident = read_rss(pid)
        return None if resident is None else ProportionalShare(resident, resident)
    try:
        text = Path(f"/proc/{pid}/smaps_rollup").read_text()
    except OSError:
        return None
    return parse_smaps_rollup(text)


def parse_smaps_rollup(text: str) -> ProportionalShare | None:
    """The figures of one `smaps_rollup`, see proc(5); None when it is empty, as that of a process that just ended."""
    kilobytes = {}
    for line in text.splitlines():
        name, _, value = line.partition(":")
        words = value.split()
        if words[1:] == ["kB"]:
            kilobytes[name] = int(words[0])
    if "Pss" not in kilobytes:
        return None
    # Pss_Anon is there since Linux 5.4; before, what is private and dirty is nearest to it.
    anonymous = kilobytes.get("Pss_Anon", kilobytes.get("Private_Dirty", 0))
    return ProportionalShare(kilobytes["Pss"] * 1024, anonymous * 1024)
