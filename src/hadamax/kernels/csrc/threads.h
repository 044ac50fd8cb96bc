// OpenMP's threads, or one where there is none, and the memory they work in.
#pragma once
#include <atomic>
#include <cstdint>
#include <memory>
#include <new>
#include <vector>

#ifdef _OPENMP
#include <omp.h>
#else
static inline int omp_get_thread_num() { return 0; }
#endif

// What each thread works with: made by itself, lest two write to one line of the cache, and before the work begins, since
// a thread must not throw where others wait for it. What is small is then moved to its stack, where the compiler sees that
// nobody else writes to it.
template <class Make>
static auto for_threads(int threads, Make make) {
    using Room = decltype(make());
    std::vector<std::unique_ptr<Room>> rooms(threads);
    std::atomic<bool> enough{true};
#pragma omp parallel num_threads(threads)
    try {
        rooms[omp_get_thread_num()].reset(new Room(make()));
    } catch (const std::bad_alloc&) {
        enough = false;
    }
    if (!enough) throw std::bad_alloc();
    for (auto& room : rooms)  // of threads that there may be
        if (!room) room.reset(new Room(make()));
    return rooms;
}

// 1 where the work was done, 0 where there was too little memory for it.
template <class Work>
static int32_t done(Work work) {
    try {
        work();
        return 1;
    } catch (const std::bad_alloc&) {
        return 0;
    }
}
