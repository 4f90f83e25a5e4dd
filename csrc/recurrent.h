#pragma once
#include "shared.h"

namespace minidl {

// N rows of H units, all arrays contiguous; the letters are recurrent.cpp's.
struct StepArguments {
    int64_t rows, units;
    const void *g, *x, *a, *state, *gates, *y;   // what is read (a gradient reads no x, a forward step no g, gates, y)
    void *result, *second, *third;               // what is written, in the order of the verb's results
};

struct RecurrentTable {
    PerType<void (*)(const StepArguments&)> lstm, lstm_gradient, gru, gru_gradient;
};

}  // namespace minidl

MINIDL_TABLE(minidl::RecurrentTable, recurrent)
