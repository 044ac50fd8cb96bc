// OpenMP's threads, or one where there is none.
#pragma once
#ifdef _OPENMP
#include <omp.h>
#else
static inline int omp_get_thread_num() { return 0; }
#endif
