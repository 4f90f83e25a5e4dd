"""The kernels' source as a GPU's machine compiles it: by NVRTC, which needs no GPU, and from an installed package."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import nvrtc
import pytest

from minidl.kernels import emulator
from minidl.kernels.cuda.source import folder, source

NEEDS_EMULATOR = pytest.mark.skipif(
    not emulator.available(checked=False), reason="the quick emulator is not built: python setup.py build_ext --inplace"
)


def instances() -> dict[str, list[str]]:
    """The kernels that launch lines may name, by file."""
    found: dict[str, list[str]] = {}
    for kernel in sorted(emulator.library(False).kernels):
        found.setdefault(source(kernel)[0], []).append(kernel)
    return found


@NEEDS_EMULATOR
@pytest.mark.timeout(600)
@pytest.mark.parametrize("file", sorted(path.name for path in folder().glob("*.cu")))
def test_nvrtc_makes_every_instance(file: str) -> None:
    if nvrtc.library() is None:
        pytest.skip("needs NVRTC: pip install nvidia-cuda-nvrtc")
    kernels = instances()[file]
    for architecture in (75, 90) if file == "matmul.cu" else (90,):  # all of them: test_cuda.py
        lowered, code, log = nvrtc.compiled(source(kernels[0])[1], file, kernels, architecture)
        assert set(lowered) == set(kernels) and len(set(lowered.values())) == len(kernels) and not log
        assert code[:4] == b"\x7fELF" and all(name.encode() in code for name in lowered.values())


def test_nvrtc_makes_only_what_is_asked_for_and_names_the_line() -> None:
    if nvrtc.library() is None:
        pytest.skip("needs NVRTC: pip install nvidia-cuda-nvrtc")
    name, text = source("reduce::tree<float>")
    _, code, _ = nvrtc.compiled(text, name, ["reduce::tree<float>"], 75)
    assert b"treeIf" in code and b"treeId" not in code and b"two_pass" not in code
    line = next(n for n, each in enumerate((folder() / name).read_text().splitlines(), 1) if "part[t] = sum;" in each)
    with pytest.raises(RuntimeError, match=rf"reduce\.cu\({line}\): error: identifier \"gone\""):
        nvrtc.compiled(text.replace("part[t] = sum;", "part[t] = gone;"), name, ["reduce::tree<float>"], 75)


def test_included_files_are_in_the_text_once() -> None:
    text = source("reduce::tree<float>")[1]
    assert text.count("block_sum(T x) {") == 1 and text.count("#define UNROLL") == 1
    assert '#include "block.cuh"' not in text and "namespace minidl::emulator" not in text
    assert not re.findall(r'#include "(?!words|warp|vectors|atomics)', text)
    assert Path(folder(), "emulator", "cuda.h").exists()


def test_an_installed_package_has_the_source(tmp_path: Path) -> None:
    """Built without a compiler, which is quick: what the GPU needs is there all the same, and found."""
    pytest.importorskip("setuptools", minversion="77", reason="needs setuptools 77, which builds minidl")
    command = [sys.executable, "setup.py", "-q", "build", "--build-base", str(tmp_path / "base")]
    command += ["--build-lib", str(tmp_path / "lib")]
    environment = os.environ | {"CC": "false", "CXX": "false", "MINIDL_BUILD_STRICT": ""}
    root = Path(__file__).parent.parent
    run = subprocess.run(command, cwd=root, env=environment, capture_output=True, text=True)
    assert run.returncode == 0, run.stderr
    ask = "import minidl.kernels.cuda.source as s; print(s.folder()); print(s.source('reduce::tree<float>')[1])"
    environment |= {"PYTHONPATH": str(tmp_path / "lib")}
    run = subprocess.run([sys.executable, "-c", ask], cwd=tmp_path, env=environment, capture_output=True, text=True)
    place, _, text = run.stdout.partition("\n")
    assert Path(place) == tmp_path / "lib" / "minidl" / "kernels" / "cuda" / "csrc", run.stderr
    assert text.strip() == source("reduce::tree<float>")[1]
