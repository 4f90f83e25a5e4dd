"""The CUDA kernels go through NVIDIA's compiler, which needs no GPU: machine code for each architecture, without a
warning and without a spill.
"""

from __future__ import annotations

import re
import shutil
import subprocess
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
CSRC = ROOT / "csrc"
ARCHITECTURES = ["75", "80", "86", "89", "90"]
SOURCES = [*sorted(CSRC.glob("*.cu")), ROOT / "tests" / "faults.cu"]


def compile_cuda(source: Path, target: Path, oldest: str = ARCHITECTURES[0]) -> str:
    """The assembler's report on `source`, translated once for the oldest architecture and assembled for all newer."""
    nvcc = shutil.which("nvcc")
    if nvcc is None:
        pytest.skip("needs nvcc, of NVIDIA's CUDA toolkit")
    listed = subprocess.run([nvcc, "--list-gpu-code"], capture_output=True, text=True, check=True).stdout.split()
    known = {name.removeprefix("sm_") for name in listed}
    missing = sorted(set(ARCHITECTURES) - known)
    codes = [arch for arch in ARCHITECTURES if arch in known and int(arch) >= int(oldest)]
    codes += [max((name for name in known if name.isdigit()), key=int)]
    assert not missing, f"this nvcc knows no {missing}; it knows {sorted(known)}"
    code = ",".join(f"sm_{arch}" for arch in dict.fromkeys(codes))
    command = [nvcc, "-std=c++17", "-fatbin", f"-I{CSRC}", "-gencode", f'arch=compute_{codes[0]},code="{code}"']
    command += ["--threads", "2", "-Xptxas", "-v", "-Werror", "all-warnings", str(source), "-o", str(target)]
    run = subprocess.run(command, capture_output=True, text=True, timeout=1200)
    assert run.returncode == 0, run.stderr
    assert "warning" not in run.stderr, run.stderr
    return run.stderr


@pytest.mark.timeout(1200)
@pytest.mark.parametrize("source", SOURCES, ids=lambda path: path.name)
def test_machine_code_without_warnings_or_spills(source: Path, tmp_path: Path) -> None:
    report = compile_cuda(source, tmp_path / "kernels.fatbin")
    kernels = re.findall(r"Compiling entry function '(\w+)' for 'sm_(\d+)'", report)
    spills = re.findall(r"(\d+) bytes spill stores, (\d+) bytes spill loads", report)
    instances = sum(1 for line in source.read_text().splitlines() if re.match(r"(PLAIN_)?KERNEL\(", line))
    assert {arch for _, arch in kernels} >= set(ARCHITECTURES) and len({arch for _, arch in kernels}) >= 6
    assert len({name for name, _ in kernels}) >= max(instances, 4) and len(spills) >= len(kernels)
    assert all(pair == ("0", "0") for pair in spills), report


@pytest.mark.timeout(1200)
def test_tensor_cores_are_used_from_compute_capability_80_on(tmp_path: Path) -> None:
    """Translated for 7.5, as above, those kernels hold no more than a trap."""
    report = compile_cuda(CSRC / "matmul.cu", tmp_path / "kernels.fatbin", oldest="80")
    assert {arch for _, arch in re.findall(r"Compiling entry function '(\w+)' for 'sm_(\d+)'", report)} >= {"80", "90"}
    assert not re.search(r"[1-9]\d* bytes spill stores", report), report
    translated = tmp_path / "kernels.ptx"
    command = ["nvcc", "-std=c++17", "-ptx", f"-I{CSRC}", "-arch=compute_80", str(CSRC / "matmul.cu"), "-o"]
    subprocess.run([*command, str(translated)], check=True, timeout=600)
    text = translated.read_text()
    for word in ("mma.sync.aligned.m16n8k8", "mma.sync.aligned.m16n8k16", "cvt.rna.tf32.f32"):
        assert word in text


def test_a_spill_and_a_warning_would_be_seen(tmp_path: Path) -> None:
    """A kernel that may use 64 registers and needs many more; one with a variable that nobody uses."""
    body = "template <class T> __global__ void __launch_bounds__(1024) f(T* p) {\n"
    body += "T x[200]; UNROLL for (int i = 0; i < 200; ++i) x[i] = p[i * 7];\n"
    body += "__syncthreads(); UNROLL for (int i = 0; i < 200; ++i) p[i] = x[199 - i]; }\n"
    spilling = tmp_path / "spilling.cu"
    spilling.write_text(f'#include "emulator/cuda.h"\n{body}KERNEL(f<float>)\n')
    report = compile_cuda(spilling, tmp_path / "spilling.fatbin")
    assert re.search(r"[1-9]\d* bytes spill stores", report)
    warned = tmp_path / "warned.cu"
    warned.write_text('#include "emulator/cuda.h"\n__global__ void f(int* p) { int unused; p[0] = 1; }\n')
    with pytest.raises(AssertionError, match="unused"):
        compile_cuda(warned, tmp_path / "warned.fatbin")
