// Reads bytes as changes of a map, one after the other or several at once, and accesses
// between them.
#include <cstdint>

#include "tests/support/fuzz_target.h"
#include "tests/vm_mem/fuzz/map_steps.h"

namespace {

constexpr int kMostSteps = 40;

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t bytes) {
  vm_mem::ByteSource source({data, bytes});
  vm_mem::MapWorld world;
  for (int i = 0; i < kMostSteps && !source.empty(); ++i) {
    vm_mem::take_map_step(world, source);
  }
  return 0;
}
