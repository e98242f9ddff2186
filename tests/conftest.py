"""Shared fixtures."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

os.environ.setdefault(
    "HEARME_GUARD_LAYERS", "rules+linear"
)  # tests of the model-based layer ask for it; the others stay fast


@pytest.fixture
def shared_data() -> Path:
    """The real public data beside the project; the test is skipped where they are absent."""
    folder = Path(__file__).parents[1].parent / "shared" / "data"
    if not folder.is_dir():
        pytest.skip("the real data sets (../shared/data) are not here")
    return folder
