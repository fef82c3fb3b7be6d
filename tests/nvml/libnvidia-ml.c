/* A libnvidia-ml.so.1 whose GPUs follow a scenario file instead of hardware. README.md beside this file describes the
 * scenario's lines and which of the driver's habits are kept. Everything is a pure function of the scenario and of the
 * wall clock (or of the scenario's `now`), so a test can compute the same numbers exactly.
 *
 * Structures and codes follow NVML's published ABI; only what the product calls is here. */
#define _GNU_SOURCE
#include <stdio.h>
#include <string.h>

#include "call.h"

enum { RING = 72, GPU_UTILIZATION_SAMPLES = 1, VALUE_UNSIGNED_INT = 1, RECOVERY_ACTION = 230, MEMORY_V2 = 0x02000028,
       TEMPERATURE_V1 = 0x0100000C, SM_CLOCK = 1, MEMORY_CLOCK = 2, GPU_IDLE = 1 };
#define NO_INSTANCE 0xFFFFFFFFu

/* ---- the ABI ---- */

typedef struct { char legacy[16]; u32 domain, bus, device, device_id, subsystem_id; char bus_id[32]; } PciInfo;
typedef struct { u64 total, free, used; } Memory;
typedef struct { u32 version; u64 total, reserved, free, used; } MemoryV2;
typedef struct { u32 gpu, memory; } Utilization;
typedef struct { u32 version; int sensor, temperature; } Temperature;
typedef struct { u64 time_stamp; union { u32 ui; u64 ull; double d; } value; } Sample;
typedef struct { u32 pid; u64 memory; u32 gpu_instance, compute_instance; } ProcessInfo;
typedef struct { u32 pid; u64 time_stamp; u32 sm, memory, encoder, decoder; } ProcessUtilization;
typedef struct {
    u32 id, scope;
    i64 time_stamp, latency;
    int value_type, result;
    union { u32 ui; u64 ull; double d; } value;
} FieldValue;

/* Ends of the buffer's entries newer than `last`, oldest first; an entry stands at every multiple of the period. */
static int ring_ends(const Call *c, i64 last, i64 ends[RING])
{
    i64 period = c->s->period, newest = c->now / period * period, oldest = newest - (RING - 1) * period;
    i64 start = gpu_in(c)->start;
    int n = 0;
    for (i64 end = oldest; end <= newest; end += period)
        if (end > last && end > start) ends[n++] = end;
    return n;
}

static u64 stamped(const Call *c, i64 end)
{
    const Rule *r = rule_of(c->s->stamps.at, c->s->stamps.n, c->name, c->gpu, end);
    return !r ? (u64)end : r->value == ONES ? ONES : (u64)(end + (i64)r->value);
}

/* ---- the calls ---- */

API int nvmlInitWithFlags(u32 flags)
{
    (void)flags;
    Call c = enter("nvmlInit", ANY);
    if (c.code != SUCCESS && c.code != UNINITIALIZED) return c.code;
    references++;
    return SUCCESS;
}

API int nvmlInit_v2(void) { return nvmlInitWithFlags(0); }

API int nvmlShutdown(void)
{
    if (references == 0) return UNINITIALIZED;
    references--;
    return SUCCESS;
}

API const char *nvmlErrorString(int code)
{
    static _Thread_local char text[32];
    snprintf(text, sizeof text, "scripted error %d", code);
    return text;
}

API int nvmlDeviceGetCount_v2(u32 *count)
{
    Call c = enter(__func__, ANY);
    if (c.code == SUCCESS) *count = (u32)c.s->gpus.n;
    return c.code;
}

API int nvmlDeviceGetHandleByIndex_v2(u32 index, void **handle)
{
    Call c = enter(__func__, (int)index);
    if (c.code == SUCCESS && (int)index >= c.s->gpus.n) return INVALID_ARGUMENT;
    *handle = gpu_handle((int)index);
    return c.code;
}

