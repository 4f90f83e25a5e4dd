"""Backend and threads: setting them and naming them."""

from __future__ import annotations

import argparse

import minidl
from minidl.kernels import build, native

__all__ = ["MACHINE", "describe_machine", "set_machine"]

MACHINE = ("threads", "backend", "quiet")  # options that change no result


def set_machine(options: argparse.Namespace) -> None:
    """Apply --threads and --backend."""
    if hasattr(options, "threads"):
        native.set_num_threads(options.threads)
    if hasattr(options, "backend"):
        minidl.backend(options.backend)


def describe_machine() -> str:
    """Backend, instruction set and threads in a few words."""
    if minidl.backend() == "reference":
        return (
            "the NumPy reference" if native.compiled else "the NumPy reference (nothing is compiled; see minidl doctor)"
        )
    info = build.build_info()
    return f"native kernels, {info['chosen']}, {info['threads']} thread{'s' if info['threads'] > 1 else ''}"
