// The module minidl._native: picks the instruction set and hands out the verbs.
#define MINIDL_IMPORTS_NUMPY
#include "bind.h"

#include <pybind11/pybind11.h>
#include <pybind11/stl.h>

#include <list>

#include "threads.h"

namespace py = pybind11;

namespace minidl {

Level level = BASELINE;

Verbs attention_verbs();
Verbs conv_verbs();
Verbs elementwise_verbs();
Verbs index_verbs();
Verbs matmul_verbs();
Verbs normalize_verbs();
Verbs optim_verbs();
Verbs pool_verbs();
Verbs random_verbs();
Verbs recurrent_verbs();
Verbs reduce_verbs();
Verbs softmax_verbs();
Verbs conv_rung_verbs();
Verbs rung_verbs();
void bind_limits(py::module_& m);   // the machine's own speed, for the benchmarks: no verbs of tensors
void bind_blocks(py::module_& m);   // what the blocks of large results hold

namespace {

const char* const NAMES[] = {"baseline", "avx2", "avx512"};

// The levels that were compiled and that this processor (and its operating system) runs, lowest first.
std::vector<Level> usable_levels() {
    std::vector<Level> found = {BASELINE};
#if defined(HAVE_AVX2)
    __builtin_cpu_init();
    if (__builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma") && __builtin_cpu_supports("bmi") && __builtin_cpu_supports("bmi2"))
        found.push_back(AVX2);
#if defined(HAVE_AVX512)
    if (found.back() == AVX2 && __builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512bw") &&
        __builtin_cpu_supports("avx512dq") && __builtin_cpu_supports("avx512vl"))
        found.push_back(AVX512);
#endif
#endif
    return found;
}

std::vector<std::string> level_names() {
    std::vector<std::string> names;
    for (const Level each : usable_levels()) names.push_back(NAMES[each]);
    return names;
}

void set_level(const std::string& name) {
    std::string all;
    for (const Level each : usable_levels()) {
        if (name == NAMES[each]) {
            level = each;
            return;
        }
        all += (all.empty() ? "" : ", ") + std::string(NAMES[each]);
    }
    throw std::invalid_argument("MINIDL_ISA: \"" + name + "\" is not among the instruction sets that this build and machine offer (" +
                                all + "): choose one of them or unset it");
}

// Every verb as a Python function, on top of the reference function of the same name, which takes what the kernel does not.
py::dict verbs(const py::dict& reference) {
    static std::vector<PyMethodDef> table = [] {
        std::vector<PyMethodDef> all;
        for (const auto& family : {
                 attention_verbs,
                 conv_verbs,
                 elementwise_verbs,
                 index_verbs,
                 matmul_verbs,
                 normalize_verbs,
                 optim_verbs,
                 pool_verbs,
                 random_verbs,
                 recurrent_verbs,
                 reduce_verbs,
                 softmax_verbs,
             })
            for (const PyMethodDef& each : family()) all.push_back(each);
        return all;
    }();
    py::dict found;
    for (PyMethodDef& each : table) {
        const py::object fallback = reference[each.ml_name];
        found[each.ml_name] = py::reinterpret_steal<py::object>(PyCFunction_NewEx(&each, fallback.ptr(), py::str("minidl.kernels.native").ptr()));
    }
    return found;
}

// The rungs of the ladders, as "matmul.blocked", each on top of the Python function of that name, which has its docstring and the words for arguments that do not fit.
py::dict rungs(const py::dict& refusals) {
    static std::vector<PyMethodDef> table = [] {
        std::vector<PyMethodDef> all = rung_verbs();
        for (const PyMethodDef& each : conv_rung_verbs()) all.push_back(each);
        return all;
    }();
    static std::list<std::string> docs;   // never destroyed before the functions
    py::dict found;
    for (PyMethodDef& each : table) {
        const py::object refuse = refusals[each.ml_name];
        each.ml_doc = docs.emplace_back(py::str(refuse.attr("__doc__"))).c_str();
        found[each.ml_name] = py::reinterpret_steal<py::object>(PyCFunction_NewEx(&each, refuse.ptr(), py::str("minidl.kernels.ladders").ptr()));
    }
    return found;
}

}  // namespace
}  // namespace minidl

PYBIND11_MODULE(_native, m) {
    using namespace minidl;
    if (_import_array() < 0) throw py::error_already_set();
    level = usable_levels().back();
    m.doc() = "minidl's compiled kernels; minidl.kernels.native is the face of them.";
    m.def("verbs", verbs, py::arg("reference"));
    m.def("rungs", rungs, py::arg("refusals"));
    m.def("levels", level_names, "Instruction sets that this build and machine offer, lowest first.");
    m.def("get_level", [] { return std::string(NAMES[level]); });
    m.def("set_level", set_level, py::arg("name"));
    m.def("get_num_threads", get_num_threads);
    m.def("set_num_threads", [](int count) {
        if (count < 1)
            throw py::value_error("set_num_threads: count is " + std::to_string(count) + ", at least 1 thread must work");
        set_num_threads(count);
    }, py::arg("count"));
    bind_limits(m);
    bind_blocks(m);
    py::module_::import("atexit").attr("register")(py::cpp_function(stop_threads));
}