API int nvmlDeviceGetHandleByUUID(const char *uuid, void **handle)
{
    const Scenario *s = current();
    for (int i = 0; i < s->gpus.n; i++)
        if (strcmp(s->gpus.at[i].uuid, uuid) == 0) {
            *handle = gpu_handle(i);
            return enter(__func__, i).code;
        }
    for (int i = 0; i < s->migs.n; i++)
        if (strcmp(s->migs.at[i].uuid, uuid) == 0 && lives(&s->migs.at[i], clock_of(s))) {
            *handle = mig_handle(s->migs.at[i].gpu, s->migs.at[i].slot);
            return enter(__func__, s->migs.at[i].gpu).code;
        }
    int code = enter(__func__, ANY).code;
    return code == SUCCESS ? NOT_FOUND : code;
}

static int put(int code, char *to, u32 room, const char *text)
{
    if (code != SUCCESS) return code;
    return snprintf(to, room, "%s", text) < (int)room ? SUCCESS : INSUFFICIENT_SIZE;
}

API int nvmlDeviceGetUUID(void *handle, char *uuid, u32 room)
{
    const Mig *m;
    Call c = enter_any(__func__, handle, &m);
    return put(c.code, uuid, room, c.code ? "" : m ? m->uuid : gpu_in(&c)->uuid);
}

API int nvmlDeviceGetName(void *handle, char *name, u32 room)
{
    const Mig *m;
    Call c = enter_any(__func__, handle, &m);
    return put(c.code, name, room, c.code ? "" : m ? m->name : gpu_in(&c)->name);
}

API int nvmlDeviceGetMinorNumber(void *handle, u32 *minor)
{
    Call c = enter_gpu(__func__, handle);
    if (c.code != SUCCESS) return c.code;
    if (gpu_in(&c)->minor < 0) return NOT_SUPPORTED;
    *minor = (u32)gpu_in(&c)->minor;
    return SUCCESS;
}

API int nvmlDeviceGetPciInfo_v3(void *handle, PciInfo *info)
{
    Call c = enter_gpu(__func__, handle);
    if (c.code != SUCCESS) return c.code;
    memset(info, 0, sizeof *info);
    snprintf(info->bus_id, sizeof info->bus_id, "%s", gpu_in(&c)->pci);
    return SUCCESS;
}

/* Memory of the GPU, or of a MIG device, which has none reserved. */
static u64 total_of(const Call *c, const Mig *m) { return m ? m->memory_mib << 20 : gpu_in(c)->memory; }
static u64 reserved_of(const Call *c, const Mig *m) { return m ? 0 : gpu_in(c)->reserved; }

API int nvmlDeviceGetMemoryInfo_v2(void *handle, MemoryV2 *memory)
{
    const Mig *m;
    Call c = enter_any(__func__, handle, &m);
    if (c.code != SUCCESS) return c.code;
    if (memory->version != MEMORY_V2) return ARGUMENT_VERSION_MISMATCH;
    memory->total = total_of(&c, m);
    memory->reserved = reserved_of(&c, m);
    memory->used = value_in(&c, memory_used(c.s, c.gpu, m, c.now));
    memory->free = memory->total - memory->reserved - memory->used;
    return SUCCESS;
}

API int nvmlDeviceGetMemoryInfo(void *handle, Memory *memory)
{
    const Mig *m;
    Call c = enter_any(__func__, handle, &m);
    if (c.code != SUCCESS) return c.code;
    memory->total = total_of(&c, m);
    memory->used = value_in(&c, memory_used(c.s, c.gpu, m, c.now) + reserved_of(&c, m));
    memory->free = memory->total - memory->used;
    return SUCCESS;
}

API int nvmlDeviceGetUtilizationRates(void *handle, Utilization *rates)
{
    Call c = enter_gpu(__func__, handle);
    if (c.code != SUCCESS) return c.code;
    if (gpu_in(&c)->mig_mode == 1) return NOT_SUPPORTED;
    i64 end = c.now / c.s->period * c.s->period;
    rates->gpu = (u32)value_in(&c, mean_percent(c.s, c.gpu, 0, end - c.s->period, end));
    rates->memory = 0;
    return SUCCESS;
}

