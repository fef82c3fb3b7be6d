/* What the scenario file says, and what follows from it at an instant. README.md describes the lines. */
#ifndef SCENARIO_H
#define SCENARIO_H
#include <stdint.h>

typedef int64_t i64;
typedef uint64_t u64;
typedef unsigned int u32;

#define ONES UINT64_MAX
enum { ANY = -1 };

typedef struct { int gpu; u32 pid; i64 at; u32 percent; } Step; /* pid 0: the device itself */
typedef struct {
    char uuid[96], name[96], pci[32];
    int minor, mig_mode; /* -1: not supported */
    int slices, gpm;     /* compute slices of the whole GPU; whether it has GPM */
    u64 memory, reserved, energy_mj, idle_mw, full_mw;
    i64 start;
} Gpu;
typedef struct { int gpu; u32 pid; char kinds[8]; i64 from, to; u64 memory; char mig[96]; } Process;
typedef struct {
    int gpu, slot; /* slot: its index in the driver's list, which the next one there takes over with its handle */
    char uuid[96], name[96];
    u32 gi, ci, gpu_slices, compute_slices, profile, start;
    u64 memory_mib;
    i64 from, to;
} Mig;
typedef struct { int gpu; i64 at; } Restart;
typedef struct { int gpu; i64 at; u32 value; } Event; /* an Xid, or the recovery action from then on */
typedef struct { int gpu; char call[64]; i64 from, to; u64 value; i64 times; } Rule;

#define LIST(type) struct { type *at; int n; }
typedef struct {
    i64 period, now; /* now < 0: the wall clock */
    LIST(Gpu) gpus; LIST(Step) steps; LIST(Process) processes; LIST(Mig) migs; LIST(Restart) restarts;
    LIST(Event) xids; LIST(Event) recoveries;
    LIST(Rule) faults; LIST(Rule) hangs; LIST(Rule) values; LIST(Rule) stamps;
} Scenario;

/* The scenario as its file (GPUTALLY_TEST_NVML) stands now, and the instant it plays at, in microseconds since 1970. */
const Scenario *current(void);
i64 clock_of(const Scenario *s);

/* The rule that holds for a call on a GPU at an instant, or NULL. */
Rule *rule_of(Rule *rules, int n, const char *call, int gpu, i64 at);

/* Physics. `pid` 0 is the device itself. */
u32 percent_at(const Scenario *s, int gpu, u32 pid, i64 at);
u32 mean_percent(const Scenario *s, int gpu, u32 pid, i64 from, i64 to);
u64 power_mw(const Gpu *g, u32 percent);
u64 energy_mj(const Scenario *s, int gpu, i64 now);
u64 memory_used(const Scenario *s, int gpu, const Mig *mig, i64 now); /* mig NULL: of the whole GPU */

int lives(const Mig *m, i64 now);
int runs_on(const Process *p, int gpu, const Mig *mig, i64 now);
/* Hundredths of busy microseconds in (from, to] of a GPU (gi < 0) or of the processes in a GPU instance. */
u64 busy_integral(const Scenario *s, int gpu, int gi, i64 from, i64 to);

#endif
