// A packed virtqueue against a driver that writes what it likes.
#include <cstddef>
#include <cstdint>

#include "tests/vm_device/fuzz/ring_session.h"

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  vm_device::run_ring_session({data, size}, vm_device::RingForm::kPacked);
  return 0;
}
