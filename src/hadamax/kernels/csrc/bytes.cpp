// The convolution of bytes that an encoder begins with, forward and the weights' gradient, by spectra (spectra.h), behind a
// plain C interface.
//
// Compiled for HADAMAX_ELEMENT, float or bfloat16: what the output is stored as.
#include "following.h"
#include "outputs.h"
#include "weights.h"

extern "C" {

// What the number of output channels must be a multiple of; 0 where registers are too few and too small for it to pay.
int hadamax_convolution_channels() {
#if defined(__x86_64__) && !defined(__AVX2__)
    return 0;
#else
    return COMPLEX;
#endif
}

// The next two give 0 where memory ended, and have then done nothing that counts.

// x [image, input, row, column]; weight [channel, input, kernel row, kernel column]; bias [channel] or null; y [image, row,
// column, channel]. The block that follows, or null: then y may be null.
int32_t hadamax_convolution(const Convolution* convolution, const uint8_t* x, const float* weight, const float* bias,
                            Element* y, const Block* block) {
    return done([&] {
        const Tiles s(*convolution);
        const Kernels kernels(s, weight);
        const Lines<float> zeros(s.channels);
        struct Place {
            Data data;
            Outputs outputs;
            Lines<Element> map;
        };
        auto places = for_threads(s.threads, [&] {
            return Place{Data(s), Outputs(s), Lines<Element>(y ? 0 : s.outputs())};
        });
        Following following(block);
#pragma omp parallel num_threads(s.threads)
        {
            Place& here = *places[omp_get_thread_num()];  // by its name: clang lets no binding into a thread's loop
#pragma omp for schedule(static)
            for (int image = 0; image < s.images; image++) {
                Element* to = y ? y + image * s.outputs() : here.map.data();
                for (int group = 0; group < s.groups(); group++) {
                    here.data.read(x + image * s.apart, s.group(group));
                    here.outputs.write(here.data, kernels, bias ? bias : zeros.data(), s.group(group), to);
                }
                following.forward(image, to);
            }
        }
        following.end();
    });
}

// dweight as weight, dbias [channel], from dy as y; where a block follows, dy is not the gradient of y but y.
int32_t hadamax_convolution_backward(const Convolution* convolution, const uint8_t* x, const Element* dy, float* dweight,
                                     float* dbias, const Block* block) {
    return done([&] {
        const Tiles s(*convolution);
        struct Place {
            Data data;
            Gradients total;
            Lines<Element> map;
            Lines<double> affine;
        };
        auto places = for_threads(s.threads, [&] {
            return Place{Data(s), Gradients(s), Lines<Element>(block ? s.outputs() : 0), Lines<double>(2 * s.channels)};
        });
        Following following(block);
#pragma omp parallel num_threads(s.threads)
        {
            Place& here = *places[omp_get_thread_num()];
#pragma omp for schedule(static)
            for (int image = 0; image < s.images; image++) {
                const Element* gradient = following.backward(image, dy + image * s.outputs(), here.map, here.affine);
                for (int group = 0; group < s.groups(); group++) {
                    here.data.read(x + image * s.apart, s.group(group));
                    here.total.add(here.data, s.group(group), gradient);
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
