// A convolution of bytes, as an encoder begins with, or of maps, forward and the weights' gradient, behind a plain C
// interface.
//
// Compiled for HADAMAX_ELEMENT, float or bfloat16: what is multiplied, and what the output is stored as; and for
// HADAMAX_INPUT, uint8_t or that element: what is convolved.
// Each two by two outputs take nine products of a quarter of the kernel where they would take sixteen, or fewer: see
// quarters.h.
#include "following.h"
#include "gradients.h"
#include "products.h"

// What one thread works with.
struct Room {
    Data data;
    const std::vector<int> offsets;  // of the taps in the data
    const size_t row;
    Lines<float> rows;  // [centre, first and second column, a row's edge, then two by two of a fold][column][channel]

    explicit Room(const Sizes& s)
        : data(s),
          offsets(Data::offsets(s)),
          row(size_t(s.half_columns()) * s.channels),
          rows((s.twice ? 8 : 4) * row) {}

    float* of(int number) { return rows.data() + number * row; }
    float* kept(int p, int q) { return of(4 + 2 * p + q); }
};

// Two rows of a fold, their even and their odd columns: from start(row, odd columns, rows of sums) to put(row, odd).
template <class Start, class Put>
static void quarters(const Sizes& s, const Weights& weights, Room& room, int fold, int step, Start start, Put put) {
    float *centre = room.of(0), *columns[2] = {room.of(1), room.of(2)}, *edge = room.of(3);
    auto products = [&](int number) {
        const int part = fold * PARTS + number;
        return Products{s, room.data.of(part, step), weights.of(part), room.offsets.data(), s.taps()};
    };
    products(part_of(CENTRE, CENTRE)).row(Nothing{}, Keep{centre});
    for (int q : {0, 1}) products(part_of(CENTRE, q)).row(Row{centre}, Keep{columns[q]});
    for (int p = 0; p < 2 && s.row(step, fold % CENTRE, p) < s.rows; p++) {
        products(part_of(p, CENTRE)).row(Nothing{}, Keep{edge});
        for (int q : {0, 1}) products(part_of(p, q)).row(start(p, q, Rows{columns[q], edge}), put(p, q));
    }
}

// One image: y [row, column, channel].
static void convolve(const Sizes& s, const Weights& weights, const float* bias, Room& room, Element* y) {
    auto alone = [](int, int, Rows rows) { return rows; };
    auto beside = [&](int p, int q, Rows rows) { return Three{rows, room.kept(p, q)}; };
    auto keep = [&](int p, int q) { return Keep{room.kept(p, q)}; };
    for (int step = 0; step < s.steps(); step++) {
        auto finish = [&](int fold) {
            return [&, fold](int p, int q) {
                return Finish{y + s.row(step, fold, p) * size_t(s.columns) * s.channels, q, s.columns, s.scale, bias};
            };
        };
        if (s.twice) {
            quarters(s, weights, room, CENTRE, step, alone, keep);
            for (int fold : {0, 1}) quarters(s, weights, room, fold, step, beside, finish(fold));
        } else
            quarters(s, weights, room, 0, step, alone, finish(0));
    }
}

extern "C" {

// What the number of output channels must be a multiple of; 0 where this processor has no fast product.
int hadamax_convolution_channels() { return PAYS ? TILE_CHANNELS : 0; }
// And that of the inputs.
int hadamax_convolution_inputs() { return MAPS ? LANES : 1; }

// The next two give 0 where memory ended, and have then done nothing that counts.

// x [image, input, row, column] of bytes, [image, row, column, input] of maps; weight [channel, input, kernel row, kernel
// column]; bias [channel] or null; y [image, row, column, channel]. The block that follows, or null: then y may be null.
int32_t hadamax_convolution(const Sizes* sizes, const Input* x, const float* weight, const float* bias, Element* y,
                            const Block* block) {
    return done([&] {
        const Sizes s = *sizes;
        const Weights weights(s, weight);
        const Lines<float> zeros(s.channels);
        struct Place {
            Room room;
            Lines<Element> map;
        };
        auto places = for_threads(s.threads, [&] { return Place{Room(s), Lines<Element>(y ? 0 : s.outputs())}; });
        Following following(block);
#pragma omp parallel num_threads(s.threads)
        {
            Place& here = *places[omp_get_thread_num()];  // by its name: clang lets no binding into a thread's loop
#pragma omp for schedule(static)
            for (int image = 0; image < s.images; image++) {
                Element* to = y ? y + image * s.outputs() : here.map.data();
                here.room.data.read(x + image * s.apart);
                convolve(s, weights, bias ? bias : zeros.data(), here.room, to);
                following.forward(image, to);
            }
        }
        following.end();
    });
}

// dweight as weight, dbias [channel], from dy as y; where a block follows, dy is not the gradient of y but y.
int32_t hadamax_convolution_backward(const Sizes* sizes, const Input* x, const Element* dy, float* dweight,
                                     float* dbias, const Block* block) {
    return done([&] {
        const Sizes s = *sizes;
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
                const Element* of_image = dy + image * s.outputs();
                here.data.read(x + image * s.apart);
                here.total.add(here.data, following.backward(image, of_image, here.map, here.affine));
            }
        }
        following.end();
        Gradients& total = places[0]->total;
        for (int thread = 1; thread < s.threads; thread++) total.add(places[thread]->total);  // in order: always the same
        total.write(dweight, dbias);
    });
}
}
