/* What every call goes through first: it is counted, hung and failed as the scenario says. */
#ifndef CALL_H
#define CALL_H
#include "scenario.h"

enum { SLOTS = 8 }; /* MIG devices of a GPU: 7, and one to spare */

#define API __attribute__((visibility("default")))

enum {
    SUCCESS = 0, UNINITIALIZED = 1, INVALID_ARGUMENT = 2, NOT_SUPPORTED = 3, NOT_FOUND = 6, INSUFFICIENT_SIZE = 7,
    TIMEOUT = 10, GPU_IS_LOST = 15, NO_DATA = 21, ARGUMENT_VERSION_MISMATCH = 25,
};

/* A call on a GPU, or on the MIG device `mig`, as it starts: `code` is SUCCESS if it may go on. */
typedef struct { const Scenario *s; i64 now; int gpu, code; const char *name; } Call;

extern int references; /* how often the library is initialised */

Call enter(const char *name, int gpu);
/* `handle` must be a GPU's; in enter_mig a MIG device's; in enter_any either's, and `mig` is NULL for a GPU. */
Call enter_gpu(const char *name, const void *handle);
Call enter_mig(const char *name, const void *handle, const Mig **mig);
Call enter_any(const char *name, const void *handle, const Mig **mig);

const Gpu *gpu_in(const Call *c);
u64 value_in(const Call *c, u64 honest); /* what the scenario makes the call say */

/* The MIG device that a slot of a GPU holds now, or NULL. */
const Mig *mig_in(const Scenario *s, int gpu, int slot, i64 now);

/* Handles are numbers: GPUs from 1; MIG devices from 1001, by GPU and slot, so that a new one in a slot gets the handle
 * of the one before it. */
void *gpu_handle(int gpu);
void *mig_handle(int gpu, int slot);

#endif
