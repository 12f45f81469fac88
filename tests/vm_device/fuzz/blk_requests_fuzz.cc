// Reads bytes as what a guest does to its block device: rings, descriptors, headers, ranges,
// registers, and a host that resizes the image and whose disk fails. Nothing outside the image
// and RAM is touched, every step ends, and after a reset good requests are served.
#include <cstdint>

#include "tests/support/fuzz_target.h"
#include "tests/vm_device/fuzz/blk_world.h"

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t bytes) {
  constexpr int kMostSteps = 64;
  vm_mem::ByteSource source({data, bytes});
  vm_device::BlkWorld world;
  for (int i = 0; i < kMostSteps && !source.empty(); ++i) world.step(source);
  world.expect_good_requests();
  return 0;
}
