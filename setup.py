"""Builds csrc/*.cpp into minidl._native and each csrc/<stem>.pyx into minidl._<stem>.

Kernel files (all but bind*.cpp and threads.cpp) are compiled once per instruction set, each time in a namespace of its
own; the library picks one when it loads, so one build serves every machine. A build that fails is no error: its reason
goes into minidl/_build.json, which ships, and everything runs on the NumPy reference.

Environment: CC, CXX, CFLAGS, CXXFLAGS and LDFLAGS as usual; MINIDL_BUILD_JOBS compilers at a time (default: one per
CPU, at least two); MINIDL_BUILD_STRICT=1 makes a failed build an error.
"""

from __future__ import annotations

import json
import os
import platform
import shlex
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from setuptools import Extension, setup
from setuptools.command.build_ext import build_ext

ROOT = Path(__file__).resolve().parent
CSRC = Path("csrc")

COMMON = ["-std=c++20", "-O3", "-g0", "-fPIC", "-fvisibility=hidden", "-Wall", "-Wno-psabi", "-ffp-contract=fast"]
# Kernels: no exceptions and no run-time type information, so that nothing of the standard library is instantiated in
# code for one instruction set; the vectorizer of straight-line code spills the matmul tile's registers.
KERNEL = ["-fno-exceptions", "-fno-rtti", "-fno-math-errno", "-fno-trapping-math", "-fno-tree-slp-vectorize",
          "-fno-asynchronous-unwind-tables"]
X86 = platform.machine().lower() in ("x86_64", "amd64")
AVX2 = ["-mavx2", "-mfma", "-mbmi", "-mbmi2", "-mf16c"]
AVX512 = ["-mavx512f", "-mavx512bw", "-mavx512dq", "-mavx512vl", "-mprefer-vector-width=512"]
LEVELS = {"baseline": ["-march=x86-64"], "avx2": ["-march=x86-64", *AVX2],
          "avx512": ["-march=x86-64", *AVX2, *AVX512]} if X86 else {"baseline": []}


# The CUDA kernels behind the emulator (csrc/emulator/), as plain libraries: one whose accesses to memory are all seen,
# and one that is fast. Vectors would make one access of several; -g1 gives faults their lines. The emulator puts
# its own functions behind a sanitizer's instrumentation, so it can have no other.
NO_OTHER = "-fno-sanitize=all"
EMULATOR = ["-std=c++20", "-O2", "-g1", "-fPIC", "-fvisibility=hidden", "-Wall", NO_OTHER]
EMULATED = {"checked": ["-fno-tree-vectorize", "-fsanitize=thread", "-fsanitize=bounds", "-DMINIDL_CHECKED"],
            "quick": ["-O3"]}


