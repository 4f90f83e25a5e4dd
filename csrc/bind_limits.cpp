#include "bind.h"
#include "limits.h"

#include <pybind11/pybind11.h>

#include <cstdlib>
#include <memory>

namespace py = pybind11;

namespace minidl {
namespace {

double multiply_add(int64_t rounds, int64_t tasks) {
    if (rounds < 1 || tasks < 1) throw std::invalid_argument("multiply_add: rounds and tasks must be at least 1");
    std::vector<float> sink(tasks);
    const auto kernel = PICK(limits).multiply_add;
    py::gil_scoped_release unlocked;
    return kernel(rounds, tasks, sink.data());
}

// Three arrays of floats that no kernel has touched before, and the four ways through them.
class Streams {
public:
    explicit Streams(int64_t megabytes) : size_(megabytes << 18), sink_(megabytes << 2) {   // 2^18 floats a megabyte, 2^16 a task
        if (megabytes < 1 || megabytes > (1 << 20)) throw std::invalid_argument("Streams: megabytes must be 1 or more, and fit into memory");
        for (auto& array : arrays_) {
            array.reset(static_cast<float*>(std::aligned_alloc(64, static_cast<size_t>(size_) * sizeof(float))));
            if (!array) throw std::bad_alloc();
            for (int64_t i = 0; i < size_; ++i) array.get()[i] = 1.0f;
        }
    }

    // The bytes that a pass reads and writes at least.
    double pass(const std::string& name, bool streaming) {
        const LimitsTable& table = PICK(limits);
        float *a = arrays_[0].get(), *b = arrays_[1].get(), *c = arrays_[2].get();
        const double bytes = static_cast<double>(size_) * sizeof(float);
        py::gil_scoped_release unlocked;
        if (name == "read") return table.read(a, size_, sink_.data()), bytes;
        if (name == "copy") return table.copy(a, c, size_, streaming), 2 * bytes;
        if (name == "triad") return table.triad(a, b, c, size_, streaming), 3 * bytes;
        if (name == "update") return table.update(a, b, size_), 3 * bytes;
        throw std::invalid_argument("pass: \"" + name + "\" is none of read, copy, triad, update");
    }

private:
    struct Free {
        void operator()(float* p) const { std::free(p); }
    };
    int64_t size_;
    std::vector<float> sink_;
    std::unique_ptr<float, Free> arrays_[3];
};

}  // namespace

void bind_limits(py::module_& m) {
    m.def("multiply_add", multiply_add, py::arg("rounds"), py::arg("tasks"));
    py::class_<Streams>(m, "Streams")
        .def(py::init<int64_t>(), py::arg("megabytes"))
        .def("run", &Streams::pass, py::arg("name"), py::arg("streaming"));
}

}  // namespace minidl
