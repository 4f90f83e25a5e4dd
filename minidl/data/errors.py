"""What the data functions raise."""

from __future__ import annotations


class DataError(ValueError):
    """Data that cannot be used: one sentence that names the place, the cause and the remedy."""


class DataNotFoundError(DataError, FileNotFoundError):
    """Data that is not where it was looked for."""
