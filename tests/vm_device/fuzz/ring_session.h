// A virtqueue whose driver is the fuzzer's input: it writes ring memory and has the device pop,
// push, stage, publish, reset. For either form of ring.
#ifndef TESTS_VM_DEVICE_FUZZ_RING_SESSION_H_
#define TESTS_VM_DEVICE_FUZZ_RING_SESSION_H_

#include <cstddef>
#include <cstdint>
#include <span>

namespace vm_device {

enum class RingForm { kSplit, kPacked };

// Ends the process where a promise of Virtqueue is broken.
void run_ring_session(std::span<const std::uint8_t> input, RingForm form);

}  // namespace vm_device

#endif  // TESTS_VM_DEVICE_FUZZ_RING_SESSION_H_
