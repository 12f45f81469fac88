// Programs of any kind on a hart that translates and on one that interprets.
#include <cstddef>
#include <cstdint>
#include <stdexcept>
#include <string>

#include "tests/support/fuzz_target.h"
#include "tests/vmrun/twin_harts.h"

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  const std::string difference = vmrun::TwinHarts({data, size}).run();
  if (!difference.empty()) throw std::logic_error("they differ: " + difference);
  return 0;
}
