#include "bind.h"
#include "random.h"

namespace minidl {

struct Word { uint64_t value; };     // 0 <= value < 2^64
struct NumberType { int value; };    // NPY_FLOAT or NPY_DOUBLE, from a dtype or what stands for one

bool load(PyObject* o, Word& x) {
    if (!PyLong_Check(o)) return false;
    x.value = PyLong_AsUnsignedLongLong(o);
    return !(x.value == static_cast<uint64_t>(-1) && PyErr_Occurred()) || (PyErr_Clear(), false);
}
bool load(PyObject* o, NumberType& x) {
    PyArray_Descr* dtype = nullptr;
    if (o == Py_None || !PyArray_DescrConverter(o, &dtype)) return PyErr_Clear(), false;
    const bool native = PyArray_ISNBO(dtype->byteorder);
    x.value = dtype->type_num;
    Py_DECREF(dtype);
    return native && is_float(x.value);
}

namespace {

bool fits(Word offset, int64_t count) {   // so many words never wrap around
    return count >= 0 && count < (int64_t{1} << 60) && offset.value < (uint64_t{1} << 63);
}

PyObject* philox(Word seed, Word offset, int64_t count) {
    if (!fits(offset, count)) return not_mine();
    Result result(NPY_UINT32, 1, &count);
    Unlocked region(count > LARGE / 8);
    PICK(random).philox(seed.value, offset.value, count, result.data<uint32_t>());
    return result.release();
}

template <auto RandomTable::*name> PyObject* draw(Word seed, Word offset, int64_t count, NumberType type) {
    if (!fits(offset, count)) return not_mine();
    Result result(type.value, 1, &count);
    const auto kernel = of_type(PICK(random).*name, type.value);
    Unlocked region(count > LARGE / 16);
    kernel(seed.value, offset.value, count, result.data<void>());
    return result.release();
}

bool same_shape(const Array& a, const Array& b) {
    return a.ndim() == b.ndim() && PyArray_CompareLists(PyArray_DIMS(a.object), PyArray_DIMS(b.object), a.ndim());
}

PyObject* dropout(Array x, double p, Word seed, Word offset) {
    if (!fits(offset, x.size())) return not_mine();
    const Contiguous from(x);
    Result y(x.type(), x.ndim(), PyArray_DIMS(x.object)), mask(NPY_BOOL, x.ndim(), PyArray_DIMS(x.object));
    {
        const auto kernel = of_type(PICK(random).dropout, x.type());
        Unlocked region(x.size() > LARGE / 16);
        kernel(seed.value, offset.value, x.size(), static_cast<float>(p), p == 1 ? 0 : 1 / (1 - p), from.data<void>(), y.data<void>(),
               mask.data<uint8_t>());
    }
    return tuple_of(y, mask);
}

PyObject* masked_scale(Array x, BoolArray mask, double scale) {
    if (!same_shape(x, mask)) return not_mine();
    const Contiguous from(x), chosen(mask);
    Result y(x.type(), x.ndim(), PyArray_DIMS(x.object));
    const auto kernel = of_type(PICK(random).masked_scale, x.type());
    Unlocked region(x.size() > LARGE / 4);
    kernel(x.size(), scale, from.data<void>(), chosen.data<uint8_t>(), y.data<void>());
    return y.release();
}

}  // namespace

Verbs random_verbs() {
    return {
        verb<philox>("philox"),
        verb<draw<&RandomTable::uniform>>("uniform"),
        verb<draw<&RandomTable::normal>>("normal"),
        verb<dropout>("dropout"),
        verb<masked_scale>("masked_scale"),
    };
}

}  // namespace minidl
