"""The emulator of the CUDA execution model: every planted fault is found, right kernels give no report, and counts are
what theory predicts. (What the kernels compute: test_emulator_kernels.py.)
"""

from __future__ import annotations

import ctypes
import os
import re
import shutil
import threading
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from minidl.kernels import emulation, emulator
from minidl.kernels.cuda import Backend, attention, conv, index, optim, softmax
from minidl.kernels.emulator import Counts, Device, KernelFault

pytestmark = pytest.mark.skipif(
    not emulator.available(), reason="the emulator is not built; type: python setup.py build_ext --inplace"
)
FAULTS = Path(__file__).parent / "faults.cu"
CSRC = Path(__file__).resolve().parent.parent / "csrc"
Run = Callable[..., tuple[np.ndarray, Counts]]


def compiled(folder: Path, source: Path = FAULTS) -> emulation.Library:
    if shutil.which(os.environ.get("CXX", "c++").split()[0]) is None:
        pytest.skip("needs a C++ compiler")
    return emulation.build(source, folder / "kernels.so", csrc=CSRC)


@pytest.fixture(scope="module")
def library(tmp_path_factory: pytest.TempPathFactory) -> emulation.Library:
    return compiled(tmp_path_factory.mktemp("faults"))


def launch(library: emulation.Library, name: str, n: int = 256, **options: Any) -> tuple[np.ndarray, Counts]:
    """One launch of faults::name on X = 0, 1, ... n-1; Y and what it took."""
    grid, block, seconds = options.pop("grid", 1), options.pop("block", 256), options.pop("seconds", 60.0)
    fresh, shared = options.pop("fresh", True), options.pop("shared", 0)
    X = options.pop("X", np.arange(n, dtype=np.float32))
    Y = options.pop("Y", np.zeros(X.shape, X.dtype))
    device = Device(kernels=library, seconds=seconds)
    arguments = {"n": n, "X": X, "Y": Y, **options}
    device.launch(f"faults::{name}", (grid,), (block,), arguments, writes=["Y"], fresh=fresh, shared=shared)
    return Y, device.launches[0].counts


# ---------------------------------------------------------------------------------------------- planted faults

# kernel, options, kind of fault, what the sentence must say
PLANTED: list[tuple[str, dict[str, Any], str, str]] = [
    ("missing_barrier", {}, "race", r"thread \(128, 0, 0\) writes 4 bytes of shared memory, .*\(127, 0, 0\) has read"),
    ("missing_barrier", {}, "uninitialised", r"thread \(0, 0, 0\) reads .* nobody has written"),
    ("missing_second_barrier", {}, "race", r"add __syncthreads\(\)"),
    ("missing_syncwarp", {}, "race", r"thread \(16, 0, 0\) .* thread \(15, 0, 0\)"),
    ("uninitialised", {}, "uninitialised", r"thread \(255, 0, 0\) reads 4 bytes of shared memory"),
    ("divergent_barrier", {"n": 200}, "divergent barrier", r"__syncthreads, which thread \(200, 0, 0\) never reaches"),
    ("two_barriers", {}, "different barriers", r"thread \(128, 0, 0\) waits at line \d+"),
    ("past_the_row", {}, "index", r"thread \(31, 0, 0\) uses index 32"),
    ("dynamic", {"shared": 1020}, "out of bounds", r"thread \(255, 0, 0\) writes .* dynamic .*, from byte 1020"),
    ("stuck_shuffle", {}, "stuck exchange", r"waits in __shfl_xor_sync for thread \(0, 0, 0\)"),
    ("absent_lane", {}, "absent lane", r"thread \(1, 0, 0\) asks lane 0"),
    ("off_by_one", {"n": 300, "grid": 2}, "out of bounds", r"block \(1, 0, 0\), thread \(44, 0, 0\) .*number 300"),
    ("writes_input", {"fresh": False}, "read-only", r"writes 4 bytes of X, from number 0 on"),
    ("misaligned", {}, "misaligned", r"reads 16 bytes at once of X, from number 1"),
    ("lost_addition", {"fresh": False}, "race", r"Y, from number 0 .*atomic operation"),
    ("lost_addition", {"n": 512, "grid": 2, "fresh": False}, "race", r"Y, from number 0"),
    ("between_blocks", {"n": 512, "grid": 2}, "race", r"block \(1, 0, 0\), .* block \(0, 0, 0\), .*two launches"),
    ("reads_result", {}, "uninitialised", r"reads 4 bytes of Y"),
    ("waits_forever", {"seconds": 0.2}, "endless", r"still ran after 0.2 s"),
    ("computes_forever", {"seconds": 0.2}, "endless", r"a loop that never ends"),
]


