// Forks and what they copy on write, counters that processes share, programs executed again
// and again, signals in the midst of arithmetic, timers.

#include "guest.h"

enum { kChildren = 4, kForkBytes = 16 * kPage, kIncrements = 20000, kPrograms = 24 };

// Sums of the harmonic series: a floating point register that a switch of tasks or a signal
// has lost shows.
static int floats_agree(double start, int rounds) {
  double first = 0;
  for (int round = 0; round < rounds; ++round) {
    double sum = start;
    for (int i = 1; i < 500; ++i) sum += 1.0 / i;
    if (round == 0) first = sum;
    if (sum != first) return 0;
    if (round % 50 == 0) sched_yield();
  }
  return first > start + 6.79 && first < start + 6.80;
}

static int child_work(unsigned number, unsigned char* memory) {
  if (!holds(memory, kForkBytes, 99)) return 1;
  fill(memory, kForkBytes, number);
  if (!floats_agree(number, 200)) return 2;
  return holds(memory, kForkBytes, number) ? 0 : 3;
}

static int forks(void) {
  unsigned char* memory = new_memory(kForkBytes, kReadWrite);
  if (!memory) return 0;
  fill(memory, kForkBytes, 99);
  for (unsigned number = 0; number < kChildren; ++number) {
    const pid_t child = fork();
    if (child < 0) return 0;
    if (child == 0) exit(child_work(number, memory));
  }
  return all_ended_well(kChildren) && holds(memory, kForkBytes, 99);
}

// One counter by AMO, one by LR and SC, one behind a lock.
static int shared_counters(void) {
  volatile unsigned long* shared = (unsigned long*)shared_memory(kPage, kReadWrite);
  if (!shared) return 0;
  for (int number = 0; number < kChildren; ++number) {
    if (fork() != 0) continue;
    for (int i = 0; i < kIncrements; ++i) {
      __atomic_fetch_add(&shared[0], 1, __ATOMIC_RELAXED);
      unsigned long seen = __atomic_load_n(&shared[1], __ATOMIC_RELAXED);
      while (!__atomic_compare_exchange_n(&shared[1], &seen, seen + 3, 1, __ATOMIC_SEQ_CST,
                                          __ATOMIC_RELAXED))
        continue;
      while (__atomic_exchange_n(&shared[2], 1, __ATOMIC_ACQUIRE) != 0) sched_yield();
      shared[3] = shared[3] + 1;
      __atomic_store_n(&shared[2], 0, __ATOMIC_RELEASE);
    }
    exit(0);
  }
  const unsigned long wanted = (unsigned long)kChildren * kIncrements;
  return all_ended_well(kChildren) && shared[0] == wanted && shared[1] == 3 * wanted &&
         shared[3] == wanted;
}

// Each program is the next one's parent, so that pages of code come and go.
static int programs(void) {
  char number[] = "a";
  char* const arguments[] = {"/init", number, 0};
  for (int i = 0; i < kPrograms; ++i, ++number[0]) {
    const pid_t child = fork();
    if (child < 0) return 0;
    if (child != 0) continue;
    execve("/init", arguments, 0);
    exit(1);
  }
  int seen = 0;
  for (int i = 0; i < kPrograms; ++i) {
    int status = 0;
    if (wait_for(-1, &status) <= 0 || (status & 0x7f) != 0) return 0;
    seen += status >> 8;
  }
  return seen == kPrograms * (2 + kPrograms - 1) / 2;
}

static volatile int alarms;
static volatile double disturbed;

// Spoils registers that the code it interrupts needs.
static void on_alarm(int number) {
  for (int i = 1; i < 20; ++i) disturbed = disturbed + number / (double)i;
  ++alarms;
}

struct action {
  void (*handler)(int);
  unsigned long flags;
  unsigned long mask;
};

static int set_alarm(long microseconds) {
  const struct timeval timer[2] = {{0, microseconds}, {0, microseconds}};
  return my_syscall3(__NR_setitimer, 0, timer, 0) == 0;
}

static int signals(void) {
  const struct action action = {on_alarm, 0, 0};
  if (my_syscall4(__NR_rt_sigaction, SIGALRM, &action, 0, 8) != 0 || !set_alarm(2000)) return 0;
  int good = 1;
  for (int round = 0; round < 100000 && alarms < 20; ++round) good = good && floats_agree(round, 5);
  return set_alarm(0) && good && alarms >= 20;
}

static long long nanoseconds(void) {
  struct timespec now = {0, 0};
  my_syscall2(__NR_clock_gettime, 1, &now);
  return now.tv_sec * 1000000000LL + now.tv_nsec;
}

static int sleeping(void) {
  const struct timespec wanted = {0, 50 * 1000 * 1000};
  const long long begin = nanoseconds();
  if (my_syscall2(__NR_nanosleep, &wanted, 0) != 0) return 0;
  const long long slept = nanoseconds() - begin;
  return slept >= wanted.tv_nsec && slept < 100 * wanted.tv_nsec;
}

const struct check kProcessChecks[] = {{"forks, copies on write, floating point", forks},
                                       {"counters that processes share", shared_counters},
                                       {"programs", programs},
                                       {"signals", signals},
                                       {"sleep", sleeping},
                                       {0, 0}};
