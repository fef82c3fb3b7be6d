/* MIG: which devices there are, and what is asked of one. A destroyed one's handle is an INVALID_ARGUMENT, or the next
 * one's in its slot. */
#define _GNU_SOURCE
#include "call.h"

#include <string.h>

typedef struct {
    u32 multiprocessors, copy_engines, decoders, encoders, jpegs, ofas, gpu_slices, compute_slices;
    u64 memory_mib;
} Attributes;
typedef struct {
    u32 id, is_p2p, slices, instances, multiprocessors, copy_engines, decoders, encoders, jpegs, ofas;
    u64 memory_mib;
} ProfileInfo;
typedef struct { void *device; u32 id, profile, start, size; } InstanceInfo;

/* NVML_GPU_INSTANCE_PROFILE_n_SLICE by number: a GPU of 7 slices has 1, 2, 3, 4 and 7, one of 4 has 1, 2 and 4. */
static const int slices_of_profile[] = {1, 2, 3, 4, 7};

API int nvmlDeviceGetMigMode(void *handle, u32 *now, u32 *pending)
{
    Call c = enter_gpu(__func__, handle);
    if (c.code != SUCCESS) return c.code;
    if (gpu_in(&c)->mig_mode < 0) return NOT_SUPPORTED;
    *now = *pending = (u32)gpu_in(&c)->mig_mode;
    return SUCCESS;
}

API int nvmlDeviceGetMaxMigDeviceCount(void *handle, u32 *count)
{
    Call c = enter_gpu(__func__, handle);
    if (c.code == SUCCESS) *count = gpu_in(&c)->mig_mode == 1 ? (u32)gpu_in(&c)->slices : 0;
    return c.code;
}

API int nvmlDeviceGetMigDeviceHandleByIndex(void *handle, u32 index, void **mig)
{
    Call c = enter_gpu(__func__, handle);
    if (c.code != SUCCESS) return c.code;
    *mig = mig_handle(c.gpu, (int)index);
    return mig_in(c.s, c.gpu, (int)index, c.now) ? SUCCESS : NOT_FOUND;
}

API int nvmlDeviceIsMigDeviceHandle(void *handle, u32 *is_mig)
{
    *is_mig = (uintptr_t)handle > 1000;
    return SUCCESS;
}

API int nvmlDeviceGetDeviceHandleFromMigDeviceHandle(void *handle, void **parent)
{
    const Mig *m;
    Call c = enter_mig(__func__, handle, &m);
    if (c.code == SUCCESS) *parent = gpu_handle(m->gpu);
    return c.code;
}

API int nvmlDeviceGetGpuInstanceId(void *handle, u32 *id)
{
    const Mig *m;
    Call c = enter_mig(__func__, handle, &m);
    if (c.code == SUCCESS) *id = m->gi;
    return c.code;
}

API int nvmlDeviceGetComputeInstanceId(void *handle, u32 *id)
{
    const Mig *m;
    Call c = enter_mig(__func__, handle, &m);
    if (c.code == SUCCESS) *id = m->ci;
    return c.code;
}

API int nvmlDeviceGetAttributes_v2(void *handle, Attributes *attributes)
{
    const Mig *m;
    Call c = enter_mig(__func__, handle, &m);
    if (c.code != SUCCESS) return c.code;
    *attributes = (Attributes){.gpu_slices = m->gpu_slices, .compute_slices = m->compute_slices,
                               .memory_mib = m->memory_mib};
    return SUCCESS;
}

API int nvmlDeviceGetGpuInstanceProfileInfo(void *handle, u32 profile, ProfileInfo *info)
{
    Call c = enter_gpu(__func__, handle);
    if (c.code != SUCCESS) return c.code;
    int whole = gpu_in(&c)->slices, slices = profile < 5 ? slices_of_profile[profile] : 0;
    if (slices == 0 || slices > whole || (whole == 4 && slices == 3)) return NOT_SUPPORTED;
    *info = (ProfileInfo){.id = profile, .slices = (u32)slices, .instances = (u32)(whole / slices)};
    return SUCCESS;
}

/* A GPU instance's handle is that of the first MIG device in it. */
API int nvmlDeviceGetGpuInstanceById(void *handle, u32 id, void **instance)
{
    Call c = enter_gpu(__func__, handle);
    if (c.code != SUCCESS) return c.code;
    for (int slot = 0; slot < SLOTS; slot++) {
        const Mig *m = mig_in(c.s, c.gpu, slot, c.now);
        if (m && m->gi == id) {
            *instance = mig_handle(c.gpu, slot);
            return SUCCESS;
        }
    }
    return NOT_FOUND;
}

API int nvmlGpuInstanceGetInfo(void *instance, InstanceInfo *info)
{
    const Mig *m;
    Call c = enter_mig(__func__, instance, &m);
    if (c.code != SUCCESS) return c.code;
    *info = (InstanceInfo){gpu_handle(m->gpu), m->gi, m->profile, m->start, m->gpu_slices};
    return SUCCESS;
}
