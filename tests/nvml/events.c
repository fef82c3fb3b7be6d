/* Event sets: Xids, changes of MIG devices and of the recovery action after a GPU was registered, each told once, oldest first. */
#define _GNU_SOURCE
#include "call.h"

#include <stdlib.h>
#include <unistd.h>

enum { GPUS = 64, XID = 0x8, MIG_CHANGE = 0x100, RECOVERY_ACTION = 0x8000, SUPPORTED = 0xffff };
#define NO_INSTANCE 0xFFFFFFFFu

typedef struct { void *device; u64 type, data; u32 gi, ci; } EventData;
typedef struct { i64 since[GPUS]; u64 mask[GPUS]; i64 told_to; int told_at; } EventSet; /* how many of `told_to` too */
typedef struct { i64 at; int gpu; u64 type, data; } Candidate;

static int sets;

/* How many event sets this process holds. */
API int gputally_test_event_sets(void) { return sets; }

API int nvmlEventSetCreate(EventSet **set)
{
    Call c = enter(__func__, ANY);
    if (c.code != SUCCESS) return c.code;
    *set = calloc(1, sizeof **set);
    sets++;
    return SUCCESS;
}

API int nvmlEventSetFree(EventSet *set)
{
    free(set);
    sets--;
    return SUCCESS;
}

API int nvmlDeviceGetSupportedEventTypes(void *handle, u64 *types)
{
    Call c = enter_gpu(__func__, handle);
    *types = SUPPORTED;
    return c.code;
}

API int nvmlDeviceRegisterEvents(void *handle, u64 types, EventSet *set)
{
    Call c = enter_gpu(__func__, handle);
    if (c.code != SUCCESS) return c.code;
    if (c.gpu >= GPUS) return NOT_SUPPORTED;
    if (!set->mask[c.gpu]) set->since[c.gpu] = c.now;
    set->mask[c.gpu] |= types;
    return SUCCESS;
}

static int is_earlier(const Candidate *a, const Candidate *b) { return b->type == 0 || a->at < b->at; }

/* The next one to tell is the first after `told_to`, or number `told_at` of those at that instant. */
static void consider(const Call *c, EventSet *set, Candidate *best, Candidate next, int *seen)
{
    if (!(set->mask[next.gpu] & next.type) || next.at <= set->since[next.gpu] || next.at > c->now) return;
    if (next.at < set->told_to) return;
    if (next.at == set->told_to && (*seen)++ < set->told_at) return;
    if (is_earlier(&next, best)) *best = next;
}

static Candidate next_event(const Call *c, EventSet *set)
{
    Candidate best = {0};
    int seen = 0;
    for (int i = 0; i < c->s->xids.n; i++) {
        const Event *e = &c->s->xids.at[i];
        consider(c, set, &best, (Candidate){e->at, e->gpu, XID, e->value}, &seen);
    }
    for (int i = 0; i < c->s->recoveries.n; i++) {
        const Event *e = &c->s->recoveries.at[i];
        consider(c, set, &best, (Candidate){e->at, e->gpu, RECOVERY_ACTION, e->value}, &seen);
    }
    for (int i = 0; i < c->s->migs.n; i++) {
        const Mig *m = &c->s->migs.at[i];
        consider(c, set, &best, (Candidate){m->from, m->gpu, MIG_CHANGE, 0}, &seen);
        consider(c, set, &best, (Candidate){m->to, m->gpu, MIG_CHANGE, 0}, &seen);
    }
    return best;
}

/* A set with a GPU that every call finds lost fails as a whole. */
static int has_lost_gpu(const Call *c, const EventSet *set)
{
    for (int gpu = 0; gpu < c->s->gpus.n && gpu < GPUS; gpu++) {
        const Rule *r = rule_of(c->s->faults.at, c->s->faults.n, "*", gpu, c->now);
        if (set->mask[gpu] && r && r->value == GPU_IS_LOST) return 1;
    }
    return 0;
}

API int nvmlEventSetWait_v2(EventSet *set, EventData *data, u32 timeout_ms)
{
    Call c = enter(__func__, ANY);
    if (c.code != SUCCESS) return c.code;
    Candidate e = next_event(&c, set);
    if (e.type == 0) {
        if (has_lost_gpu(&c, set)) return GPU_IS_LOST;
        if (timeout_ms) usleep(timeout_ms * 1000); /* to sleep for no time gives the processor away */
        return TIMEOUT;
    }
    set->told_at = e.at == set->told_to ? set->told_at + 1 : 1;
    set->told_to = e.at;
    *data = (EventData){gpu_handle(e.gpu), e.type, e.data, NO_INSTANCE, NO_INSTANCE};
    return SUCCESS;
}