@pytest.mark.parametrize(("name", "options", "kind", "words"), PLANTED, ids=lambda value: str(value)[:24])
def test_a_planted_fault_is_found(
    library: emulation.Library, name: str, options: dict[str, Any], kind: str, words: str
) -> None:
    with pytest.raises(KernelFault) as caught:
        launch(library, name, **options)
    faults = [fault for fault in caught.value.faults if fault.kind == kind]
    assert faults, f"expected {kind}, found: {[str(fault) for fault in caught.value.faults]}"
    assert any(re.search(words, str(fault)) for fault in faults), [str(fault) for fault in faults]
    assert all(fault.kernel == f"faults::{name}" and "\n" not in str(fault) for fault in faults)
    if kind != "endless" and shutil.which("addr2line"):
        line = int(re.search(r" at faults\.cu:(\d+): block", str(faults[0]))[1])  # type: ignore[index]
        text = FAULTS.read_text().splitlines()
        start = next(i for i, row in enumerate(text, 1) if re.search(rf"__global__ void {name}\(", row))
        end = next(i for i, row in enumerate(text, 1) if i > start and row == "}")
        assert start < line < end, f"{faults[0]}: the kernel is in lines {start} to {end}"


RIGHT: list[tuple[str, dict[str, Any]]] = [
    ("reversed", {}),
    ("dynamic", {"shared": 1024}),
    ("warp_reversed", {}),
    ("atomic_addition", {"n": 512, "grid": 2, "fresh": False}),
    ("copy", {"stride": 1}),
]


@pytest.mark.parametrize(("name", "options"), RIGHT)
def test_the_right_form_gives_no_report(library: emulation.Library, name: str, options: dict[str, Any]) -> None:
    Y, _ = launch(library, name, **options)
    n = len(Y)
    X = np.arange(n)
    wanted = {
        "reversed": X[::-1],
        "dynamic": X[::-1],
        "warp_reversed": X ^ 31,
        "atomic_addition": np.where(X == 0, X.sum(), 0),
        "copy": X,
    }
    np.testing.assert_array_equal(Y, wanted[name])


def test_after_a_fault_the_next_launch_is_as_ever(library: emulation.Library) -> None:
    before = launch(library, "reversed")[1]
    wrong = [("waits_forever", {"seconds": 0.1}), ("divergent_barrier", {"n": 9}), ("missing_barrier", {})]
    for name, options in wrong:
        with pytest.raises(KernelFault):
            launch(library, name, **options)
        assert launch(library, "reversed")[1] == before


def test_a_kernel_in_another_thread_ends_too(library: emulation.Library) -> None:
    caught: list[KernelFault] = []

    def work() -> None:
        try:
            launch(library, "computes_forever", seconds=0.2)
        except KernelFault as fault:
            caught.append(fault)

    thread = threading.Thread(target=work)
    thread.start()
    thread.join(60)
    assert [fault.kind for fault in caught[0].faults] == ["endless"]


# --------------------------------------------------------------------------------- faults in the real kernels


def barriers(source: str) -> list[int]:
    """The lines of a kernel file with a __syncthreads()."""
    text = (CSRC / source).read_text(encoding="utf-8")
    return [number for number, line in enumerate(text.splitlines(), 1) if "__syncthreads();" in line]


