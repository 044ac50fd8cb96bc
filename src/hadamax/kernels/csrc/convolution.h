// Arguments of a convolution, and aligned memory for it.
#pragma once
#include <algorithm>
#include <cstddef>
#include <new>
#include <vector>

#include "memory.h"
#include "threads.h"

typedef HADAMAX_ELEMENT Element;
typedef HADAMAX_INPUT Input;  // uint8_t, or float

// Vectors that begin at a cache line, because accessing a vector across two lines takes twice the time. Elements are
// uninitialised unless a value is given.
template <class T>
struct OnLines {
    typedef T value_type;
    T* allocate(size_t n) { return static_cast<T*>(::operator new(n * sizeof(T), std::align_val_t(64))); }
    template <class U>
    void construct(U* memory) {
        ::new (memory) U;
    }
    template <class U>
    void construct(U* memory, const U& value) {
        ::new (memory) U(value);
    }
    void deallocate(T* memory, size_t) { ::operator delete(memory, std::align_val_t(64)); }
    bool operator==(const OnLines&) const { return true; }
    bool operator!=(const OnLines&) const { return false; }
};
template <class T>
using Lines = std::vector<T, OnLines<T>>;

struct Convolution {
    int64_t image_stride;  // in elements
    int32_t images, inputs, input_rows, input_columns;
    int32_t channels, rows, columns;  // of the output
    int32_t kernel_rows, kernel_columns, stride, top, left;
    int32_t threads;
    float scale;  // multiplies the products

    size_t of_channel() const { return size_t(inputs) * kernel_rows * kernel_columns; }  // weights
    size_t outputs() const { return size_t(rows) * columns * channels; }
};