class Build(build_ext):
    """build_ext that compiles per instruction set, in parallel, only what changed, and never fails."""

    def run(self) -> None:
        self.report: dict[str, object] = {"compiler": None, "levels": [], "weak_symbols": None, "errors": {}}
        try:
            super().run()
        except Exception as error:  # no compiler is a supported way to live
            self.errors["build"] = _reason(error)
        folder = Path(self.get_ext_fullpath("minidl._native")).parent
        folder.mkdir(parents=True, exist_ok=True)
        (folder / "_build.json").write_text(json.dumps(self.report, indent=2) + "\n")
        if not self.inplace:  # a checkout has them in csrc/
            _ship_cuda(folder / "kernels" / "cuda" / "csrc")

    @property
    def errors(self) -> dict[str, str]:
        return self.report["errors"]  # type: ignore[return-value]

    def build_extension(self, ext: Extension) -> None:
        try:
            if ext.name == "minidl._native":
                self._build_native(ext)
            elif ext.name.startswith("minidl._emulator"):
                self._build_emulator(ext)
            else:
                self._build_cython(ext)
        except Exception as error:
            self.errors[ext.name] = _reason(error)
            instead = ("CUDA kernels run on GPUs only" if "_emulator_" in ext.name else "NumPy takes its place")
            print(f"{ext.name} is not built, {instead}: {self.errors[ext.name]}", file=sys.stderr)
            Path(self.get_ext_fullpath(ext.name)).unlink(missing_ok=True)  # of an earlier build
            if os.environ.get("MINIDL_BUILD_STRICT"):
                raise

    def _build_native(self, ext: Extension) -> None:
        command = getattr(self.compiler, "compiler_cxx", None) or ["?"]
        self.report["compiler"] = _version(command)
        levels = {name: flags for name, flags in LEVELS.items() if self._accepts(flags)}
        if "baseline" not in levels:
            raise RuntimeError(f"the C++ compiler `{command[0]}` cannot compile a C++20 file")
        include = [f"-I{folder}" for folder in ext.include_dirs + self.compiler.include_dirs]
        have = [f"-DHAVE_{name.upper()}" for name in levels]
        baseline = COMMON + include + levels["baseline"]

        jobs = []
        for source in sorted(map(Path, ext.sources)):
            if source.stem.startswith("bind") or source.stem == "threads":
                jobs.append((source, "shared", baseline + have))
            else:
                jobs += [(source, name, COMMON + KERNEL + flags + [f"-DISA={name}"]) for name, flags in levels.items()]
        with ThreadPoolExecutor(_workers()) as pool:
            objects = list(pool.map(lambda job: self._compile(*job), jobs))

        kernels = [obj for obj, (_, name, _) in zip(objects, jobs) if name != "shared"]
        self.report["weak_symbols"] = _weak_symbols(kernels)
        target = self.get_ext_fullpath(ext.name)
        self.compiler.link_shared_object(objects, target, extra_postargs=_split("LDFLAGS") + ["-pthread"],
                                         build_temp=self.build_temp, target_lang="c++")
        self.report["levels"] = list(levels)

    def _build_emulator(self, ext: Extension) -> None:
        kind = ext.name.rpartition("_")[2]
        jobs = [(source, f"emulator-{kind}", EMULATOR + EMULATED[kind]) if source.suffix == ".cu"
                else (source, "emulator", EMULATOR) for source in map(Path, ext.sources)]
        watched = [*(CSRC / "emulator").glob("*.h"), *CSRC.glob("*.cuh")]
        if ".cu" not in self.compiler.src_extensions:
            self.compiler.src_extensions = [*self.compiler.src_extensions, ".cu"]
        with ThreadPoolExecutor(_workers()) as pool:
            objects = list(pool.map(lambda job: self._compile(*job, watched), jobs))
        self.compiler.link_shared_object(objects, self.get_ext_fullpath(ext.name), target_lang="c++",
                                         extra_postargs=_split("LDFLAGS") + [NO_OTHER, "-pthread"])

    def _compile(self, source: Path, name: str, flags: list[str], watched: Sequence[Path] = ()) -> str:
        folder = Path(self.build_temp) / name
        target = folder / source.with_suffix(".o")
        stamp = target.with_suffix(".flags")
        flags = _split("CXXFLAGS") + flags if NO_OTHER in flags else flags + _split("CXXFLAGS")
        watched = watched or list(CSRC.glob("*.h"))
        newest = max(path.stat().st_mtime for path in [source, Path("setup.py"), *watched])
        if not (target.exists() and target.stat().st_mtime > newest and stamp.exists()
                and stamp.read_text() == shlex.join(flags)):
            try:
                first = ["-x", "c++"] if source.suffix == ".cu" else []  # it counts for the sources that follow
                self.compiler.compile([str(source)], output_dir=str(folder), extra_preargs=first, extra_postargs=flags)
            except Exception as error:  # the compiler has printed its own; the command line is no reason
                raise RuntimeError(f"the compiler refuses {source} for {name}") from error
            stamp.write_text(shlex.join(flags))
        return str(target)

    def _accepts(self, flags: list[str]) -> bool:
        with tempfile.TemporaryDirectory() as folder:
            source = Path(folder) / "probe.cpp"
            source.write_text("typedef float vec __attribute__((vector_size(64)));\n"
                              "vec twice(vec x) { return x + x; }\n")
            command = [*self.compiler.compiler_cxx, *COMMON, *flags, "-c", str(source), "-o", str(source) + ".o"]
            try:
                return subprocess.run(command, capture_output=True, timeout=60).returncode == 0
            except OSError:
                return False

    def _build_cython(self, ext: Extension) -> None:
        from Cython.Build import cythonize

        (built,) = cythonize([ext], build_dir=self.build_temp, language_level=3, quiet=True)
        ext.sources = built.sources
        ext.extra_compile_args = ["-O3", "-g0", *LEVELS["baseline"]]
        try:
            super().build_extension(ext)
        except Exception as error:  # as in _compile
            compiler = self.compiler.compiler_so[0]
            raise RuntimeError(f"the C compiler `{compiler}` refuses {ext.name} as Cython wrote it") from error


