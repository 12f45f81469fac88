// Reads bytes as steps of a World: regions of every kind come and go, and between them
// accesses of every kind, each compared byte by byte with the model.
#include <cstdint>
#include <span>

#include "tests/vm_mem/fuzz/byte_source.h"
#include "tests/support/fuzz_target.h"
#include "tests/vm_mem/model_steps.h"

namespace vm_mem {
namespace {

constexpr int kMostSteps = 48;

Place place_of(ByteSource& bytes) {
  Place place;
  place.page = bytes.below(kPages + kTopPages);
  // Near the page's edge, or anywhere in it.
  const auto delta = static_cast<std::int64_t>(bytes.take(2));
  place.delta = delta % 2 == 0 ? delta / 2 % 49 - 24 : delta / 2 % 4096;
  return place;
}

std::uint64_t length_of(ByteSource& bytes) {
  const std::uint64_t length = bytes.take(2);
  return length % 2 == 0 ? length / 2 % 300 : length / 2 % 13000;
}

Step step_of(ByteSource& bytes) {
  Step step;
  step.what = static_cast<unsigned>(bytes.below(kAllSteps));
  step.a = place_of(bytes);
  step.b = place_of(bytes);
  step.bytes = length_of(bytes);
  step.value = bytes.take(2) * 0x0001'0003'0007'000f;
  return step;
}

}  // namespace
}  // namespace vm_mem

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t bytes) {
  vm_mem::ByteSource source({data, bytes});
  vm_mem::World world;
  for (int i = 0; i < vm_mem::kMostSteps && !source.empty(); ++i) {
    vm_mem::take_step(world, vm_mem::step_of(source));
  }
  return 0;
}
