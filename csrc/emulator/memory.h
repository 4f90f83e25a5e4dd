#pragma once
#include "launch.h"

namespace minidl::emulator {

enum Access { READ, WRITE, ATOMIC };

// Before `bytes` at `address` are read or written by the instruction at `code`.
void access(uint64_t address, unsigned bytes, int access, uint64_t code);

}  // namespace minidl::emulator
