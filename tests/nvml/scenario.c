/* Reads the scenario file, again whenever it was replaced. A line that cannot be read ends the program: a test with a
 * misread scenario would prove nothing. */
#define _GNU_SOURCE
#include "scenario.h"

#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>

#define ADD(list) \
    ((list).at = realloc((list).at, sizeof *(list).at * (size_t)((list).n + 1)), \
     memset(&(list).at[(list).n], 0, sizeof *(list).at), &(list).at[(list).n++])

static u64 number(const char *word)
{
    return strcmp(word, "ones") == 0 ? ONES : (u64)strtoll(word, NULL, 10);
}

static int gpu_number(const char *word)
{
    return strcmp(word, "*") == 0 ? ANY : atoi(word);
}

static int read_rule(Rule *rule, const char *line)
{
    char gpu[16], value[32] = "0", times[32] = "-1";
    int n = sscanf(line, "%*s %15s %63s %ld %ld %31s %31s", gpu, rule->call, &rule->from, &rule->to, value, times);
    rule->gpu = gpu_number(gpu);
    rule->value = number(value);
    rule->times = (i64)number(times);
    return n >= 4;
}

static int read_gpu(Gpu *g, const char *line)
{
    return sscanf(line, "%*s %95s %d %31s %lu %lu %ld %lu %lu %lu %d %d %d %95[^\n]", g->uuid, &g->minor, g->pci,
                  &g->memory, &g->reserved, &g->start, &g->energy_mj, &g->idle_mw, &g->full_mw, &g->mig_mode,
                  &g->slices, &g->gpm, g->name) == 13;
}

static int read_process(Process *p, const char *line)
{
    char memory[32];
    int n = sscanf(line, "%*s %d %u %7s %ld %ld %31s %95s", &p->gpu, &p->pid, p->kinds, &p->from, &p->to, memory,
                   p->mig);
    p->memory = number(memory);
    return n >= 6;
}

static int read_mig(Mig *m, const char *line)
{
    return sscanf(line, "%*s %d %95s %d %u %u %u %u %lu %u %u %ld %ld %95[^\n]", &m->gpu, m->uuid, &m->slot, &m->gi,
                  &m->ci, &m->gpu_slices, &m->compute_slices, &m->memory_mib, &m->profile, &m->start, &m->from, &m->to,
                  m->name) == 13;
}

static int read_busy(Step *s, const char *line)
{
    return sscanf(line, "%*s %d %ld %u", &s->gpu, &s->at, &s->percent) == 3;
}

static int read_process_busy(Step *s, const char *line)
{
    return sscanf(line, "%*s %d %u %ld %u", &s->gpu, &s->pid, &s->at, &s->percent) == 4;
}

static int read_event(Event *e, const char *line)
{
    return sscanf(line, "%*s %d %ld %u", &e->gpu, &e->at, &e->value) == 3;
}

static int read_line(Scenario *s, const char *line)
{
    char word[32] = "";
    sscanf(line, "%31s", word);
#define IS(name) (strcmp(word, name) == 0)
    if (word[0] == 0 || word[0] == '#') return 1;
    if (IS("period_us")) return sscanf(line, "%*s %ld", &s->period) == 1;
    if (IS("now")) return sscanf(line, "%*s %ld", &s->now) == 1;
    if (IS("gpu")) return read_gpu(ADD(s->gpus), line);
    if (IS("busy")) return read_busy(ADD(s->steps), line);
    if (IS("process")) return read_process(ADD(s->processes), line);
    if (IS("process_busy")) return read_process_busy(ADD(s->steps), line);
    if (IS("mig")) return read_mig(ADD(s->migs), line);
    if (IS("restart")) {
        Restart *r = ADD(s->restarts);
        return sscanf(line, "%*s %d %ld", &r->gpu, &r->at) == 2;
    }
    if (IS("xid")) return read_event(ADD(s->xids), line);
    if (IS("recovery")) return read_event(ADD(s->recoveries), line);
    if (IS("fault")) return read_rule(ADD(s->faults), line);
    if (IS("hang")) return read_rule(ADD(s->hangs), line);
    if (IS("value")) return read_rule(ADD(s->values), line);
    if (IS("stamp")) return read_rule(ADD(s->stamps), line);
    return 0;
#undef IS
}

static Scenario *load(const char *path)
{
    Scenario *s = calloc(1, sizeof *s);
    char *line = NULL;
    size_t room = 0;
    FILE *file = path ? fopen(path, "r") : NULL;
    s->period = 125000;
    s->now = -1;
    while (file && getline(&line, &room, file) >= 0)
        if (!read_line(s, line)) {
            fprintf(stderr, "libnvidia-ml.c: %s: cannot read: %s", path, line);
            abort();
        }
    if (file) fclose(file);
    free(line);
    return s;
}

/* The scenario as the file stands now. An older one is left to whoever still reads it: a test changes it a few times. */
const Scenario *current(void)
{
    static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
    static Scenario *loaded;
    static struct stat seen;
    const char *path = getenv("GPUTALLY_TEST_NVML");
    struct stat now = {0};
    pthread_mutex_lock(&lock);
    if (loaded && getenv("GPUTALLY_TEST_NVML_STILL")) now = seen; /* benchmarks: a call that costs next to nothing */
    else if (path) stat(path, &now);
    if (!loaded || now.st_ino != seen.st_ino || now.st_size != seen.st_size
        || memcmp(&now.st_mtim, &seen.st_mtim, sizeof now.st_mtim) != 0) {
        loaded = load(path);
        seen = now;
    }
    const Scenario *s = loaded;
    pthread_mutex_unlock(&lock);
    return s;
}

i64 clock_of(const Scenario *s)
{
    struct timespec t;
    if (s->now >= 0) return s->now;
    clock_gettime(CLOCK_REALTIME, &t);
    return (i64)t.tv_sec * 1000000 + t.tv_nsec / 1000;
}

static int rule_holds(const Rule *r, const char *call, int gpu, i64 at)
{
    return r->times != 0 && (r->gpu == ANY || r->gpu == gpu) && at >= r->from && at < r->to
        && (strcmp(r->call, "*") == 0 || strcmp(r->call, call) == 0);
}

Rule *rule_of(Rule *rules, int n, const char *call, int gpu, i64 at)
{
    for (int i = 0; i < n; i++)
        if (rule_holds(&rules[i], call, gpu, at)) return &rules[i];
    return NULL;
}
