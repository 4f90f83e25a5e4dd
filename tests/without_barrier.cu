// The real kernels, from which a test takes out one __syncthreads() after the other: the one in line leave_out(line) of its file.
#include "emulator/cuda.h"

static int left_out = 0;
extern "C" __attribute__((visibility("default"))) void leave_out(int line) { left_out = line; }
__attribute__((no_sanitize("thread"), noinline)) static bool stays(int line) { return line != left_out; }
static void barrier(int line) {
    if (stays(line)) __syncthreads(__FILE__, line);
}
#define __syncthreads() barrier(__LINE__)

#include "matmul.cu"
#include "reduce.cu"
