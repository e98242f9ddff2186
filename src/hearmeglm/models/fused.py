"""Layers that do the same with fewer passes over memory."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any


def fuse(model: Any) -> list[Callable[[], None]]:
    """Replace what can be replaced; returns one undo function per layer."""
    return []
