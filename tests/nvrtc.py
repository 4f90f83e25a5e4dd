"""NVRTC, NVIDIA's compiler as a library, which needs neither GPU nor driver: what `minidl.kernels.gpu` has CuPy do."""

from __future__ import annotations

import ctypes
import ctypes.util
import importlib.util
from collections.abc import Sequence
from functools import cache
from pathlib import Path


@cache
def library() -> ctypes.CDLL | None:
    """NVRTC of a Python package (nvidia-cuda-nvrtc) or of the machine; None where there is none."""
    packages = importlib.util.find_spec("nvidia")
    folders = [Path(place) for place in (packages.submodule_search_locations or [])] if packages else []
    found = [str(path) for folder in folders for path in sorted(folder.glob("*/lib/libnvrtc.so*"))]
    for name in [*found, ctypes.util.find_library("nvrtc")]:
        if name:
            try:
                return ctypes.CDLL(name)
            except OSError:  # not for this machine
                continue
    return None


def _check(nvrtc: ctypes.CDLL, status: int) -> None:
    if status:
        nvrtc.nvrtcGetErrorString.restype = ctypes.c_char_p
        raise RuntimeError(nvrtc.nvrtcGetErrorString(status).decode())


def architectures() -> list[int]:
    """Those that it makes machine code for, 75 and so on."""
    nvrtc, count = library(), ctypes.c_int()
    assert nvrtc is not None
    _check(nvrtc, nvrtc.nvrtcGetNumSupportedArchs(ctypes.byref(count)))
    known = (ctypes.c_int * count.value)()
    _check(nvrtc, nvrtc.nvrtcGetSupportedArchs(known))
    return list(known)


def compiled(text: str, name: str, kernels: Sequence[str], architecture: int) -> tuple[dict[str, str], bytes, str]:
    """The lowered name of each kernel, the machine code, and the compiler's log; RuntimeError with the log."""
    nvrtc = library()
    assert nvrtc is not None
    program = ctypes.c_void_p()
    _check(nvrtc, nvrtc.nvrtcCreateProgram(ctypes.byref(program), text.encode(), name.encode(), 0, None, None))
    try:
        for kernel in kernels:
            _check(nvrtc, nvrtc.nvrtcAddNameExpression(program, kernel.encode()))
        # the last two are CuPy's
        options = [f"-arch=sm_{architecture}", "-std=c++17", "-ftz=true", "--device-as-default-execution-space"]
        given = (ctypes.c_char_p * len(options))(*(each.encode() for each in options))
        status = nvrtc.nvrtcCompileProgram(program, len(options), given)
        size = ctypes.c_size_t()
        _check(nvrtc, nvrtc.nvrtcGetProgramLogSize(program, ctypes.byref(size)))
        log = ctypes.create_string_buffer(size.value)
        _check(nvrtc, nvrtc.nvrtcGetProgramLog(program, log))
        if status:
            raise RuntimeError(log.value.decode())
        lowered = {}
        for kernel in kernels:
            text_of = ctypes.c_char_p()
            _check(nvrtc, nvrtc.nvrtcGetLoweredName(program, kernel.encode(), ctypes.byref(text_of)))
            lowered[kernel] = (text_of.value or b"").decode()
        _check(nvrtc, nvrtc.nvrtcGetCUBINSize(program, ctypes.byref(size)))
        code = ctypes.create_string_buffer(size.value)
        _check(nvrtc, nvrtc.nvrtcGetCUBIN(program, code))
        return lowered, code.raw, log.value.decode()
    finally:
        nvrtc.nvrtcDestroyProgram(ctypes.byref(program))
