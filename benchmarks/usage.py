"""What a process takes: memory in bytes, CPU in seconds."""

from __future__ import annotations

import os
import re
import resource
import sys
import time
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True, slots=True)
class Cpu:
    """CPU seconds of this process and of those it started and waited for."""

    user: float
    system: float

    @classmethod
    def now(cls) -> Cpu:
        """What was used so far."""
        both = [resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)]
        return cls(sum(usage.ru_utime for usage in both), sum(usage.ru_stime for usage in both))


def resident() -> int:
    """Bytes of memory held now; where the system does not tell, the most there ever were."""
    try:
        with open("/proc/self/statm", encoding="ascii") as file:
            return int(file.read().split()[1]) * os.sysconf("SC_PAGE_SIZE")
    except OSError:
        return _most(resource.RUSAGE_SELF)


def peak() -> int:
    """The most bytes of memory this process ever held, or the largest it started and waited for."""
    return _most(resource.RUSAGE_CHILDREN) or own_peak()


def own_peak() -> int:
    """The most bytes of memory this process ever held, without what its parent held where it began."""
    return peak_of(os.getpid()) or _most(resource.RUSAGE_SELF)


def _most(who: int) -> int:
    most = resource.getrusage(who).ru_maxrss
    return most if sys.platform == "darwin" else most * 1024


def cpu_of(pid: int) -> float | None:
    """The CPU seconds of another process; None where the system does not tell. Exact: a clock, no ticks."""
    if sys.platform != "linux":
        return None
    return time.clock_gettime(~pid << 3 | 2)  # what clock_getcpuclockid(3) makes of a process id


def peak_of(pid: int) -> int | None:
    """The most bytes of memory a process ever held; None where the system does not tell."""
    try:
        status = Path(f"/proc/{pid}/status").read_text(encoding="ascii")
    except OSError:
        return None
    found = re.search(r"^VmHWM:\s+(\d+) kB$", status, re.MULTILINE)
    return int(found.group(1)) * 1024 if found else None
