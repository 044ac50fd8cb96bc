// The Hadamax block (block.cpp) after a convolution, called image by image, so that data stays in the cache.
#pragma once
#include <atomic>

#include "convolution.h"

// Entry points of the block's library and their arguments. The sizes are those of one image and one thread.
struct Block {
    int32_t (*forward)(const void*, const Element*, const float*, const float*, Element*, uint8_t*);
    int32_t (*backward)(const void*, const Element*, const float*, const float*, const Element*, const uint8_t*, Element*,
                        double*);
    const void* sizes;
    const float *weight, *bias;
    Element* y;          // [image, output], or its gradient
    uint8_t* positions;  // [image, output]
    double* to_affine;   // [thread, weight or bias, channel of the convolution], zeros on entry
    int64_t outputs;     // per image
};

// The blocks of one call, if any. Threads must not throw, so an allocation failure is raised at the end.
class FollowingBlock {
    const Block* const block;
    std::atomic<bool> has_memory{true};

  public:
    explicit FollowingBlock(const Block* block) : block(block) {}

    void forward(int image, const Element* map) {
        if (!block) return;
        const size_t at = image * block->outputs;
        if (!block->forward(block->sizes, map, block->weight, block->bias, block->y + at, block->positions + at))
            has_memory = false;
    }

    // Writes the gradient of an image's map to `to_map`, if there is a block.
    void backward(int image, const Element* map, Element* to_map, Lines<double>& affine) {
        if (!block) return;
        const size_t at = image * block->outputs;
        std::fill(affine.begin(), affine.end(), 0.0);
        if (!block->backward(block->sizes, map, block->weight, block->bias, block->y + at, block->positions + at,
                             to_map, affine.data()))
            has_memory = false;
        double* to = block->to_affine + omp_get_thread_num() * affine.size();
        for (size_t i = 0; i < affine.size(); i++) to[i] += affine[i];
    }

    void end() const {
        if (!has_memory) throw std::bad_alloc();
    }
};
