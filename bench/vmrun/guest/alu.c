// Arithmetic in registers: hashes, gcd by remainders, Collatz sequences, bit counts.

#include "bench/vmrun/guest/console.h"

static uint64_t mix(uint64_t x) {
  x ^= x >> 30;
  x *= 0xbf58476d1ce4e5b9u;
  x ^= x >> 27;
  x *= 0x94d049bb133111ebu;
  return x ^ (x >> 31);
}

static uint64_t hashes(uint64_t rounds) {
  uint64_t state = 1;
  for (uint64_t i = 0; i < rounds; ++i) state = mix(state + i) ^ (state << 5);
  return state;
}

static uint64_t gcd(uint64_t a, uint64_t b) {
  while (b != 0) {
    const uint64_t rest = a % b;
    a = b;
    b = rest;
  }
  return a;
}

static uint64_t divisors(uint64_t rounds) {
  uint64_t sum = 0;
  for (uint64_t i = 1; i <= rounds; ++i) sum += gcd(mix(i) >> 20, i * 360360);
  return sum;
}

static uint64_t collatz(uint64_t rounds) {
  uint64_t longest = 0;
  for (uint64_t i = 1; i <= rounds; ++i) {
    uint64_t steps = 0;
    for (uint64_t n = i; n != 1; ++steps) n = (n & 1) != 0 ? 3 * n + 1 : n >> 1;
    longest = steps > longest ? steps : longest;
  }
  return longest;
}

static uint64_t bits(uint64_t rounds) {
  uint64_t sum = 0;
  for (uint64_t i = 0; i < rounds; ++i) {
    for (uint64_t left = mix(i); left != 0; left &= left - 1) ++sum;
  }
  return sum;
}

int main(void) {
  put_result("hashes", hashes(10000000));
  put_result("divisors", divisors(150000));
  put_result("collatz", collatz(400000));
  put_result("bits", bits(1000000));
  return 0;
}
