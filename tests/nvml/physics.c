/* What follows from a scenario: utilisation, power as a line between idle and full, energy as the integral of power.
 * Integers only, so that library.py computes the same numbers. */
#include "scenario.h"

#include <string.h>

u32 percent_at(const Scenario *s, int gpu, u32 pid, i64 at)
{
    u32 percent = 0;
    for (int i = 0; i < s->steps.n; i++) {
        const Step *step = &s->steps.at[i];
        if (step->gpu == gpu && step->pid == pid && step->at <= at) percent = step->percent;
    }
    return percent;
}

/* The next instant after `at`, at most `end`, from which the device or process has another percentage. */
static i64 change_after(const Scenario *s, int gpu, u32 pid, i64 at, i64 end)
{
    for (int i = 0; i < s->steps.n; i++) {
        const Step *step = &s->steps.at[i];
        if (step->gpu == gpu && step->pid == pid && step->at > at && step->at < end) end = step->at;
    }
    return end;
}

static u64 integral(const Scenario *s, int gpu, u32 pid, i64 from, i64 to)
{
    u64 sum = 0;
    for (i64 at = from, next; at < to; at = next) {
        next = change_after(s, gpu, pid, at, to);
        sum += (u64)(next - at) * percent_at(s, gpu, pid, at);
    }
    return sum;
}

/* Percent of (from, to], rounded half up. */
u32 mean_percent(const Scenario *s, int gpu, u32 pid, i64 from, i64 to)
{
    u64 span = (u64)(to - from);
    return (u32)((2 * integral(s, gpu, pid, from, to) + span) / (2 * span));
}

u64 power_mw(const Gpu *g, u32 percent)
{
    return g->idle_mw + (g->full_mw - g->idle_mw) * percent / 100;
}

/* The counter: the integral of power since the GPU's start or its last restart. */
u64 energy_mj(const Scenario *s, int gpu, i64 now)
{
    const Gpu *g = &s->gpus.at[gpu];
    u64 base = g->energy_mj, nanojoules = 0;
    i64 from = g->start;
    for (int i = 0; i < s->restarts.n; i++) {
        const Restart *r = &s->restarts.at[i];
        if (r->gpu == gpu && r->at <= now && r->at > from) {
            from = r->at;
            base = 0;
        }
    }
    for (i64 at = from, next; at < now; at = next) {
        next = change_after(s, gpu, 0, at, now);
        nanojoules += (u64)(next - at) * power_mw(g, percent_at(s, gpu, 0, at));
    }
    return base + nanojoules / 1000000;
}

int lives(const Mig *m, i64 now) { return m->from <= now && now < m->to; }

int runs_on(const Process *p, int gpu, const Mig *mig, i64 now)
{
    return p->gpu == gpu && p->from <= now && now < p->to && (!mig || strcmp(p->mig, mig->uuid) == 0);
}

u64 memory_used(const Scenario *s, int gpu, const Mig *mig, i64 now)
{
    u64 used = 0;
    for (int i = 0; i < s->processes.n; i++) {
        const Process *p = &s->processes.at[i];
        if (runs_on(p, gpu, mig, now) && p->memory != ONES) used += p->memory;
    }
    return used;
}

static int is_in(const Scenario *s, const Process *p, int gpu, int gi)
{
    if (p->gpu != gpu || !p->mig[0]) return 0;
    for (int i = 0; i < s->migs.n; i++)
        if ((int)s->migs.at[i].gi == gi && strcmp(s->migs.at[i].uuid, p->mig) == 0) return 1;
    return 0;
}

/* Of a GPU instance: the sum of its processes, at most 100, by pieces on which it is constant. */
static u64 instance_integral(const Scenario *s, int gpu, int gi, i64 from, i64 to)
{
    u64 sum = 0;
    for (i64 at = from, next; at < to; at = next) {
        u32 percent = 0;
        next = to;
        for (int i = 0; i < s->processes.n; i++) {
            const Process *p = &s->processes.at[i];
            if (!is_in(s, p, gpu, gi)) continue;
            next = change_after(s, gpu, p->pid, at, next);
            percent += percent_at(s, gpu, p->pid, at);
        }
        sum += (u64)(next - at) * (percent > 100 ? 100 : percent);
    }
    return sum;
}

u64 busy_integral(const Scenario *s, int gpu, int gi, i64 from, i64 to)
{
    return gi < 0 ? integral(s, gpu, 0, from, to) : instance_integral(s, gpu, gi, from, to);
}
