// A convolution of bytes, as an encoder begins with, or of maps, forward and the weights' gradient, by spectra (spectra.h),
// behind a plain C interface.
//
// Compiled for HADAMAX_ELEMENT, float or bfloat16: what the output is stored as; and for HADAMAX_INPUT, uint8_t or float:
// what is convolved.
#include "bytes.h"
#include "following.h"
#include "gradients.h"
#include "maps.h"
#include "outputs.h"

using Data = std::conditional_t<std::is_same_v<Input, uint8_t>, ByteData, MapData>;

// Of a step: as many images as share a group of tiles.
static Span images_of(const Tiles& s, int step) {
    const int first = step * s.images_together();
    return {first, std::min(first + s.images_together(), s.images)};
}

extern "C" {

// What the number of output channels must be a multiple of; 0 where registers are too few and too small for it to pay.
int hadamax_convolution_channels() { return PAYS ? LANES : 0; }

// The next two give 0 where memory ended, and have then done nothing that counts.

// x [image, input, row, column] of bytes, [image, row, column, input] of maps; weight [channel, input, kernel row, kernel
// column]; bias [channel] or null; y [image, row, column, channel]. The block that follows, or null: then y may be null.
int32_t hadamax_convolution(const Convolution* convolution, const Input* x, const float* weight, const float* bias,
                            Element* y, const Block* block) {
    return done([&] {
        const Tiles s(*convolution);
        const Kernels kernels(s, weight);
        const Lines<float> zeros(s.channels, 0.0f);
        struct Place {
            Data data;
            Outputs outputs;
            Lines<Element> maps;
        };
        auto places = for_threads(s.threads, [&] {
            return Place{Data(s), Outputs(s), Lines<Element>(y ? 0 : s.images_together() * s.outputs())};
        });
        Following following(block);
#pragma omp parallel num_threads(s.threads)
        {
            Place& here = *places[omp_get_thread_num()];  // by its name: clang lets no binding into a thread's loop
#pragma omp for schedule(static)
            for (int step = 0; step < s.steps(); step++) {
                const Span images = images_of(s, step);
                Element* to = y ? y + images.begin * s.outputs() : here.maps.data();
                for (int number = 0; number < s.groups(images.size()); number++) {
                    const Span group = s.group(number, images.size());
                    here.data.read(x + images.begin * s.apart, group);
                    here.outputs.write(here.data, kernels, bias ? bias : zeros.data(), group, to);
                }
                for (int image = images.begin; image < images.end; image++, to += s.outputs()) following.forward(image, to);
            }
        }
        following.end();
    });
}

// dweight as weight, dbias [channel], from dy as y; where a block follows, dy is not the gradient of y but y.
int32_t hadamax_convolution_backward(const Convolution* convolution, const Input* x, const Element* dy, float* dweight,
                                     float* dbias, const Block* block) {
    return done([&] {
        const Tiles s(*convolution);
        struct Place {
            Data data;
            Gradients total;
            Lines<Element> maps;
            Lines<double> affine;
        };
        auto places = for_threads(s.threads, [&] {
            return Place{Data(s), Gradients(s), Lines<Element>(block ? s.images_together() * s.outputs() : 0),
                         Lines<double>(2 * s.channels)};
        });
        Following following(block);
#pragma omp parallel num_threads(s.threads)
        {
            Place& here = *places[omp_get_thread_num()];
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
                    here.data.read(x + images.begin * s.apart, group);
                    here.total.add(here.data, group, gradient);
                }
            }
        }
        following.end();
        Gradients& total = places[0]->total;
        for (int thread = 1; thread < s.threads; thread++) total.add(places[thread]->total);  // in order: always the same
        total.write(dweight, dbias);
    });
}
}
