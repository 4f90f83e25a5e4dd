"""The inner loop of the matmul micro-kernel keeps its sums in registers: disassembled, it holds no vector on the stack.

A compiler that runs out of registers puts a vector into memory and fetches it again: it spills. In this loop that
costs 10 to 25 % of the speed, and no result shows it. So csrc/matmul.cpp is compiled with setup.py's flags and read.
"""

from __future__ import annotations

import ast
import os
import platform
import re
import shlex
import shutil
import subprocess
import sysconfig
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).parent.parent
CSRC = ROOT / "csrc"
LEVELS = ["baseline", "avx2", "avx512"]


def build_flags() -> dict[str, Any]:
    """setup.py's constants, without running its setup()."""
    names = {"COMMON", "KERNEL", "X86", "AVX2", "AVX512", "LEVELS"}
    tree = ast.parse((ROOT / "setup.py").read_text(encoding="utf-8"))
    nodes = [
        n
        for n in tree.body
        if isinstance(n, ast.Assign) and {t.id for t in n.targets if isinstance(t, ast.Name)} & names
    ]
    found: dict[str, Any] = {"platform": platform}
    exec(compile(ast.Module(nodes, []), "setup.py", "exec"), found)
    assert names <= set(found), f"setup.py has other constants now; expected {sorted(names)}"
    return found


def compiler() -> list[str]:
    for command in (os.environ.get("CXX"), sysconfig.get_config_var("CXX"), "c++"):
        if command and shutil.which(shlex.split(command)[0]):
            return shlex.split(command)[:1]
    pytest.skip("needs a C++ compiler")


def disassembly(source: Path, level: str, folder: Path) -> dict[str, list[str]]:
    """Compiles a kernel file as setup.py does. Function -> its lines, "address: instruction"."""
    flags = build_flags()
    if not flags["X86"]:
        pytest.skip(f"reads x86 assembly only, this machine is {platform.machine()}")
    if shutil.which("objdump") is None:
        pytest.skip("needs objdump (Debian, Ubuntu: `apt install binutils`)")
    command = [*compiler(), *flags["COMMON"], *flags["KERNEL"], *flags["LEVELS"][level], f"-DISA={level}", "-c", "-o"]
    probe = folder / "probe.cpp"
    probe.write_text("int probe;\n")
    if subprocess.run([*command, str(folder / "probe.o"), str(probe)], capture_output=True).returncode:
        pytest.skip(f"{command[0]} knows no {level}")
    target = folder / "kernel.o"
    run = subprocess.run([*command, str(target), str(source)], capture_output=True, text=True, timeout=300)
    assert run.returncode == 0, run.stderr
    listing = subprocess.run(
        ["objdump", "-d", "-C", "-w", "--no-show-raw-insn", str(target)], capture_output=True, text=True, check=True
    ).stdout
    functions: dict[str, list[str]] = {}
    for line in listing.splitlines():
        if head := re.match(r"[0-9a-f]+ <(.*)>:$", line):
            body = functions.setdefault(head[1], [])
        elif re.match(r"\s*[0-9a-f]+:\t", line):
            body.append(line.strip())
    return functions


def tallest_tile(functions: dict[str, list[str]], number: str) -> tuple[int, list[str]]:
    """The height and the lines of tile<number, height, 2, ...> that has most rows."""
    found = {}
    for name, lines in functions.items():
        if match := re.search(rf"\btile<{number}, (\d+), 2,", name):
            found[int(match[1])] = lines
    assert found, f"no tile<{number}, ...> among {list(functions)[:20]}: was it renamed or inlined?"
    return max(found), found[max(found)]


def inner_loops(lines: list[str]) -> list[list[str]]:
    """The bodies of the loops that contain no other loop."""
    places = [int(line.split(":")[0], 16) for line in lines]
    loops = []
    for end, line in enumerate(lines):
        jump = re.search(r"\tj\w+\s+([0-9a-f]+)\b", line)
        if jump and int(jump[1], 16) in places and int(jump[1], 16) <= places[end]:
            loops.append((places.index(int(jump[1], 16)), end))
    inner = [a for a in loops if not any(a != b and a[0] <= b[0] and b[1] <= a[1] for b in loops)]
    return [lines[begin : end + 1] for begin, end in inner]


def spills(lines: list[str], products: int) -> list[str]:
    """Instructions with a vector on the stack, in the inner loops that multiply at least so many vectors a round."""
    keeps_frame = any(re.search(r"\tmov\s+%rsp,%rbp", line) for line in lines[:12])  # otherwise rbp is free for all
    on_stack = re.compile(r"\(%(rsp|rbp)\b" if keeps_frame else r"\(%rsp\b")
    product = re.compile(r"\tv?(fmadd\d*|mul)p[sd]\b")
    hot = [loop for loop in inner_loops(lines) if sum(bool(product.search(line)) for line in loop) >= products]
    assert hot, f"no loop with {products} products of vectors: the test no longer sees the micro-kernel's"
    return [line for loop in hot for line in loop if re.search(r"%[xyz]mm\d", line) and on_stack.search(line)]


@pytest.mark.parametrize("level", LEVELS)
def test_no_vector_of_the_tile_is_on_the_stack(level: str, tmp_path: Path) -> None:
    functions = disassembly(CSRC / "matmul.cpp", level, tmp_path)
    for number in ("float", "double"):
        height, lines = tallest_tile(functions, number)
        found = spills(lines, 2 * height)
        assert not found, f"tile<{number}, {height}, 2> spills on {level}:\n" + "\n".join(found)


@pytest.mark.parametrize("level", LEVELS)
def test_a_tile_that_is_too_tall_is_caught(level: str, tmp_path: Path) -> None:
    """The same kernel with four more rows: more sums than there are registers."""
    for header in CSRC.glob("*.h"):
        shutil.copy(header, tmp_path)
    text = (tmp_path / "tile.h").read_text()
    taller = re.sub(r"(constexpr int ROWS = )(\d+);", lambda rows: f"{rows[1]}{int(rows[2]) + 4};", text)
    assert taller.count("constexpr int ROWS = ") == 3 and taller != text
    (tmp_path / "tile.h").write_text(taller)
    source = tmp_path / "tall.cpp"
    source.write_text(
        '#include "tile.h"\n'
        "using namespace minidl::ISA;\n"
        "template <class T> using Function = void (*)(const Tile<T>&);\n"
        "void* kept() { return reinterpret_cast<void*>(Function<float>(tile<float, ROWS, WIDE, STEPS>)); }\n"
    )
    height, lines = tallest_tile(disassembly(source, level, tmp_path), "float")
    assert spills(lines, 2 * height)
