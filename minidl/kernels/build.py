"""What was compiled, what is in use, and what to type where native code is missing."""

from __future__ import annotations

import hashlib
import json
import os
import sys
from pathlib import Path
from typing import Any

_PACKAGE = Path(__file__).resolve().parent.parent

REMEDY = (
    "install a C++20 compiler (Debian, Ubuntu: `apt install g++`; macOS: `xcode-select --install`) "
    "and install minidl again"
)


def _report() -> dict[str, Any]:
    """What setup.py wrote down when this package was built."""
    try:
        report: dict[str, Any] = json.loads((_PACKAGE / "_build.json").read_text())
    except (OSError, ValueError):
        report = {}
    return report


def build_info() -> dict[str, Any]:
    """How the compiled kernels came about, for `minidl doctor`.

    Keys: `native` (whether they are in use), `compiler` (its version line, or None), `compiled` (instruction sets in
    the build), `usable` (those that this machine runs), `chosen` (the one in use, or None), `threads`, `weak_symbols`
    (definitions that the linker could mix up between instruction sets: an empty list; None where `nm` was missing),
    `errors` (name of the extension -> reason that it was not built or does not load) and `remedy` (what to type, or
    None).
    """
    report = _report()
    info: dict[str, Any] = {
        "native": False,
        "compiler": report.get("compiler"),
        "compiled": report.get("levels", []),
        "usable": [],
        "chosen": None,
        "threads": 1,
        "weak_symbols": report.get("weak_symbols"),
        "errors": dict(report.get("errors", {})),
        "remedy": None,
    }
    try:
        from minidl import _native
    except ImportError as error:
        info["errors"].setdefault("minidl._native", str(error))
        info["remedy"] = REMEDY
    else:
        info |= {
            "native": True,
            "usable": _native.levels(),
            "chosen": _native.get_level(),
            "threads": _native.get_num_threads(),
        }
    return info


def cache_folder() -> Path:
    """The user's folder for what minidl may lose: `$XDG_CACHE_HOME/minidl`, by default `~/.cache/minidl`."""
    base = os.environ.get("XDG_CACHE_HOME")
    return (Path(base) if base else Path(os.path.expanduser("~")) / ".cache") / "minidl"


def announce() -> None:
    """Says on stderr, once per installation, that native code is missing and what to type. Never raises."""
    installation = hashlib.sha256(str(_PACKAGE).encode()).hexdigest()[:12]
    marker = cache_folder() / f"native-missing-{installation}"
    try:
        if marker.exists():
            return
        marker.parent.mkdir(parents=True, exist_ok=True)
        marker.touch()
    except OSError:  # no home, or a read-only one: then it is said each time
        pass
    print(f"minidl: no compiled kernels here, everything runs on NumPy, slower; for native speed {REMEDY} "
          "(`minidl doctor` tells the reason).", file=sys.stderr)
