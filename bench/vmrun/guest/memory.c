// Loads and stores: a sum, a histogram, a table in random order, a chain of pointers, a sort,
// a matrix against its grain, and copies of words.

#include "bench/vmrun/guest/console.h"

enum { kWords = 1 << 18, kBytes = kWords * 8, kSorted = 1 << 15, kSide = 512 };

static uint64_t from[kWords];
static uint64_t to[kWords];
static uint32_t sorted[kSorted];
static uint32_t histogram[256];

static uint64_t random_state = 88172645463325252u;

static uint64_t next_random(void) {
  random_state ^= random_state << 13;
  random_state ^= random_state >> 7;
  random_state ^= random_state << 17;
  return random_state;
}

static uint64_t fill(void) {
  for (int i = 0; i < kWords; ++i) from[i] = next_random();
  return from[kWords - 1];
}

static uint64_t sum(int rounds) {
  uint64_t out = 0;
  for (int round = 0; round < rounds; ++round) {
    for (int i = 0; i < kWords; ++i) out += from[i] ^ (uint64_t)round;
  }
  return out;
}

static uint64_t count_bytes(void) {
  const uint8_t* const bytes = (const uint8_t*)from;
  for (int i = 0; i < kBytes; ++i) ++histogram[bytes[i]];
  uint64_t out = 0;
  for (int i = 0; i < 256; ++i) out = out * 31 + histogram[i];
  return out;
}

static uint64_t scatter(int rounds) {
  for (int i = 0; i < rounds; ++i) {
    const uint64_t at = next_random() % kWords;
    to[at] += from[(at * 7) % kWords];
  }
  return to[from[0] % kWords];
}

// One cycle through all words (Sattolo's shuffle), followed.
static uint64_t chase(int steps) {
  for (int i = 0; i < kWords; ++i) to[i] = (uint64_t)i;
  for (int i = kWords - 1; i > 0; --i) {
    const uint64_t other = next_random() % (uint64_t)i;
    const uint64_t kept = to[i];
    to[i] = to[other];
    to[other] = kept;
  }
  uint64_t at = 0;
  for (int i = 0; i < steps; ++i) at = to[at];
  return at;
}

static void sift(int root, int end) {
  for (int child; (child = 2 * root + 1) < end; root = child) {
    if (child + 1 < end && sorted[child] < sorted[child + 1]) ++child;
    if (sorted[root] >= sorted[child]) return;
    const uint32_t kept = sorted[root];
    sorted[root] = sorted[child];
    sorted[child] = kept;
  }
}

static uint64_t sort(void) {
  for (int i = 0; i < kSorted; ++i) sorted[i] = (uint32_t)next_random();
  for (int root = kSorted / 2; root-- > 0;) sift(root, kSorted);
  for (int end = kSorted - 1; end > 0; --end) {
    const uint32_t most = sorted[0];
    sorted[0] = sorted[end];
    sorted[end] = most;
    sift(0, end);
  }
  return sorted[kSorted / 3];
}

static uint64_t transpose(int rounds) {
  for (int round = 0; round < rounds; ++round) {
    for (int row = 0; row < kSide; ++row) {
      for (int column = 0; column < kSide; ++column) {
        to[column * kSide + row] = from[row * kSide + column];
      }
    }
  }
  return to[kSide + 3];
}

static uint64_t copy(int rounds) {
  for (int round = 0; round < rounds; ++round) {
    for (int i = 0; i < kWords - 1; ++i) to[i] = from[i + (round & 1)];
  }
  return to[kWords / 2];
}

int main(void) {
  put_result("fill", fill());
  put_result("sum", sum(10));
  put_result("histogram", count_bytes());
  put_result("scatter", scatter(200000));
  put_result("chase", chase(200000));
  put_result("sort", sort());
  put_result("transpose", transpose(2));
  put_result("copy", copy(8));
  return 0;
}
