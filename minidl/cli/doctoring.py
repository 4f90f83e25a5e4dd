"""minidl doctor: what is there, what is missing, and the line to type for it."""

from __future__ import annotations

import importlib.metadata
import os
import platform
import shutil
import subprocess
import sys

from minidl.cli.options import version
from minidl.kernels import build

__all__ = ["run_doctor"]

OPTIONAL = {
    "tqdm": "progress bars",
    "matplotlib": "pictures",
    "pillow": "predicting from image files",
    "ml_dtypes": "bfloat16",
    "jupyterlab": "the lessons",
    "hypothesis": "the tests",
    "pytest": "the tests",
}


def run_doctor() -> int:
    """Print the report; the exit code, which is 0: what is missing is told, not punished."""
    info = build.build_info()
    line("minidl", version())
    line("Python", f"{platform.python_version()} ({sys.executable})")
    line("NumPy", importlib.metadata.version("numpy"))
    line("machine", f"{platform.system()} {platform.machine()}")
    line("compiler", info["compiler"] or "none when minidl was installed")
    if info["native"]:
        line(
            "instructions",
            f"{info['chosen']} (compiled: {', '.join(info['compiled']) or 'unknown'}; this machine runs:"
            f" {', '.join(info['usable'])})",
        )
        line("threads", str(info["threads"]))
    else:
        line("kernels", "NumPy only, slower than compiled ones")
    for name, reason in info["errors"].items():
        line("not built", f"{name}: {reason}")
    if info["remedy"]:
        remedy(str(info["remedy"]))
    line("GPU", graphics_card())
    line("emulator", emulator())
    missing = []
    for name, purpose in OPTIONAL.items():
        try:
            line(name, importlib.metadata.version(name))
        except importlib.metadata.PackageNotFoundError:
            line(name, f"missing; it is for {purpose}")
            missing.append(name)
    if missing:
        remedy(f"{sys.executable} -m pip install {' '.join(missing)}")
    return 0


def emulator() -> str:
    """Whether device "emulator" is there, and how it runs kernels."""
    from minidl.kernels import emulator as emulated

    if not emulated.available(checked=False):
        return "not built; it needs a C++20 compiler (g++ or clang++) when minidl is installed"
    mode = os.environ.get("MINIDL_EMULATOR", "quick")
    return f"device 'emulator' runs the CUDA kernels on the CPU, {mode} (MINIDL_EMULATOR=quick or checked)"


def line(name: str, value: str) -> None:
    print(f"{name:14}{value}")


def remedy(text: str) -> None:
    print(f"{'':14}-> {text}")


def graphics_card() -> str:
    """The first NVIDIA card by its driver's own words."""
    tool = shutil.which("nvidia-smi")
    if tool is None:
        return "none found; everything runs on the CPU"
    try:
        found = subprocess.run([tool, "-L"], capture_output=True, text=True, timeout=10).stdout.strip().splitlines()
    except (OSError, subprocess.TimeoutExpired):
        found = []
    return found[0].split(" (UUID")[0] if found else "the driver finds none; everything runs on the CPU"
