// The driver's side of a split virtqueue, for tests: it writes what it is told, right
// or wrong.
#ifndef TESTS_VM_DEVICE_DRIVER_RING_H_
#define TESTS_VM_DEVICE_DRIVER_RING_H_

#include <cstdint>
#include <initializer_list>

#include "tests/vm_device/guest.h"
#include "vm_device/virtqueue.h"

namespace vm_device {

inline constexpr std::uint16_t kNext = 1;
inline constexpr std::uint16_t kWrite = 2;
inline constexpr std::uint16_t kIndirect = 4;

struct RawDescriptor {
  std::uint64_t address = 0;
  std::uint32_t bytes = 0;
  std::uint16_t flags = 0;
  std::uint16_t next = 0;
};

struct UsedEntry {
  std::uint32_t id = 0;
  std::uint32_t written = 0;
  friend bool operator==(const UsedEntry&, const UsedEntry&) = default;
};

class DriverRing {
 public:
  DriverRing(Guest& guest, std::uint64_t base, std::uint16_t size)
      : guest_(guest), base_(base), size_(size) {
    clear();
  }

  VirtqueueConfig config(std::uint64_t features = 0) const {
    return {size_, base_, available(), used(), features};
  }
  std::uint64_t table() const { return base_; }
  std::uint64_t available() const { return base_ + 0x4000; }
  std::uint64_t used() const { return base_ + 0x6000; }
  std::uint16_t size() const { return size_; }

  void clear() {
    guest_.put_bytes(base_, std::vector<std::byte>(0x8000));
    index_ = 0;
  }

  void describe_at(std::uint64_t address, const RawDescriptor& it) {
    guest_.put(address, it.address);
    guest_.put(address + 8, it.bytes);
    guest_.put(address + 12, it.flags);
    guest_.put(address + 14, it.next);
  }
  void describe(std::uint16_t index, const RawDescriptor& it) {
    describe_at(base_ + 16 * std::uint64_t{index}, it);
  }
  // Descriptors 0, 1, ... linked in order; the chain is offered.
  void offer_chain(std::initializer_list<RawDescriptor> chain) {
    write_chain(base_, chain);
    offer(0);
  }
  void write_chain(std::uint64_t table, std::initializer_list<RawDescriptor> chain) {
    std::uint16_t index = 0;
    for (RawDescriptor it : chain) {
      if (index + 1u < chain.size()) {
        it.flags |= kNext;
        it.next = static_cast<std::uint16_t>(index + 1);
      }
      describe_at(table + 16 * std::uint64_t{index}, it);
      ++index;
    }
  }

  void offer(std::uint16_t head) {
    guest_.put(available() + 4 + 2 * static_cast<std::uint64_t>(index_ % size_), head);
    set_available_index(static_cast<std::uint16_t>(index_ + 1));
  }
  void set_available_index(std::uint16_t index) {
    index_ = index;
    guest_.put(available() + 2, index);
  }
  void set_available_flags(std::uint16_t flags) { guest_.put(available(), flags); }
  void set_used_event(std::uint16_t index) {
    guest_.put(available() + 4 + 2 * std::uint64_t{size_}, index);
  }

  std::uint16_t used_flags() const { return guest_.get<std::uint16_t>(used()); }
  std::uint16_t used_index() const { return guest_.get<std::uint16_t>(used() + 2); }
  std::uint16_t available_event() const {
    return guest_.get<std::uint16_t>(used() + 4 + 8 * std::uint64_t{size_});
  }
  UsedEntry used_entry(std::uint16_t slot) const {
    const std::uint64_t at = used() + 4 + 8 * std::uint64_t{slot};
    return {guest_.get<std::uint32_t>(at), guest_.get<std::uint32_t>(at + 4)};
  }

 private:
  Guest& guest_;
  std::uint64_t base_;
  std::uint16_t size_;
  std::uint16_t index_ = 0;
};

}  // namespace vm_device

#endif  // TESTS_VM_DEVICE_DRIVER_RING_H_
