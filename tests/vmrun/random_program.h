// Random straight-line programs for the differential test: integer, multiply, divide,
// compressed, loads and stores of any alignment, atomics, forward branches and jumps.
// They never trap.
#ifndef TESTS_VMRUN_RANDOM_PROGRAM_H_
#define TESTS_VMRUN_RANDOM_PROGRAM_H_

#include <cstdint>
#include <random>
#include <vector>

namespace vmrun {

class RandomProgram {
 public:
  // x2, x8 and x9 hold addresses of data and are never written; accesses stay within
  // 2 KiB on either side of them.
  static constexpr unsigned kBases[] = {2, 8, 9};
  static constexpr std::uint64_t kReachBytes = 2048;
  // f0 to f15 hold singles, the others doubles.
  static constexpr unsigned kSingles = 16;

  explicit RandomProgram(std::uint64_t seed) : random_(seed) {}

  // The halfwords of `count` instructions, compressed ones among them.
  std::vector<std::uint16_t> make(unsigned count);
  // A register's value: often an edge of its range.
  std::uint64_t value();
  // The same of a single, boxed.
  std::uint64_t single() { return value() | 0xffff'ffff'0000'0000; }

 private:
  using Code = std::vector<std::uint16_t>;

  unsigned below(unsigned limit) { return static_cast<unsigned>(random_() % limit); }
  unsigned base() { return kBases[below(3)]; }
  unsigned destination();
  Code instruction();
  Code skip_over(const Code& code);
  std::uint32_t simple();
  std::uint32_t register_op();
  std::uint32_t immediate_op();
  std::uint32_t memory_op();
  std::uint32_t atomic_op();
  std::uint32_t float_op();
  std::uint32_t float_memory_op();
  std::uint16_t compressed();

  std::mt19937_64 random_;
};

}  // namespace vmrun

#endif  // TESTS_VMRUN_RANDOM_PROGRAM_H_
