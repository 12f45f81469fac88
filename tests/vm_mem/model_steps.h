// Steps that a World can take, as plain numbers: what a property test draws and what a
// fuzzer's bytes are read as.
#ifndef VM_TESTS_VM_MEM_MODEL_STEPS_H_
#define VM_TESTS_VM_MEM_MODEL_STEPS_H_

#include <cstdint>
#include <ostream>

#include "tests/vm_mem/model_world.h"

namespace vm_mem {

inline constexpr std::uint64_t kPage = 4096;
inline constexpr std::uint64_t kPages = 24;    // in the middle of the address space
inline constexpr std::uint64_t kTopPages = 4;  // at its end; the last one cannot be mapped

// Of one of kPages + kTopPages.
std::uint64_t page_address(std::uint64_t page);

// An address as a page and the distance from its beginning.
struct Place {
  std::uint64_t page = 0;
  std::int64_t delta = 0;

  std::uint64_t address() const { return page_address(page) + static_cast<std::uint64_t>(delta); }
};

struct Step {
  unsigned what = 0;  // below kAllSteps
  Place a;
  Place b;
  std::uint64_t bytes = 0;
  std::uint64_t value = 0;

  friend std::ostream& operator<<(std::ostream& out, const Step& step);
};

// Steps below this one add regions.
inline constexpr unsigned kMapSteps = 8;
inline constexpr unsigned kAllSteps = 26;

void take_step(World& world, const Step& step);

}  // namespace vm_mem

#endif  // VM_TESTS_VM_MEM_MODEL_STEPS_H_
