// The driver's side of a virtqueue whose device is another process: what a guest's driver does,
// with one descriptor for each request, which names a table of them. Request `slot` is told
// apart by its number; it is out at most once.
#ifndef BENCH_VM_DEVICE_VHOST_DISK_RINGS_H_
#define BENCH_VM_DEVICE_VHOST_DISK_RINGS_H_

#include <cstddef>
#include <cstdint>
#include <optional>

namespace vm_bench {

// As many as qemu-storage-daemon expects.
inline constexpr std::uint16_t kRingSize = 128;

// Where a ring is in the guest's memory. Each part has a page of its own.
struct RingPlace {
  static constexpr std::uint64_t kDescriptors = 0x1000;
  static constexpr std::uint64_t kDriver = 0x2000;
  static constexpr std::uint64_t kDevice = 0x3000;
};

// A request that has come back.
struct Used {
  std::uint32_t slot;
  std::uint32_t bytes;
};

// Both rings:
//   offer()         makes the request available whose table is there; seen after publish()
//   publish()       whether the device has to be kicked for what was offered since the last time
//   take_used()     the next one that has come back
//   ask_for_call()  wants an interrupt for the next one; false: that is there already
class DiskSplitRing {
 public:
  // Needs:  `memory`, where guest address 0 is, is zeros, and outlives this object.
  DiskSplitRing(std::byte* memory, bool has_events);

  static constexpr std::uint64_t kFeatures = 0;
  static constexpr std::uint32_t kFirstBase = 0;
  void offer(std::uint32_t slot, std::uint64_t table, std::uint32_t table_bytes);
  bool publish();
  std::optional<Used> take_used();
  bool ask_for_call();

 private:
  std::byte* descriptors_;
  std::byte* driver_;
  std::byte* device_;
  bool has_events_;
  std::uint16_t available_ = 0;
  std::uint16_t published_ = 0;
  std::uint16_t used_ = 0;
};

class DiskPackedRing {
 public:
  DiskPackedRing(std::byte* memory, bool has_events);

  static constexpr std::uint64_t kFeatures = std::uint64_t{1} << 34;
  static constexpr std::uint32_t kFirstBase = 0x8000'8000;
  void offer(std::uint32_t slot, std::uint64_t table, std::uint32_t table_bytes);
  bool publish();
  std::optional<Used> take_used();
  bool ask_for_call();

 private:
  // A descriptor, and the turn of the ring in which it is.
  struct Position {
    std::uint16_t index = 0;
    bool wrap = true;
    void advance() {
      if (++index != kRingSize) return;
      index = 0;
      wrap = !wrap;
    }
    std::uint16_t word() const { return static_cast<std::uint16_t>(index | (wrap ? 0x8000 : 0)); }
  };
  bool is_used(Position at) const;
  std::byte* descriptor(Position at) const { return descriptors_ + at.index * std::size_t{16}; }

  std::byte* descriptors_;
  std::byte* driver_;
  std::byte* device_;
  bool has_events_;
  Position available_;
  Position used_;
  // The first that was offered since publish(): made available last.
  Position first_;
  std::uint16_t first_flags_ = 0;
  std::uint16_t offered_ = 0;
};

}  // namespace vm_bench

#endif  // BENCH_VM_DEVICE_VHOST_DISK_RINGS_H_
