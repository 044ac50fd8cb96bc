// OpenMP threads (or one thread without OpenMP), and their workspaces.
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

// Creates one workspace per thread. Each thread allocates its own, so that no two share a cache line, and before the work
// begins, because an exception must not leave a parallel region. Small parts are then moved to the thread's stack, where the
// compiler knows that nothing else writes to them.
template <class Make>
static auto for_threads(int threads, Make make) {
    using Workspace = decltype(make());
    std::vector<std::unique_ptr<Workspace>> workspaces(threads);
    std::atomic<bool> has_memory{true};
#pragma omp parallel num_threads(threads)
    try {
        workspaces[omp_get_thread_num()].reset(new Workspace(make()));
    } catch (const std::bad_alloc&) {
        has_memory = false;
    }
    if (!has_memory) throw std::bad_alloc();
    for (auto& workspace : workspaces)  // if OpenMP started fewer threads
        if (!workspace) workspace.reset(new Workspace(make()));
    return workspaces;
}

// Returns 1 if the work was done, 0 if memory could not be allocated.
template <class Work>
static int32_t returns_success(Work work) {
    try {
        work();
        return 1;
    } catch (const std::bad_alloc&) {
        return 0;
    }
}
