#define _GNU_SOURCE
#include "call.h"

#include <fcntl.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

enum { CALLS = 96 };
typedef struct { char name[56]; u64 count; } Count;
static Count own[CALLS], *calls = own;
static pthread_mutex_t calls_lock = PTHREAD_MUTEX_INITIALIZER;
int references;

/* Counts that others can read while the process runs, and when it is gone: a file of its own, mapped. */
static void share_counts(void)
{
    static int asked;
    const char *folder = asked++ ? NULL : getenv("GPUTALLY_TEST_NVML_COUNTS");
    if (!folder) return;
    char path[4096];
    snprintf(path, sizeof path, "%s/%d", folder, (int)getpid());
    int file = open(path, O_RDWR | O_CREAT | O_TRUNC, 0600);
    if (file < 0) return;
    if (ftruncate(file, sizeof own) == 0) {
        void *shared = mmap(NULL, sizeof own, PROT_READ | PROT_WRITE, MAP_SHARED, file, 0);
        if (shared != MAP_FAILED) calls = shared;
    }
    close(file);
}

static void count_call(const char *name)
{
    pthread_mutex_lock(&calls_lock);
    share_counts();
    for (int i = 0; i < CALLS; i++) {
        if (!calls[i].name[0]) snprintf(calls[i].name, sizeof calls[i].name, "%s", name);
        if (strcmp(calls[i].name, name) == 0) {
            calls[i].count++;
            break;
        }
    }
    pthread_mutex_unlock(&calls_lock);
}

/* How often each call was made in this process: "name count" a line. */
API int gputally_test_calls(char *text, int room)
{
    int used = 0;
    text[0] = 0;
    for (int i = 0; i < CALLS && calls[i].name[0]; i++)
        used += snprintf(text + used, used < room ? (size_t)(room - used) : 0, "%s %lu\n", calls[i].name,
                         calls[i].count);
    return used;
}

/* Asleep as long as the scenario says, however it is rewritten meanwhile. */
static const Scenario *wait_out_hangs(const char *call, int gpu)
{
    for (;;) {
        const Scenario *s = current();
        if (!rule_of(s->hangs.at, s->hangs.n, call, gpu, clock_of(s))) return s;
        usleep(5000);
    }
}

static int fault_of(const Scenario *s, const char *call, int gpu, i64 at)
{
    Rule *r = rule_of(s->faults.at, s->faults.n, call, gpu, at);
    if (!r) return SUCCESS;
    if (r->times > 0) r->times--;
    return (int)r->value;
}

Call enter(const char *name, int gpu)
{
    Call c = {.gpu = gpu, .name = name};
    count_call(name);
    c.s = wait_out_hangs(name, gpu);
    c.now = clock_of(c.s);
    c.code = fault_of(c.s, name, gpu, c.now);
    if (c.code == SUCCESS && references == 0) c.code = UNINITIALIZED;
    return c;
}

void *gpu_handle(int gpu) { return (void *)(uintptr_t)(gpu + 1); }
void *mig_handle(int gpu, int slot) { return (void *)(uintptr_t)(1001 + gpu * SLOTS + slot); }

const Gpu *gpu_in(const Call *c) { return &c->s->gpus.at[c->gpu]; }

u64 value_in(const Call *c, u64 honest)
{
    const Rule *r = rule_of(c->s->values.at, c->s->values.n, c->name, c->gpu, c->now);
    return r ? r->value : honest;
}

const Mig *mig_in(const Scenario *s, int gpu, int slot, i64 now)
{
    for (int i = 0; i < s->migs.n; i++) {
        const Mig *m = &s->migs.at[i];
        if (m->gpu == gpu && m->slot == slot && lives(m, now)) return m;
    }
    return NULL;
}

Call enter_any(const char *name, const void *handle, const Mig **mig)
{
    int number = (int)(uintptr_t)handle, is_mig = number > 1000;
    Call c = enter(name, is_mig ? (number - 1001) / SLOTS : number - 1);
    *mig = NULL;
    if (c.code != SUCCESS) return c;
    if (c.gpu < 0 || c.gpu >= c.s->gpus.n) c.code = INVALID_ARGUMENT;
    else if (is_mig && !(*mig = mig_in(c.s, c.gpu, (number - 1001) % SLOTS, c.now))) c.code = INVALID_ARGUMENT;
    return c;
}

Call enter_gpu(const char *name, const void *handle)
{
    const Mig *mig;
    Call c = enter_any(name, handle, &mig);
    if (c.code == SUCCESS && mig) c.code = NOT_SUPPORTED;
    return c;
}

Call enter_mig(const char *name, const void *handle, const Mig **mig)
{
    Call c = enter_any(name, handle, mig);
    if (c.code == SUCCESS && !*mig) c.code = INVALID_ARGUMENT;
    return c;
}