API int nvmlDeviceGetPowerUsage(void *handle, u32 *milliwatts)
{
    Call c = enter_gpu(__func__, handle);
    if (c.code != SUCCESS) return c.code;
    *milliwatts = (u32)value_in(&c, power_mw(gpu_in(&c), percent_at(c.s, c.gpu, 0, c.now)));
    return SUCCESS;
}

API int nvmlDeviceGetTotalEnergyConsumption(void *handle, u64 *millijoules)
{
    Call c = enter_gpu(__func__, handle);
    if (c.code != SUCCESS) return c.code;
    *millijoules = value_in(&c, energy_mj(c.s, c.gpu, c.now));
    return SUCCESS;
}

/* At rest 30 degrees and low clocks, for the reason that it is idle; at work up to 70 degrees and full clocks. */
static u64 celsius(const Call *c) { return 30 + 40 * percent_at(c->s, c->gpu, 0, c->now) / 100; }
static u64 reasons(const Call *c) { return percent_at(c->s, c->gpu, 0, c->now) ? 0 : GPU_IDLE; }

API int nvmlDeviceGetTemperatureV(void *handle, Temperature *temperature)
{
    Call c = enter_gpu(__func__, handle);
    if (c.code != SUCCESS) return c.code;
    if (temperature->version != TEMPERATURE_V1) return ARGUMENT_VERSION_MISMATCH;
    temperature->temperature = (int)value_in(&c, celsius(&c));
    return temperature->sensor == 0 ? SUCCESS : INVALID_ARGUMENT;
}

API int nvmlDeviceGetTemperature(void *handle, int sensor, u32 *temperature)
{
    Call c = enter_gpu(__func__, handle);
    if (c.code != SUCCESS) return c.code;
    *temperature = (u32)value_in(&c, celsius(&c));
    return sensor == 0 ? SUCCESS : INVALID_ARGUMENT;
}

API int nvmlDeviceGetClockInfo(void *handle, int kind, u32 *mhz)
{
    Call c = enter_gpu(__func__, handle);
    if (c.code != SUCCESS) return c.code;
    if (kind != SM_CLOCK && kind != MEMORY_CLOCK) return INVALID_ARGUMENT;
    *mhz = (u32)value_in(&c, kind == MEMORY_CLOCK ? 2619 : reasons(&c) ? 345 : 1980);
    return SUCCESS;
}

API int nvmlDeviceGetCurrentClocksEventReasons(void *handle, u64 *mask)
{
    Call c = enter_gpu(__func__, handle);
    if (c.code == SUCCESS) *mask = value_in(&c, reasons(&c));
    return c.code;
}

API int nvmlDeviceGetCurrentClocksThrottleReasons(void *handle, u64 *mask)
{
    Call c = enter_gpu(__func__, handle);
    if (c.code == SUCCESS) *mask = value_in(&c, reasons(&c));
    return c.code;
}

static u32 sample_value(const Call *c, i64 end)
{
    const Rule *r = rule_of(c->s->values.at, c->s->values.n, c->name, c->gpu, end);
    return r ? (u32)r->value : mean_percent(c->s, c->gpu, 0, end - c->s->period, end);
}

API int nvmlDeviceGetSamples(void *handle, int type, u64 last, int *value_type, u32 *count, Sample *samples)
{
    i64 ends[RING];
    Call c = enter_gpu(__func__, handle);
    if (c.code != SUCCESS) return c.code;
    if (type != GPU_UTILIZATION_SAMPLES || gpu_in(&c)->mig_mode == 1) return NOT_SUPPORTED;
    u32 n = (u32)ring_ends(&c, (i64)last, ends);
    if (n == 0) return NOT_FOUND;
    if (samples && n > *count) n = *count;
    for (u32 i = 0; samples && i < n; i++) {
        samples[i].time_stamp = stamped(&c, ends[i]);
        samples[i].value.ull = 0;
        samples[i].value.ui = sample_value(&c, ends[i]);
    }
    *value_type = VALUE_UNSIGNED_INT;
    *count = n;
    return SUCCESS;
}

