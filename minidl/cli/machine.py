"""Device, backend and threads: setting them and naming them."""

from __future__ import annotations

import argparse
import os

import minidl
from minidl.kernels import build, native

__all__ = ["MACHINE", "describe_machine", "device", "set_machine"]

MACHINE = ("threads", "backend", "device", "quiet")  # options that change no result


_chosen = {"device": "cpu"}


def device() -> str:
    """Where the command computes."""
    return _chosen["device"]


def set_machine(options: argparse.Namespace) -> None:
    """Apply --threads, --backend and --device; RuntimeError where there is no such device."""
    _chosen["device"] = getattr(options, "device", "cpu")
    minidl.zeros(0, device=device())
    if hasattr(options, "threads"):
        native.set_num_threads(options.threads)
    if hasattr(options, "backend"):
        minidl.backend(options.backend)


def describe_machine() -> str:
    """Device, or backend, instruction set and threads, in a few words."""
    if device() == "emulator":
        return f"the CUDA kernels in the emulator, {os.environ.get('MINIDL_EMULATOR', 'quick')}"
    if device() != "cpu":
        return f"device {device()}"
    if minidl.backend() == "reference":
        return (
            "the NumPy reference" if native.compiled else "the NumPy reference (nothing is compiled; see minidl doctor)"
        )
    info = build.build_info()
    return f"native kernels, {info['chosen']}, {info['threads']} thread{'s' if info['threads'] > 1 else ''}"
