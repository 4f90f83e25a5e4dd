// A number that a kernel takes: by value, given with the launch; or from the device's memory, where it may change between two replays of a captured CUDA graph.
#pragma once
#include "emulator/cuda.h"

template <class T> struct Scalar {   // packed by `Scalar` in minidl/kernels/cuda/launch.py
    const T* place;                  // null: `value`
    T value;
    __device__ __forceinline__ T get() const { return place ? *place : value; }
};