@pytest.mark.timeout(600)
def test_no_barrier_of_the_real_kernels_can_be_left_out(tmp_path: Path) -> None:
    """Compiled so that one barrier after the other can be left out: each time some kernel is reported, else none."""
    library = compiled(tmp_path, Path(__file__).parent / "without_barrier.cu")
    leave_out = ctypes.CDLL(str(library.path)).leave_out
    random = np.random.default_rng(0)
    a, b, x = (random.random(shape, np.float32) for shape in ((130, 70), (70, 131), (2, 5000)))
    images, filters = random.random((1, 8, 9, 9)), random.random((8, 8, 2, 2))
    options = (1, 1), (0, 0), (1, 1), 1
    device = Device(kernels=library)
    asks: dict[str, list[Callable[[], Any]]] = {
        "block.cuh": [lambda: launch(library, "asks_twice")],
        "conv.cu": [
            partial(conv.conv2d_by_rung, device, "implicit", images, filters, None, *options),
            partial(conv.conv2d_weight_by_rung, device, "implicit", images, images, (1, 1), *options),
        ],
        "matmul.cu": [partial(rung, a, b, device=device) for _, rung in emulator.matmul]
        + [partial(emulator.tensor_cores.mma_tf32, a, b, device=device)],
        "attention.cu": [partial(attention.attention, device, *[np.ones((70, 40), np.float32)] * 3, None, False, 1.0)],
        "index.cu": [
            partial(index.scatter_add, device, x, 1, np.zeros(x.shape, np.int64), x),
            partial(index.add_rows, device, (2, 70), np.zeros(512, np.int64), np.ones((512, 70), np.float32)),
        ],
        "optim.cu": [partial(optim.adam_step, device, *[[x]] * 4, 1, 0.1, 0.9, 0.9, 0.1, 0.0, False)],
        "reduce.cu": [partial(rung, x, (1,), False, device=device) for _, rung in emulator.sum],
        "softmax.cu": [
            partial(softmax.softmax, device, x[:, :40], 0),
            partial(softmax.softmax_gradient, device, x[:, :40], x[:, 40:80], 0),
        ],
    }
    asks["block.cuh"] += asks["reduce.cu"]
    backend = Backend(device)
    asks["reduce.cu"] += [lambda: backend.amax(x, (1,), False), lambda: backend.amax(a, (0,), False)]  # rows, columns
    asks["reduce.cu"] += [lambda: backend.cumsum(x, 1)]
    for source, kernels in asks.items():
        for line in [0, *barriers(source)]:
            leave_out(source.encode(), line)
            found: list[set[str]] = []
            for kernel in kernels:
                try:
                    kernel()
                except KernelFault as fault:
                    found.append({each.kind for each in fault.faults})
            if line == 0:
                assert not found, found
            else:
                assert found, f"{source}:{line}: nothing was found without this barrier"
                assert all(kinds <= {"race", "uninitialised"} for kinds in found)


# ------------------------------------------------------------------------------------- the words of CUDA C++


def check_warp_words(library: emulation.Library) -> None:
    x = np.random.default_rng(3).integers(0, 50, 32).astype(np.int32)
    x[5] = 7
    y, counts = launch(library, "warp_words", 32, block=32, X=x, Y=np.zeros((32, 8), np.int32))
    lane = np.arange(32)
    votes = int(np.bitwise_or.reduce((x % 3 == 0).astype(np.uint32) << lane.astype(np.uint32)))
    np.testing.assert_array_equal(y[:, 0], x[3])
    np.testing.assert_array_equal(y[:, 1], np.where(lane >= 1, x[lane - 1], x))
    np.testing.assert_array_equal(y[:, 2], np.where(lane < 30, x[(lane + 2) % 32], x))
    np.testing.assert_array_equal(y[:, 3], x[lane ^ 5])
    np.testing.assert_array_equal(y[:, 4].astype(np.uint32), votes)
    np.testing.assert_array_equal(y[:, 5], 3)
    np.testing.assert_array_equal(y[:, 6], np.where(lane % 8 < 7, x[(lane + 1) % 32], x))
    np.testing.assert_array_equal(y[:28, 7], 2**28 - 1)
    assert counts.exchanges == 8


def test_shuffles_and_votes(library: emulation.Library) -> None:
    check_warp_words(library)


def test_atomic_operations(library: emulation.Library) -> None:
    x = np.random.default_rng(4).integers(-1000, 1000, 300).astype(np.int32)
    y, counts = launch(library, "atomics", 300, grid=2, X=x, Y=np.zeros(6, np.int32), fresh=False)
    assert (y[0], y[1], y[2], y[3], y[5]) == (x.sum(), max(0, x.max()), min(0, x.min()), 1, 1) and y[4] in x
    assert counts.atomics == 5 * 300 + 1


