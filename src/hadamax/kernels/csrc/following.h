// The block that follows a convolution (block.cpp), image by image, so that each finds in a cache what the other wrote.
#pragma once
#include <atomic>

#include "convolution.h"

// Its two passes behind their interface, and what they are called with; sizes are those of one image and one thread.
struct Block {
    int32_t (*forward)(const void*, const Element*, const float*, const float*, Element*, uint8_t*);
    int32_t (*backward)(const void*, const Element*, const float*, const float*, const Element*, const uint8_t*, Element*,
                        double*);
    const void* sizes;
    const float *weight, *bias;
    Element* y;          // [image, output], or its gradient
    uint8_t* positions;  // [image, output]
    double* to_affine;   // [thread, weight or bias, channel of the convolution], zeros on entry
    int64_t outputs;     // of an image
};

// One call's blocks, if there are any. A thread must not throw: that memory ended is told at the end.
class Following {
    const Block* const block;
    std::atomic<bool> enough{true};

  public:
    explicit Following(const Block* block) : block(block) {}

    void forward(int image, const Element* map) {
        if (!block) return;
        const size_t at = image * block->outputs;
        if (!block->forward(block->sizes, map, block->weight, block->bias, block->y + at, block->positions + at))
            enough = false;
    }

    // The gradient of an image's map, to `room`, if something follows.
    void backward(int image, const Element* map, Element* room, Lines<double>& affine) {
        if (!block) return;
        const size_t at = image * block->outputs;
        std::fill(affine.begin(), affine.end(), 0.0);
        if (!block->backward(block->sizes, map, block->weight, block->bias, block->y + at, block->positions + at,
                             room, affine.data()))
            enough = false;
        double* to = block->to_affine + omp_get_thread_num() * affine.size();
        for (size_t i = 0; i < affine.size(); i++) to[i] += affine[i];
    }

    void end() const {
        if (!enough) throw std::bad_alloc();
    }
};