/* `letter` of the process's kinds names the list it stands on. A list that does not fit says how long it is. */
static int list_processes(const char *name, void *handle, char letter, u32 *count, ProcessInfo *infos)
{
    u32 n = 0, room = *count;
    const Mig *m;
    Call c = enter_any(name, handle, &m);
    if (c.code != SUCCESS) return c.code;
    for (int i = 0; i < c.s->processes.n; i++) {
        const Process *p = &c.s->processes.at[i];
        if (!strchr(p->kinds, letter) || !runs_on(p, c.gpu, m, c.now)) continue;
        if (infos && n < room)
            infos[n] = (ProcessInfo){p->pid, p->memory, m ? m->gi : NO_INSTANCE, m ? m->ci : NO_INSTANCE};
        n++;
    }
    *count = n;
    return n > room || (n && !infos) ? INSUFFICIENT_SIZE : SUCCESS;
}

#define PROCESS_LIST(name, letter) \
    API int name##_v3(void *handle, u32 *count, ProcessInfo *infos) \
    { return list_processes(#name, handle, letter, count, infos); } \
    API int name##_v2(void *handle, u32 *count, ProcessInfo *infos) \
    { return list_processes(#name, handle, letter, count, infos); }

PROCESS_LIST(nvmlDeviceGetComputeRunningProcesses, 'c')
PROCESS_LIST(nvmlDeviceGetGraphicsRunningProcesses, 'g')
PROCESS_LIST(nvmlDeviceGetMPSComputeRunningProcesses, 'm')

/* The mean over the entries newer than `last`; its time stamp is the last entry in which the process was seen. */
static ProcessUtilization utilization_of(const Call *c, u32 pid, const i64 *ends, int n)
{
    ProcessUtilization u = {.pid = pid};
    u64 sum = 0;
    for (int i = 0; i < n; i++) {
        u32 percent = mean_percent(c->s, c->gpu, pid, ends[i] - c->s->period, ends[i]);
        if (percent) u.time_stamp = stamped(c, ends[i]);
        sum += percent;
    }
    u.sm = u.time_stamp ? (u32)((2 * sum + (u64)n) / (2 * (u64)n)) : 0;
    if (u.time_stamp) u.sm = (u32)value_in(c, u.sm);
    return u;
}

API int nvmlDeviceGetProcessUtilization(void *handle, ProcessUtilization *out, u32 *count, u64 last)
{
    i64 ends[RING];
    u32 n = 0, room = out ? *count : 0;
    Call c = enter_gpu(__func__, handle);
    if (c.code != SUCCESS) return c.code;
    if (gpu_in(&c)->mig_mode == 1) return NOT_SUPPORTED;
    int entries = ring_ends(&c, (i64)last, ends);
    if (entries == 0) return NOT_FOUND;
    for (int i = 0; i < c.s->processes.n; i++) {
        const Process *p = &c.s->processes.at[i];
        if (p->gpu != c.gpu) continue;
        ProcessUtilization u = utilization_of(&c, p->pid, ends, entries);
        if (!u.time_stamp) continue;
        if (n < room) out[n] = u;
        n++;
    }
    *count = n;
    return n > room ? INSUFFICIENT_SIZE : SUCCESS;
}

API int nvmlDeviceGetFieldValues(void *handle, int count, FieldValue *fields)
{
    Call c = enter_gpu(__func__, handle);
    if (c.code != SUCCESS) return c.code;
    for (int i = 0; i < count; i++) {
        fields[i].result = fields[i].id == RECOVERY_ACTION ? SUCCESS : NOT_SUPPORTED;
        fields[i].time_stamp = c.now;
        fields[i].value_type = VALUE_UNSIGNED_INT;
        fields[i].value.ull = 0;
        for (int k = 0; k < c.s->recoveries.n; k++) {
            const Event *e = &c.s->recoveries.at[k];
            if (e->gpu == c.gpu && e->at <= c.now) fields[i].value.ui = e->value;
        }
    }
    return SUCCESS;
}
