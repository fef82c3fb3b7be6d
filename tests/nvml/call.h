/* What every call goes through first: it is counted, hung and failed as the scenario says. */
#ifndef CALL_H
#define CALL_H
#include "scenario.h"

#define API __attribute__((visibility("default")))

enum {
    SUCCESS = 0, UNINITIALIZED = 1, INVALID_ARGUMENT = 2, NOT_SUPPORTED = 3, NOT_FOUND = 6, INSUFFICIENT_SIZE = 7,
    ARGUMENT_VERSION_MISMATCH = 25,
};

/* A call on a GPU, or on the MIG device `mig`, as it starts: `code` is SUCCESS if it may go on. */
typedef struct { const Scenario *s; i64 now; int gpu, code; const char *name; } Call;

extern int references; /* how often the library is initialised */

Call enter(const char *name, int gpu);
Call enter_gpu(const char *name, const void *handle);
Call enter_mig(const char *name, const void *handle, const Mig **mig);

/* Handles are numbers: GPUs from 1, MIG devices from 1001. */
int gpu_of(const void *handle);
int mig_of(const void *handle);

#endif
