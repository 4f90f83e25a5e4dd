"""The kernels' source as NVRTC takes it: one text for a kernel, with all that it includes.

A checkout has the files in csrc/, an installed package has copies of them beside this module (setup.py puts them
there). Included files are written into the text: CuPy's cache on disk knows a kernel by its text, and would not notice
a change in a file that the text only names.
"""

from __future__ import annotations

import re
from functools import cache
from pathlib import Path

__all__ = ["folder", "source"]

_INCLUDE = re.compile(r'^#include "([^"]+)"$')
_NAMESPACE = re.compile(r"^namespace (\w+) {", re.MULTILINE)


def folder() -> Path:
    """Where the .cu files lie. RuntimeError where this installation has none."""
    here = Path(__file__).resolve().parent
    for place in (here / "csrc", here.parents[2] / "csrc"):
        if any(place.glob("*.cu")):
            return place
    raise RuntimeError("cuda: the kernels' source is missing in this installation; install minidl again")


@cache
def _families() -> dict[str, Path]:
    """The file that opens each namespace; kernels are named by it, as in matmul::tiled<float, 32>."""
    files = sorted(folder().glob("*.cu"))
    return {namespace: path for path in files for namespace in _NAMESPACE.findall(path.read_text(encoding="utf-8"))}


@cache
def source(kernel: str) -> tuple[str, str]:
    """The name of the file that has `kernel`, and its whole text. ValueError where there is no such file."""
    family = kernel.partition("::")[0]
    if family not in _families():
        raise ValueError(f"{kernel}: no kernel file has the namespace {family!r}; there are {', '.join(_families())}")
    path = _families()[family]
    return path.name, _whole(path, set())


def _whole(path: Path, seen: set[Path]) -> str:
    """The file with those that it includes, each once; the compiler's messages name the file and line all the same."""
    seen.add(path)
    lines = [f'#line 1 "{path.name}"']
    for number, line in enumerate(path.read_text(encoding="utf-8").splitlines(), 1):
        include = _INCLUDE.match(line)
        if include is None:
            lines.append("" if line == "#pragma once" else line)
            continue
        places = [place / include[1] for place in (path.parent, folder())]
        inner = next((place.resolve() for place in places if place.exists()), None)
        if inner is None or (inner.parent.name == "emulator" and inner.name != "cuda.h"):
            lines.append(line)  # the emulator's words, which a GPU's compiler skips
        elif inner not in seen:
            lines += [_whole(inner, seen), f'#line {number + 1} "{path.name}"']
    return "\n".join(lines)
