// Requests that are given back in the order in which they were taken (VIRTIO_F_IN_ORDER).
#ifndef VM_DEVICE_INTERNAL_RING_ORDER_H_
#define VM_DEVICE_INTERNAL_RING_ORDER_H_

#include <cstdint>
#include <memory>

namespace vm_device::internal {

// What the driver is told of one request.
struct Completion {
  std::uint32_t written = 0;
  std::uint32_t name = 0;        // of the chain
  std::uint32_t ring_bytes = 0;  // of its descriptors (packed)
  // Nothing of its writable buffers is left, so that a driver needs no entry to know it.
  bool whole = false;
  std::uint16_t note = 0;  // of the chain
};

// Requests of which the driver is told by one entry, where the first of them would have had
// its own; the entry names the last.
struct UsedRun {
  bool open = false;
  std::uint16_t at = 0;  // a position of the form
  Completion last;
};

class RingOrder {
 public:
  // Forgets everything. At most `size` requests are out at a time. False: the host has no
  // memory.
  [[nodiscard]] bool reset(std::uint16_t size);

  // The turn of the next request.
  std::uint16_t take();
  // Keeps what came back. A turn that is not out is left out.
  void put(std::uint16_t turn, const Completion& completion);
  // The next one in order, if it has come back.
  bool next(Completion& completion);

 private:
  struct Place {
    Completion completion;
    bool taken = false;
    bool back = false;
  };
  std::uint16_t after(std::uint16_t turn) const;

  std::unique_ptr<Place[]> places_;
  std::uint16_t size_ = 0;
  std::uint16_t next_taken_ = 0;
  std::uint16_t next_back_ = 0;
};

}  // namespace vm_device::internal

#endif  // VM_DEVICE_INTERNAL_RING_ORDER_H_