def _ship_cuda(target: Path) -> None:
    """The CUDA kernels' source, which is compiled where the GPU is (minidl/kernels/cuda/source.py)."""
    shutil.rmtree(target, ignore_errors=True)  # of an earlier build
    for path in [*CSRC.glob("*.cu"), *CSRC.glob("*.cuh"), CSRC / "emulator" / "cuda.h"]:
        copy = target / path.relative_to(CSRC)
        copy.parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(path, copy)


def _workers() -> int:
    return int(os.environ.get("MINIDL_BUILD_JOBS", max(2, os.cpu_count() or 1)))


def _split(variable: str) -> list[str]:
    return shlex.split(os.environ.get(variable, ""))


def _reason(error: BaseException) -> str:
    return " ".join(str(error).split())[:500] or type(error).__name__


def _version(command: list[str]) -> str:
    try:
        run = subprocess.run([command[0], "--version"], capture_output=True, text=True, timeout=60)
        return run.stdout.splitlines()[0]
    except (OSError, IndexError, subprocess.TimeoutExpired):
        return f"{command[0]} (does not run)"


def _weak_symbols(objects: list[str]) -> list[str] | None:
    """Definitions that the linker may merge across instruction sets: there must be none. None where `nm` is missing."""
    if shutil.which("nm") is None:
        return None
    found = []
    for path in objects:
        listing = subprocess.run(["nm", "-C", "--defined-only", path], capture_output=True, text=True).stdout
        symbols = (line.split(maxsplit=2) for line in listing.splitlines())
        found += [f"{path}: {symbol[2]}" for symbol in symbols if len(symbol) == 3 and symbol[1] in "WVu"]
    return found


def extensions() -> list[Extension]:
    sources = sorted(str(path) for path in CSRC.glob("*.cpp"))
    try:
        import numpy
        import pybind11

        include = [numpy.get_include(), pybind11.get_include()]
    except ImportError:  # only when built without the requirements that pyproject.toml names
        include = []
    cython = [Extension(f"minidl._{path.stem}", [str(path)], include_dirs=include[:1],
                        define_macros=[("NPY_NO_DEPRECATED_API", "NPY_2_0_API_VERSION")], optional=True)
              for path in sorted(CSRC.glob("*.pyx"))]
    emulator = sorted(str(path) for path in [*(CSRC / "emulator").glob("*.cpp"), *CSRC.glob("*.cu")])
    emulated = [Extension(f"minidl._emulator_{kind}", emulator, optional=True, language="c++")
                for kind in EMULATED if emulator]
    native = Extension("minidl._native", sources, include_dirs=include, optional=True, language="c++")
    return [native, *cython, *emulated]


os.chdir(ROOT)
if sys.platform == "darwin":  # one architecture at a time: the instruction sets' flags are this machine's
    os.environ.setdefault("ARCHFLAGS", f"-arch {platform.machine()}")
setup(ext_modules=extensions(), cmdclass={"build_ext": Build})
