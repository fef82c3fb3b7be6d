/* GPM: a sample is the instant at which it was taken and what of; figures follow from two. Graphics is the exact mean
 * of the busy time between them, the others fixed parts of it (library.py says which). Samples of two generations of a
 * GPU instance give nonsense, as reported of drivers. */
#define _GNU_SOURCE
#include "call.h"

#include <stdlib.h>

enum { VERSION = 1, REFRESH_US = 100000, GRAPHICS = 1, SM = 2, OCCUPANCY = 3, TENSOR = 5, DRAM = 10 };

typedef struct { int gpu, gi; i64 at, born; } GpmSample;
typedef struct { u32 version, is_supported; } Support;
typedef struct { u32 id; int result; double value; void *names[3]; } Metric;
typedef struct { u32 version, count; GpmSample *first, *second; Metric metrics[]; } MetricsGet;

static int allocated;

/* How many samples this process holds. */
API int gputally_test_gpm_samples(void) { return allocated; }

API int nvmlGpmSampleAlloc(GpmSample **sample)
{
    Call c = enter(__func__, ANY);
    if (c.code != SUCCESS) return c.code;
    *sample = calloc(1, sizeof **sample);
    allocated++;
    return SUCCESS;
}

API int nvmlGpmSampleFree(GpmSample *sample)
{
    free(sample);
    allocated--;
    return SUCCESS;
}

API int nvmlGpmQueryDeviceSupport(void *handle, Support *support)
{
    const Mig *m;
    Call c = enter_any(__func__, handle, &m);
    if (c.code == SUCCESS) support->is_supported = (u32)gpu_in(&c)->gpm;
    return c.code;
}

static int take(Call *c, int gi, i64 born, GpmSample *sample)
{
    if (c->code != SUCCESS) return c->code;
    if (!gpu_in(c)->gpm) return NOT_SUPPORTED;
    *sample = (GpmSample){c->gpu, gi, c->now, born};
    return SUCCESS;
}

API int nvmlGpmSampleGet(void *handle, GpmSample *sample)
{
    const Mig *m;
    Call c = enter_any(__func__, handle, &m);
    if (c.code == SUCCESS && !m && gpu_in(&c)->mig_mode == 1) return NOT_SUPPORTED;
    return take(&c, m ? (int)m->gi : -1, m ? m->from : 0, sample);
}

API int nvmlGpmMigSampleGet(void *handle, u32 gi, GpmSample *sample)
{
    Call c = enter_gpu(__func__, handle);
    for (int slot = 0; c.code == SUCCESS && slot < SLOTS; slot++) {
        const Mig *m = mig_in(c.s, c.gpu, slot, c.now);
        if (m && m->gi == gi) return take(&c, (int)gi, m->from, sample);
    }
    return c.code ? c.code : NOT_FOUND;
}

static u32 per_cent_of_graphics(u32 id)
{
    return id == GRAPHICS ? 100 : id == SM ? 80 : id == OCCUPANCY ? 50 : id == TENSOR ? 40 : id == DRAM ? 30 : 0;
}

/* In percent; nonsense of two generations, and nothing of two samples that are too near. */
static double mean_graphics(const Call *c, const GpmSample *a, const GpmSample *b)
{
    if (b->at - a->at < REFRESH_US) return 0;
    return (double)busy_integral(c->s, b->gpu, b->gi, a->at, b->at) / (double)(b->at - a->at);
}

API int nvmlGpmMetricsGet(MetricsGet *get)
{
    const GpmSample *a = get->first, *b = get->second;
    Call c = enter(__func__, b->gpu);
    if (c.code != SUCCESS) return c.code;
    if (get->version != VERSION) return ARGUMENT_VERSION_MISMATCH;
    if (a->gpu != b->gpu || a->gi != b->gi) return INVALID_ARGUMENT;
    double mean = mean_graphics(&c, a, b);
    for (u32 i = 0; i < get->count; i++) {
        Metric *m = &get->metrics[i];
        m->result = !per_cent_of_graphics(m->id) ? NOT_SUPPORTED : b->at - a->at < REFRESH_US ? NO_DATA : SUCCESS;
        if (m->result == SUCCESS) m->value = a->born == b->born ? mean * per_cent_of_graphics(m->id) / 100 : -300.0;
        const Rule *r = rule_of(c.s->values.at, c.s->values.n, c.name, c.gpu, c.now);
        if (r) m->value = (double)r->value;
    }
    return SUCCESS;
}
