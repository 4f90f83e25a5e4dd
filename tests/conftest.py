"""Settings for every test: reproducible Hypothesis, real data from MINIDL_DATA."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import HealthCheck, settings

# One profile everywhere: the same examples on every machine and every run, and no deadline that a busy machine breaks.
settings.register_profile(
    "minidl", derandomize=True, deadline=None, database=None, suppress_health_check=[HealthCheck.too_slow]
)
settings.load_profile("minidl")


@pytest.fixture
def real_data() -> Callable[[str], Path]:
    """real_data("mnist") is the folder with that data, or the test is skipped with the reason."""

    def folder(name: str) -> Path:
        root = os.environ.get("MINIDL_DATA")
        if not root:
            pytest.skip(f"needs the real {name} data: set MINIDL_DATA to the folder that holds {name}/")
        if not (Path(root) / name).is_dir():
            pytest.skip(f"MINIDL_DATA={root} has no folder {name}/")
        return Path(root) / name

    return folder
