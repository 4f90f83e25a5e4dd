// From Python's arguments to C++ and back, in a few tens of nanoseconds.
//
// A verb is a plain function `PyObject* add(Operand a, Operand b)`. `verb<add>("add")` wraps it into a C function for Python that takes positional
// arguments and loads each by its type. If one does not load (another dtype, misaligned, a subclass of ndarray, too many dimensions),
// or if the verb returns not_mine(), the same arguments go to the NumPy reference, which hangs on the function as its `__self__`.
// A verb may throw std::invalid_argument (a ValueError in Python) or std::bad_alloc (MemoryError).
#pragma once
#define PY_SSIZE_T_CLEAN
#include <Python.h>

#define NPY_NO_DEPRECATED_API NPY_2_0_API_VERSION
#define NPY_TARGET_VERSION NPY_2_0_API_VERSION
#define PY_ARRAY_UNIQUE_SYMBOL minidl_numpy
#ifndef MINIDL_IMPORTS_NUMPY
#define NO_IMPORT_ARRAY
#endif
#include <numpy/arrayobject.h>
#include <numpy/arrayscalars.h>

#include <unistd.h>

#include <new>
#include <optional>
#include <stdexcept>
#include <string>
#include <tuple>
#include <utility>
#include <vector>

#include "shared.h"

namespace minidl {

// ---- the instruction set in use ------------------------------------------------------------------------------------

enum Level { BASELINE, AVX2, AVX512 };
extern Level level;

#if defined(HAVE_AVX512) && defined(HAVE_AVX2)
#define PICK(name) (level == AVX512 ? avx512::name : level == AVX2 ? avx2::name : baseline::name)
#elif defined(HAVE_AVX2)
#define PICK(name) (level == AVX2 ? avx2::name : baseline::name)
#else
#define PICK(name) (baseline::name)
#endif

template <class F> F of_type(const PerType<F>& entry, int type) { return type == NPY_FLOAT ? entry.f32 : entry.f64; }

// ---- arguments -----------------------------------------------------------------------------------------------------

// A float32 or float64 array that kernels can read: exact type, aligned, native byte order, at most MAX_DIMS dimensions.
struct Array {
    PyArrayObject* object = nullptr;

    int type() const { return PyArray_TYPE(object); }   // NPY_FLOAT, NPY_DOUBLE, ...
    int ndim() const { return PyArray_NDIM(object); }
    int64_t shape(int d) const { return PyArray_DIM(object, d); }
    int64_t size() const { return PyArray_SIZE(object); }
    bool contiguous() const { return PyArray_IS_C_CONTIGUOUS(object); }
    template <class T> T* data() const { return static_cast<T*>(PyArray_DATA(object)); }

    View view() const {
        View v;
        v.data = PyArray_DATA(object);
        v.ndim = ndim();
        const int64_t bytes = PyArray_ITEMSIZE(object);
        for (int d = 0; d < v.ndim; ++d) {
            v.shape[d] = shape(d);
            v.stride[d] = v.shape[d] > 1 ? PyArray_STRIDE(object, d) / bytes : 0;
        }
        return v;
    }
};
template <int TYPE> struct ArrayOf : Array {};
using Int64Array = ArrayOf<NPY_INT64>;
using BoolArray = ArrayOf<NPY_BOOL>;
struct AnyArray : Array {};   // of any dtype: the verb looks at type() itself

// An array, or a number: a Python int or float takes the other operand's type, a NumPy scalar has its own.
struct Operand {
    PyArrayObject* object = nullptr;   // or, without one:
    double number = 0;
    int scalar_type = 0;   // NPY_FLOAT, NPY_DOUBLE, or 0 for a Python number