def test_the_portable_fibers(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """ucontext, which every processor but x86-64 uses."""
    monkeypatch.setenv("CXX", os.environ.get("CXX", "c++") + " -DMINIDL_UCONTEXT")
    library = compiled(tmp_path)
    check_warp_words(library)
    np.testing.assert_array_equal(launch(library, "reversed")[0], np.arange(256)[::-1])
    with pytest.raises(KernelFault, match="still ran"):
        launch(library, "computes_forever", seconds=0.2)


def test_a_compiler_error_is_told(tmp_path: Path) -> None:
    (tmp_path / "wrong.cu").write_text('#include "emulator/cuda.h"\n__global__ void wrong() { no_such_name(); }\n')
    with pytest.raises(RuntimeError, match="no_such_name"):
        emulation.build(tmp_path / "wrong.cu", tmp_path / "wrong.so", csrc=CSRC)


# ------------------------------------------------------------------------------------------------------ counts


def test_coalescing_shows_in_the_count(library: emulation.Library) -> None:
    """256 numbers of 4 bytes: side by side 8 in a sector, 32 bytes apart each has its own."""
    _, beside = launch(library, "copy", stride=1)
    _, apart = launch(library, "copy", 2048, stride=8)
    assert (beside.sectors, apart.sectors) == (2 * 256 // 8, 2 * 256)
    assert beside.global_loads == apart.global_loads == 256 // 32
    assert beside.bytes_used == beside.bytes == apart.bytes_used == 2 * 256 * 4


def test_a_vector_is_one_access(library: emulation.Library) -> None:
    x = np.random.default_rng(5).random((256, 4), np.float32)
    y, counts = launch(library, "copy_vectors", X=x, Y=np.zeros_like(x))
    np.testing.assert_array_equal(x, y)
    assert (counts.global_loads, counts.global_stores) == (8, 8) and counts.sectors == 2 * 256 * 16 // 32


@pytest.mark.parametrize("step", [0, 1, 2, 3, 4, 8, 16, 31])
def test_bank_conflicts(library: emulation.Library, step: int) -> None:
    """32 lanes read words t * step: lanes meet in a bank gcd(step, 32) times; the same word is no conflict."""
    _, counts = launch(library, "banks", 32, block=32, step=step)
    passes = 1 if step == 0 else int(np.gcd(step, 32))
    assert counts.shared_passes == 32 + passes  # 32 stores that fill the array, without conflict
    assert counts.bank_conflicts == passes - 1


def test_matmul_asks_for_what_theory_says() -> None:
    """N x N float32, N a multiple of every tile. A sector holds 8 numbers, a warp has 32 threads."""
    N = 256
    a, b = np.random.default_rng(0).random((2, N, N), np.float32)
    counted = {name: emulator.profile(rung, a, b) for name, rung in emulator.matmul}
    warps = N * N // 32
    # For each k, 32 numbers of A from 32 rows and one of B; C is written down a column.
    naive = warps * (N * (32 + 1) + 32)
    # For each k, one number of A and 32 neighbours of B, 4 sectors; C is written along a row.
    coalesced = warps * (N * (1 + 4) + 4)
    # For each tile of C and of k, 32 rows of 4 sectors, of A and of B.
    tiled = (N // 32) ** 2 * (N // 32) * 2 * 32 * 4 + N * N // 8
    # The same with tiles of C of 128 x 128: A has 128 rows of 16 numbers, B 16 rows of 128.
    large = (N // 128) ** 2 * (N // 16) * (128 * 2 + 16 * 16) + N * N // 8
    sectors = [naive, coalesced, tiled, large, large, large, large]
    assert [counts.sectors for counts in counted.values()] == sectors

    # A thread, a number: 2 loads for each k and a store. In tiles: what a tile holds. In packs of 4: a quarter of that.
    scalar = warps * (2 * N + 1)
    tile = warps * (2 * N // 32 + 1)
    part = (N // 128) ** 2 * (N // 16) * 2 * (128 * 16 // 32) + warps
    instructions = [scalar, scalar, tile, part, part // 4, part // 4, part // 4]
    assert [counts.global_loads + counts.global_stores for counts in counted.values()] == instructions

    # Passes over shared memory, for each warp and k. tiled: a number of A that all lanes share, and a row of B.
    # 8 x 8 sums: 8 + 8 loads; in packs, 2 x 8 numbers of A and 16 x 8 of B: 2 loads of one pass, 2 of two; in a
    # rectangle of 64 x 32 sums, 2 + 2 loads of one pass each. To fill a tile of A its columns are written, two numbers
    # to a bank.
    large_warps = (N // 128) ** 2 * 8
    fill = large_warps * (N // 16) * (128 * 16 // 256) * (2 + 1)
    passes = [0, 0, warps * (2 * N + 2 * N // 32)] + [large_warps * N * k + fill for k in (16, 6, 6, 4)]
    assert [counts.shared_passes for counts in counted.values()] == passes

    blocks, steps = (N // 128) ** 2, N // 16
    barriers = [0, 0, (N // 32) ** 2 * 2 * (N // 32), *[blocks * 2 * steps] * 2, *[blocks * (steps + 1)] * 2]
    assert [counts.barriers for counts in counted.values()] == barriers
    assert all(counts.multiply_adds == N**3 and counts.flops == 2 * N**3 for counts in counted.values())
    assert all(counts.atomics == counts.exchanges == 0 for counts in counted.values())

    asked = [counts.transactions for counts in counted.values()]
    assert asked == sorted(asked, reverse=True)
    assert len(set(asked)) == 6  # double_buffered asks for as much as the rung before: it spares barriers


def test_the_sum_asks_for_what_theory_says() -> None:
    n = 1 << 16
    x = np.random.default_rng(0).random(n, np.float32)
    counted = {name: emulator.profile(rung, x, (0,), False) for name, rung in emulator.sum}
    few, many = n // 4096, n // 256  # blocks
    # X is read once, 8 numbers a sector; an atomic addition of a warp or of a thread touches one more.
    # two_pass: its blocks write a sum each, one sector, which a second launch reads side by side, and writes one.
    sectors = [n // 8 + n // 32, n // 8 + many, n // 8 + many, n // 8 + few, n // 8 + few + few // 8 + 1]
    assert [counts.sectors for counts in counted.values()] == sectors
    assert [counts.atomics for counts in counted.values()] == [n, many, many, few, 0]
    assert [counts.barriers for counts in counted.values()] == [0, 8 * many, many, few, few + 1]
    warp_sums = 5 * (8 + 1)  # 5 shuffles for each of a block's 8 warps, and for their sums
    exchanges = [0, 0, warp_sums * many, warp_sums * few, warp_sums * (few + 1)]
    assert [counts.exchanges for counts in counted.values()] == exchanges
    assert [counts.global_loads for counts in counted.values()] == [n // 32] * 3 + [n // 128, n // 128 + 1]
    asked = [counts.transactions for counts in counted.values()]
    assert asked == sorted(set(asked), reverse=True)


def test_long_loops_are_counted_whole() -> None:
    """A lane pauses after some thousand accesses, so that the others catch up; no instruction is torn by that."""
    a, b = np.ones((32, 5000), np.float32), np.ones((5000, 8), np.float32)
    counts = emulator.profile(emulator.matmul.naive, a, b)
    assert counts.sectors == 8 * (5000 * 33 + 32) and counts.global_loads == 8 * 5000 * 2


def test_lanes_that_part_are_counted_together_again(library: emulation.Library) -> None:
    """Lane t reads t % 4 times: 3 instructions, of 24, 16 and 8 lanes, 8 numbers a sector."""
    _, counts = launch(library, "uneven", 32, block=32)
    assert (counts.global_loads, counts.global_stores) == (3, 1) and counts.sectors == 3 * 4 + 4


def test_counts_are_the_same_wherever_arrays_lie() -> None:
    space = np.random.default_rng(0).random(4096, np.float32)
    first, second = space[:1024].reshape(32, 32), space[1025:2049].reshape(32, 32)
    expected = emulator.profile(emulator.matmul.tiled, first, first)
    assert emulator.profile(emulator.matmul.tiled, second, first.copy()) == expected
