// The device's side of a split virtqueue whose driver is not trusted.
//
// Every field that the guest writes is read once, through DmaSpace, and judged on the
// copy. Whatever the rings hold, each call ends after at most as many steps as the queue and
// one indirect table have descriptors, and nothing that DMA may not reach is reached.
#ifndef VM_DEVICE_VIRTQUEUE_H_
#define VM_DEVICE_VIRTQUEUE_H_

#include <cstdint>
#include <span>
#include <string_view>
#include <vector>

#include "vm_device/dma.h"

namespace vm_device {

// Why a queue has stopped. The first error stays until reset().
enum class VirtqueueError : std::uint8_t {
  kNone,
  kBadSize,          // 0, not a power of two, or above the maximum
  kRingMisaligned,   // the table not at 16, the driver area not at 2, the device area not at 4
  kRingUnreachable,  // a part of the rings wraps, or DMA cannot reach it
  kAvailableJump,    // the available index is ahead by more than the queue size
  kHeadOutOfRange,   // the available ring names a descriptor past the table
  kNextOutOfRange,   // a descriptor does
  kLoop,             // a chain of more descriptors than its table has
  kReadAfterWrite,   // a device-readable descriptor behind a device-writable one
  kAddressWrap,      // a buffer runs past 2^64
  kIndirectNotNegotiated,  // an indirect table without the feature
  kIndirectWithNext,       // an indirect table that is not the last of its chain
  kIndirectNested,         // an indirect table in an indirect table
  kIndirectBadLength,      // an indirect table of length 0, or not a multiple of 16
  kIndirectTooLong,        // an indirect table above kMaxIndirectDescriptors
  kIndirectUnreachable,    // DMA cannot reach the indirect table
  kUnanswerable,           // a request in which the device finds no place for its answer
};

// The name of the enumerator, e.g. "kLoop". For messages and tests.
std::string_view virtqueue_error_name(VirtqueueError error);

inline constexpr std::uint32_t kMaxIndirectDescriptors = 1024;

// What the driver has set up. Bus addresses.
struct VirtqueueConfig {
  std::uint16_t size = 0;
  std::uint64_t descriptor_table = 0;
  std::uint64_t driver_area = 0;  // the available ring
  std::uint64_t device_area = 0;  // the used ring
  std::uint64_t features = 0;     // those accepted: kFeatureRingIndirect, kFeatureRingEventIdx
};

// One request: buffers for the device to read, then buffers for it to write. Descriptors
// of length 0 count toward the length of the chain and give no segment. Whether the
// buffers lie in guest memory is found when DMA reaches for them.
//
// Reused from request to request, it allocates only for a longer chain than before.
class DescriptorChain {
 public:
  std::uint16_t head() const { return head_; }
  std::span<const DmaSegment> readable() const {
    return std::span<const DmaSegment>(segments_).first(readable_count_);
  }
  std::span<const DmaSegment> writable() const {
    return std::span<const DmaSegment>(segments_).subspan(readable_count_);
  }
  // Cannot overflow: fewer than 2^17 segments of less than 2^32 bytes.
  std::uint64_t readable_bytes() const { return readable_bytes_; }
  std::uint64_t writable_bytes() const { return writable_bytes_; }

 private:
  friend class Virtqueue;

  std::vector<DmaSegment> segments_;
  std::size_t readable_count_ = 0;
  std::uint64_t readable_bytes_ = 0;
  std::uint64_t writable_bytes_ = 0;
  std::uint16_t head_ = 0;
  bool has_writable_ = false;
};

enum class PopStatus : std::uint8_t {
  kChain,  // a request was taken
  kEmpty,  // there is none
  kError,  // the queue has stopped: see error()
};

// Threads:  one at a time; the guest may write the rings meanwhile.
// Source:   virtio 1.2, section 2.7.
class Virtqueue {
 public:
  // Needs:  `dma` outlives this object.
  Virtqueue(DmaSpace& dma, std::uint16_t max_size) : dma_(&dma), max_size_(max_size) {}

  std::uint16_t max_size() const { return max_size_; }

  // Starts at index 0 of both rings. On an error the queue has stopped with it.
  VirtqueueError enable(const VirtqueueConfig& config);
  bool is_enabled() const { return enabled_; }
  // Forgets everything, the error too.
  void reset();

  VirtqueueError error() const { return error_; }
  // Stops the queue; an earlier error stays.
  VirtqueueError fail(VirtqueueError error);

  // Takes the next request.
  //
  // Memory:  acquires the available index: the request and its buffers are seen as the
  //          driver wrote them before it.
  PopStatus pop(DescriptorChain& chain);

  // Gives a request back, `written` bytes of its writable buffers being filled.
  //
  // Memory:  releases: what the device wrote before is seen by a driver that sees the
  //          used index.
  VirtqueueError push(const DescriptorChain& chain, std::uint32_t written);

  // Whether the driver asked for an interrupt for what was pushed since the last call;
  // also for what was pushed before the queue stopped.
  bool wants_interrupt();

  // Asks the driver not to notify, and to notify again. The latter says whether there
  // are requests that the driver may have added without one.
  void suppress_notifications();
  bool resume_notifications();

 private:
  struct Descriptor;
  enum class Table { kDirect, kIndirect };

  VirtqueueError check(const VirtqueueConfig& config) const;
  PopStatus stop(VirtqueueError error);
  VirtqueueError take(std::uint16_t head, DescriptorChain& chain);
  template <typename Fetch>
  VirtqueueError follow(std::uint32_t start, std::uint32_t count, Table table, Fetch fetch,
                        DescriptorChain& chain);
  VirtqueueError take_indirect(const Descriptor& reference, DescriptorChain& chain);
  VirtqueueError append(const Descriptor& descriptor, DescriptorChain& chain) const;
  bool load(std::uint64_t address, std::uint16_t& value, std::memory_order order);
  bool store(std::uint64_t address, std::uint16_t value, std::memory_order order);

  DmaSpace* dma_;
  std::uint16_t max_size_;
  VirtqueueConfig config_;
  bool enabled_ = false;
  VirtqueueError error_ = VirtqueueError::kNone;
  std::uint16_t available_ = 0;       // the driver's index, as last read
  std::uint16_t next_available_ = 0;  // of the ring entry to take
  std::uint16_t next_used_ = 0;       // of the ring entry to fill
  std::uint16_t signalled_used_ = 0;  // next_used_ at the last wants_interrupt()
  std::vector<std::byte> indirect_;   // the copy of an indirect table
};

}  // namespace vm_device

#endif  // VM_DEVICE_VIRTQUEUE_H_
