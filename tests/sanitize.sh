#!/usr/bin/env bash
# The compiled kernels' tests under AddressSanitizer and UndefinedBehaviorSanitizer: any read or write out of bounds, any use after
# free, any undefined arithmetic ends the run with a report. Builds into a temporary folder and leaves this one as it is.
#
#     tests/sanitize.sh                 with python3, or PYTHON=/path/to/python (setuptools, numpy, pybind11, pytest and hypothesis installed)
#     tests/sanitize.sh -k convolution  arguments go to pytest
#     tests/sanitize.sh thread          ThreadSanitizer instead: any two threads that touch one place without order
#
# All instruction sets that the machine has are run: the tests start themselves again with MINIDL_ISA.
set -euo pipefail
cd "$(dirname "$0")/.."
python=${PYTHON:-python3}
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT

"$python" - <<'CHECK' || { echo "sanitize.sh: $python lacks what the build and the tests need; install '.[test]' and 'setuptools Cython pybind11' there" >&2; exit 1; }
import Cython, hypothesis, numpy, pybind11, pytest, pytest_timeout, setuptools  # noqa
CHECK

cp -r csrc minidl tests setup.py pyproject.toml "$work"
[ -f README.md ] && cp README.md LICENSE "$work"
cd "$work"
rm -rf minidl/*.so csrc/*.cu csrc/emulator   # the emulator sees every access by itself

# -O1: the checks dominate the time, and lines in reports stay readable. Vectors at odd addresses are meant (loads say so by their type).
started=$SECONDS
flags="-fsanitize=address,undefined -fno-sanitize-recover=all -fno-omit-frame-pointer" libraries="libasan.so libubsan.so"
tests="tests/test_native*.py tests/test_ladders.py tests/test_attention.py"
if [ "${1:-}" = thread ]; then
  shift
  flags="-fsanitize=thread" libraries="libtsan.so" tests="tests/test_native.py tests/test_native_steps.py"
fi
CXXFLAGS="-O1 -g1 $flags" LDFLAGS="$flags" \
  MINIDL_BUILD_STRICT=1 "$python" setup.py -q build_ext --inplace > build.log 2>&1 || { tail -30 build.log; exit 1; }
echo "built in $((SECONDS - started)) s"

# Python itself was not built with the sanitizer, so its library comes first; Python's own leaks are not ours.
compiler=${CXX:-g++}
LD_PRELOAD=""
for library in $libraries; do LD_PRELOAD+=" $($compiler -print-file-name="$library")"; done
export LD_PRELOAD TSAN_OPTIONS="exitcode=66 report_signal_unsafe=0 die_after_fork=0"
export ASAN_OPTIONS=detect_leaks=0:allocator_may_return_null=1 UBSAN_OPTIONS=print_stacktrace=1
export OPENBLAS_NUM_THREADS=1 MINIDL_NUM_THREADS=3 PYTHONPATH=$work
# shellcheck disable=SC2086  # the names are several
"$python" -m pytest -q -p no:cacheprovider --timeout=900 $tests "$@"
echo "sanitizers: no errors, $((SECONDS - started)) s"
