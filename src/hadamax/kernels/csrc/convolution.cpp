// FFT convolution of bytes (an encoder's first layer) or of maps: forward pass and weight gradient, behind a plain C
// interface. The algorithm is described in fft_convolution.h.
//
// Compiled for HADAMAX_ELEMENT, the output type (float or bfloat16), and HADAMAX_INPUT, the input type (uint8_t or float).
#include "byte_input.h"
#include "following_block.h"
#include "fft_weight_gradient.h"
#include "map_input.h"
#include "fft_output.h"

using Data = std::conditional_t<std::is_same_v<Input, uint8_t>, ByteData, MapData>;

// Images of a step: as many as share a group of tiles.
static Span images_of(const Tiles& s, int step) {
    const int first = step * s.images_together();
    return {first, std::min(first + s.images_together(), s.images)};
}

extern "C" {

// Divisor that the number of output channels must have; 0 if the registers are too few and small for a speed-up.
int hadamax_convolution_channels() { return PAYS ? LANES : 0; }

// The next two return 0 if memory could not be allocated; the outputs are then undefined.

// x: [image, input, row, column] of bytes, or [image, row, column, input] of maps; weight: [channel, input, kernel row,
// kernel column]; bias: [channel] or null; y: [image, row, column, channel], or null if `block`, the block that follows, is
// not null.
int32_t hadamax_convolution(const Convolution* convolution, const Input* x, const float* weight, const float* bias,
                            Element* y, const Block* block) {
    return returns_success([&] {
        const Tiles s(*convolution);
        const KernelTransforms kernels(s, weight);
        const Lines<float> zeros(s.channels, 0.0f);
        struct Workspace {
            Data data;
            Outputs outputs;
            Lines<Element> maps;
        };
        auto workspaces = for_threads(s.threads, [&] {
            return Workspace{Data(s), Outputs(s), Lines<Element>(y ? 0 : s.images_together() * s.outputs())};
        });
        FollowingBlock following(block);
#pragma omp parallel num_threads(s.threads)
        {
            Workspace& here = *workspaces[omp_get_thread_num()];  // clang rejects a structured binding here
#pragma omp for schedule(static)
            for (int step = 0; step < s.steps(); step++) {
                const Span images = images_of(s, step);
                Element* to = y ? y + images.begin * s.outputs() : here.maps.data();
                for (int number = 0; number < s.groups(images.size()); number++) {
                    const Span group = s.group(number, images.size());
                    here.data.read(x + images.begin * s.image_stride, group);
                    here.outputs.write(here.data, kernels, bias ? bias : zeros.data(), group, to);
                }
                for (int image = images.begin; image < images.end; image++, to += s.outputs()) following.forward(image, to);
            }
        }
        following.end();
    });
}

// dweight as weight, dbias [channel]. dy is the gradient of y, or, if a block follows, y itself.
int32_t hadamax_convolution_backward(const Convolution* convolution, const Input* x, const Element* dy, float* dweight,
                                     float* dbias, const Block* block) {
    return returns_success([&] {
        const Tiles s(*convolution);
        struct Workspace {
            Data data;
            Gradients total;
            Lines<Element> maps;
            Lines<double> affine;
        };
        auto workspaces = for_threads(s.threads, [&] {
            return Workspace{Data(s), Gradients(s), Lines<Element>(block ? s.images_together() * s.outputs() : 0),
                         Lines<double>(2 * s.channels)};
        });
        FollowingBlock following(block);
#pragma omp parallel num_threads(s.threads)
        {
            Workspace& here = *workspaces[omp_get_thread_num()];
#pragma omp for schedule(static)
            for (int step = 0; step < s.steps(); step++) {
                const Span images = images_of(s, step);
                const Element* of_images = dy + images.begin * s.outputs();
                for (int i = 0; i < images.size(); i++) {
                    const size_t at = i * s.outputs();
                    following.backward(images.begin + i, of_images + at, here.maps.data() + at, here.affine);
                }
                const Element* gradient = block ? here.maps.data() : of_images;
                for (int number = 0; number < s.groups(images.size()); number++) {
                    const Span group = s.group(number, images.size());
                    here.data.read(x + images.begin * s.image_stride, group);
                    here.total.add(here.data, group, gradient);
                }
            }
        }
        following.end();
        Gradients& total = workspaces[0]->total;  // summed in a fixed order: deterministic
        for (int thread = 1; thread < s.threads; thread++) total.add(workspaces[thread]->total);
        total.write(dweight, dbias);
    });
}
}
