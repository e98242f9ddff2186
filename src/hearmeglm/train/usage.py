"""Memory really in use: now, at its peak, and given back after a stage. (`memory` reckons it beforehand.)"""

from __future__ import annotations

import ctypes
import gc
import sys
from contextlib import suppress
from pathlib import Path
from typing import Any


def give_memory_back() -> None:
    """After a stage: free its model, which the Trainer's cycles still hold, and let glibc return what it keeps (0.6 GB after a 270M)."""
    gc.collect()
    if sys.platform == "linux":
        with suppress(AttributeError, OSError):  # another C library
            ctypes.CDLL(None).malloc_trim(0)


def memory_now(torch: Any) -> int:
    """Memory in use in bytes: of the GPU where one is used, else the resident size of this process."""
    if torch.cuda.is_available():
        return int(torch.cuda.memory_allocated())
    import psutil  # type: ignore[import-untyped]  # comes with accelerate

    return int(psutil.Process().memory_info().rss)


def forget_peak(torch: Any) -> None:
    """Let `peak_memory` begin anew, so that it tells of what comes now and not of an earlier stage; only on Linux for a CPU."""
    if torch.cuda.is_available():
        torch.cuda.reset_peak_memory_stats()
    else:
        with suppress(OSError):
            Path("/proc/self/clear_refs").write_text("5", encoding="ascii")


def peak_memory(torch: Any) -> int:
    """Peak memory in bytes: of the GPU where one is used, else the largest resident size of this process since `forget_peak`."""
    if torch.cuda.is_available():
        return int(torch.cuda.max_memory_allocated())
    try:
        import resource
    except ImportError:  # Windows
        return 0
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return int(peak if sys.platform == "darwin" else peak * 1024)