    bool is_array() const { return object; }
    int type() const { return object ? PyArray_TYPE(object) : scalar_type; }
};

struct Ints { int count = 0; int64_t value[MAX_DIMS]; };   // a tuple of at most MAX_DIMS ints
struct Pair { int64_t y = 0, x = 0; };                      // a tuple of two

inline bool readable(PyObject* o) {
    return PyArray_CheckExact(o) && PyArray_ISBEHAVED_RO(reinterpret_cast<PyArrayObject*>(o)) &&
           PyArray_NDIM(reinterpret_cast<PyArrayObject*>(o)) <= MAX_DIMS;
}
inline bool is_float(int type) { return type == NPY_FLOAT || type == NPY_DOUBLE; }

inline bool load(PyObject* o, AnyArray& a) {
    if (!readable(o)) return false;
    a.object = reinterpret_cast<PyArrayObject*>(o);
    return true;
}
inline bool load(PyObject* o, Array& a) {
    if (!readable(o)) return false;
    a.object = reinterpret_cast<PyArrayObject*>(o);
    return is_float(a.type());
}
template <int TYPE> bool load(PyObject* o, ArrayOf<TYPE>& a) {
    if (!readable(o)) return false;
    a.object = reinterpret_cast<PyArrayObject*>(o);
    return a.type() == TYPE || (TYPE == NPY_INT64 && PyArray_EquivTypenums(a.type(), TYPE));
}
inline bool load(PyObject* o, Operand& a) {
    if (readable(o)) {
        a.object = reinterpret_cast<PyArrayObject*>(o);
        return is_float(a.type());
    }
    if (PyFloat_CheckExact(o)) return a.number = PyFloat_AS_DOUBLE(o), true;
    if (PyLong_CheckExact(o)) {
        a.number = PyLong_AsDouble(o);
        if (a.number == -1 && PyErr_Occurred()) return PyErr_Clear(), false;
        return true;
    }
    if (PyArray_IsScalar(o, Float)) return a.number = PyArrayScalar_VAL(o, Float), a.scalar_type = NPY_FLOAT, true;
    if (PyArray_IsScalar(o, Double)) return a.number = PyArrayScalar_VAL(o, Double), a.scalar_type = NPY_DOUBLE, true;
    return false;
}
inline bool load(PyObject* o, double& x) {
    x = PyFloat_AsDouble(o);   // floats, ints, NumPy scalars
    return !(x == -1 && PyErr_Occurred()) || (PyErr_Clear(), false);
}
inline bool load(PyObject* o, int64_t& x) {
    if (!PyIndex_Check(o)) return false;
    x = PyNumber_AsSsize_t(o, PyExc_OverflowError);
    return !(x == -1 && PyErr_Occurred()) || (PyErr_Clear(), false);
}
inline bool load(PyObject* o, bool& x) {
    x = o == Py_True;
    return x || o == Py_False;
}
inline bool load(PyObject* o, std::string& x) {
    const char* text = PyUnicode_Check(o) ? PyUnicode_AsUTF8(o) : nullptr;
    if (text) x = text;
    return text || (PyErr_Clear(), false);
}
inline bool load(PyObject* o, Ints& x) {
    if (!PyTuple_CheckExact(o) || PyTuple_GET_SIZE(o) > MAX_DIMS) return false;
    x.count = static_cast<int>(PyTuple_GET_SIZE(o));
    for (int i = 0; i < x.count; ++i)
        if (!load(PyTuple_GET_ITEM(o, i), x.value[i])) return false;
    return true;
}
inline bool load(PyObject* o, Pair& x) {
    return PyTuple_CheckExact(o) && PyTuple_GET_SIZE(o) == 2 && load(PyTuple_GET_ITEM(o, 0), x.y) && load(PyTuple_GET_ITEM(o, 1), x.x);
}
template <class T> bool load(PyObject* o, std::optional<T>& x) {
    return o == Py_None || load(o, x.emplace());
}
template <class T> bool load(PyObject* o, std::vector<T>& x) {   // a list or tuple
    if (!PyList_CheckExact(o) && !PyTuple_CheckExact(o)) return false;
    const Py_ssize_t count = PySequence_Fast_GET_SIZE(o);
    x.resize(count);
    for (Py_ssize_t i = 0; i < count; ++i)
        if (!load(PySequence_Fast_GET_ITEM(o, i), x[i])) return false;
    return true;
}

// ---- results -------------------------------------------------------------------------------------------------------

// A new C-contiguous array, its content undefined. Every result comes from here (bind_blocks.cpp).
PyArrayObject* new_array(int type, int ndim, const int64_t* shape);

// Owns a result until it is handed over, so that a throw in between leaks nothing.
struct Result : Array {
    Result() = default;   // none
    Result(int type, int ndim, const int64_t* shape) { object = new_array(type, ndim, shape); }
    Result(const Result&) = delete;
    ~Result() { Py_XDECREF(object); }
    PyObject* release() { return reinterpret_cast<PyObject*>(std::exchange(object, nullptr)); }
};

// A contiguous array of the same values: the array itself where it is that already.
struct Contiguous : Array {
    explicit Contiguous(const Array& x) {
        object = reinterpret_cast<PyArrayObject*>(PyArray_FROM_OF(reinterpret_cast<PyObject*>(x.object), NPY_ARRAY_C_CONTIGUOUS));
        if (!object) throw std::bad_alloc();
    }
    Contiguous(const Contiguous&) = delete;
    ~Contiguous() { Py_DECREF(object); }
};

// (a, b, ...) of results; an empty one (nothing was asked for) is None.
template <class... R> PyObject* tuple_of(R&... results) {
    PyObject* all = PyTuple_New(sizeof...(R));
    if (!all) throw std::bad_alloc();
    Py_ssize_t i = 0;
    const auto set = [&](PyObject* each) { PyTuple_SET_ITEM(all, i++, each ? each : (Py_INCREF(Py_None), Py_None)); };
    (set(results.release()), ...);
    return all;
}

inline PyObject* not_mine() { Py_RETURN_NOTIMPLEMENTED; }

PyObject* sum_of_rows(const Array& x);   // over all dimensions but the last (bind_reduce.cpp)

// Lets other Python threads run while a kernel works for more than some tens of microseconds (giving the lock back and forth costs some itself).
struct Unlocked {
    PyThreadState* state;
    explicit Unlocked(bool large) : state(large ? PyEval_SaveThread() : nullptr) {}
    Unlocked(const Unlocked&) = delete;
    ~Unlocked() {
        if (!state) return;
        try {
            PyEval_RestoreThread(state);
        } catch (...) {
            // The interpreter is ending, and ends this (daemon) thread by unwinding its stack, where objects would be released without the lock. As
            // later Pythons do, it waits here for the end of the process.
            for (;;) pause();
        }
    }
};
constexpr int64_t LARGE = 1 << 18;   // bytes or floating-point operations, roughly

// The broadcast shape of a and b; false where they do not fit.
inline bool broadcast_shapes(const View& a, const View& b, int& ndim, int64_t* shape) {
    ndim = a.ndim > b.ndim ? a.ndim : b.ndim;
    for (int d = 1; d <= ndim; ++d) {
        const int64_t m = d <= a.ndim ? a.shape[a.ndim - d] : 1, n = d <= b.ndim ? b.shape[b.ndim - d] : 1;
        if (m != n && m != 1 && n != 1) return false;
        shape[ndim - d] = m == 1 ? n : m;
    }
    return true;
}

// Walks operands together over `shape` (their broadcast shape): merges neighbouring dimensions and drops those of size 1.
template <int K> Nest<K> make_nest(int ndim, const int64_t* shape, const View (&views)[K]) {
    Nest<K> nest;
    int64_t stride[K];
    int n = 0;
    for (int k = 0; k < K; ++k) nest.data[k] = views[k].data;
    for (int d = 0; d < ndim; ++d) {
        if (shape[d] == 1) continue;
        bool merges = n > 0;
        for (int k = 0; k < K; ++k) {
            const int own = d - (ndim - views[k].ndim);
            stride[k] = own >= 0 && views[k].shape[own] != 1 ? views[k].stride[own] : 0;
            merges = merges && nest.stride[k][n - 1] == shape[d] * stride[k];
        }
        if (!merges) nest.shape[n++] = 1;
        nest.shape[n - 1] *= shape[d];
        for (int k = 0; k < K; ++k) nest.stride[k][n - 1] = stride[k];
    }
    if (n == 0) {
        nest.shape[0] = 1;
        for (int k = 0; k < K; ++k) nest.stride[k][0] = 0;
        n = 1;
    }
    nest.ndim = n;
    return nest;
}

// ---- verbs ---------------------------------------------------------------------------------------------------------

template <class... A, size_t... I>
PyObject* invoke(PyObject* (*body)(A...), PyObject* reference, PyObject* const* args, Py_ssize_t count, std::index_sequence<I...>) {
    if (count == static_cast<Py_ssize_t>(sizeof...(A))) {
        std::tuple<std::decay_t<A>...> loaded;
        if ((load(args[I], std::get<I>(loaded)) && ...)) {
            try {
                PyObject* result = body(std::get<I>(loaded)...);
                if (result != Py_NotImplemented) return result;
                Py_DECREF(result);
            } catch (const std::bad_alloc&) {
                return PyErr_NoMemory();
            } catch (const std::exception& error) {
                PyErr_SetString(PyExc_ValueError, error.what());
                return nullptr;
            }
        }
    }
    return PyObject_Vectorcall(reference, args, count, nullptr);
}
template <class... A>
PyObject* invoke(PyObject* (*body)(A...), PyObject* reference, PyObject* const* args, Py_ssize_t count) {
    return invoke(body, reference, args, count, std::index_sequence_for<A...>{});
}
template <auto body> PyObject* entry(PyObject* reference, PyObject* const* args, Py_ssize_t count) {
    return invoke(body, reference, args, count);
}
template <auto body> PyMethodDef verb(const char* name, const char* doc = nullptr) {
    return {name, reinterpret_cast<PyCFunction>(reinterpret_cast<void (*)()>(entry<body>)), METH_FASTCALL, doc};
}

using Verbs = std::vector<PyMethodDef>;

}  // namespace minidl
