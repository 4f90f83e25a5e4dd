#pragma once
#include "shared.h"

namespace minidl {

enum MaskKind { NO_MASK, MAY_ATTEND, ADDED };   // bytes that say whether, or numbers added to the scores

// The last two dimensions of an array: row, column, in elements.
struct Steps { int64_t row, col; };

struct AttentionArguments {
    enum { Q, K, V, MASK, Y, LSE, G, GQ, GK, GV, ARRAYS };
    Nest<ARRAYS> batch;             // Q, K, V, mask, Y, lse; for the gradients G, GQ, GK, GV too
    Steps step[ARRAYS];
    int64_t queries, keys, width, values;   // L, S, E, Ev
    MaskKind mask;
    bool causal;
    double scale;
};

struct AttentionTable {
    PerType<bool (*)(const AttentionArguments&)> attention, attention_gradient;   // false: out of memory
};

}  // namespace minidl

MINIDL_TABLE(minidl::AttentionTable, attention_table)
