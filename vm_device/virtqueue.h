// The device's side of a virtqueue whose driver is not trusted, split or packed.
//
// What a call makes of a field that the guest writes comes from one read of it, judged
// as a copy. (In plain RAM a request that is not ordinary is read from its beginning again,
// and what was read before is forgotten.) Whatever the rings hold, each call ends after at most
// a few times as many steps as the queue and one indirect table have descriptors, and
// nothing that DMA may not reach is reached.
//
// A device pops requests and pushes each back once, in any order, now or later:
//
//   while (queue.pop(chain) == PopStatus::kChain) queue.push(chain, serve(chain));
//   if (queue.wants_interrupt()) ...
#ifndef VM_DEVICE_VIRTQUEUE_H_
#define VM_DEVICE_VIRTQUEUE_H_

#include <cstdint>
#include <memory>
#include <optional>
#include <span>

#include "vm_device/descriptor_chain.h"
#include "vm_device/dma.h"
#include "vm_device/virtqueue_error.h"

namespace vm_device {

namespace internal {
class BusTranslations;
class PackedJournal;
class RequestJournal;
}  // namespace internal

inline constexpr std::uint32_t kMaxIndirectDescriptors = 1024;

// Where a device stands in its rings: split, the 16-bit indices of the next available and
// used entry; packed, the positions of the next available and used descriptor, each with
// its wrap counter as bit 15. The form in which vhost-user has them.
struct VirtqueueState {
  std::uint16_t next_available = 0;
  std::uint16_t next_used = 0;
  friend bool operator==(const VirtqueueState&, const VirtqueueState&) = default;
};

// What the driver has set up. Bus addresses.
struct VirtqueueConfig {
  std::uint16_t size = 0;
  std::uint64_t descriptor_table = 0;  // packed: the ring
  std::uint64_t driver_area = 0;       // the available ring; packed: driver event suppression
  std::uint64_t device_area = 0;       // the used ring; packed: device event suppression
  // Those accepted. Of them count kFeatureRingIndirect, kFeatureRingEventIdx,
  // kFeatureRingPacked and kFeatureInOrder.
  std::uint64_t features = 0;
  // Where to begin; without one, at the beginning. Of an idle queue: there are no chains with
  // which requests that another device has taken could be pushed.
  std::optional<VirtqueueState> start{};
  // Of vhost-user, split rings: where it is noted what was taken, and the heads of requests
  // that were taken from this ring before and are to be taken again first. They are `start`'s
  // next_available ahead of its next_used.
  internal::RequestJournal* journal = nullptr;
  std::span<const std::uint16_t> taken_before{};
  // The same of packed rings: it is open, and `start` where it says. What is to be taken again is
  // in it.
  internal::PackedJournal* packed_journal = nullptr;
  // Of vhost-user, too: who says whether the addresses of a request have their translations. One
  // that waits for them is not taken yet: pop() finds nothing. Those of the rings have them.
  internal::BusTranslations* translations = nullptr;
};

enum class PopStatus : std::uint8_t {
  kChain,  // a request was taken
  kEmpty,  // there is none
  kError,  // the queue has stopped: see error()
};

// Threads:  one at a time; the guest may write the rings meanwhile.
// Cost:     on a DmaSpace that is on a MemoryReader and behind no IOMMU, with rings in
//           RAM that cannot fault: one test whether the map is still the same, then loads and
//           stores of host memory. Nothing is pinned between calls. Elsewhere the DMA
//           of each field.
// Source:   virtio 1.2, sections 2.7 and 2.8.
class Virtqueue {
 public:
  // Needs:  `dma` outlives this object.
  Virtqueue(DmaSpace& dma, std::uint16_t max_size);
  Virtqueue(Virtqueue&&) noexcept;
  Virtqueue& operator=(Virtqueue&&) noexcept;
  ~Virtqueue();

  std::uint16_t max_size() const { return max_size_; }

  // Starts. On an error the queue has stopped with it. A queue that was enabled is reset
  // first.
  VirtqueueError enable(const VirtqueueConfig& config);
  bool is_enabled() const;
  // Forgets everything, the error too: requests that were taken and not given back are no
  // longer of this queue, and pushing them does nothing. enable() starts it again.
  void reset();

  VirtqueueError error() const;
  // Stops the queue; an earlier error stays.
  VirtqueueError fail(VirtqueueError error);

  // Where it stands; once the queue is idle, for enable() elsewhere or later. Its next_used
  // counts what was staged and is not published.
  VirtqueueState state() const;
  // Whether every request that was taken was pushed, here or before; one to be taken again whose
  // addresses have no translation yet is left.
  bool is_idle() const;
  // No further request is there to be taken, but those that are to be taken again, until the
  // queue is enabled again; those that were taken are pushed as ever.
  void pause();

  // Takes the next request. An error leaves `chain` empty; where there is no request it is as
  // it was, or empty.
  //
  // Memory:  acquires what makes it available: the request and its buffers are seen as the
  //          driver wrote them before it.
  PopStatus pop(DescriptorChain& chain);

  // Gives a request back, `written` bytes of its writable buffers, the first of them, being
  // filled: stage() and publish(). Of requests that the driver wants in order
  // (kFeatureInOrder), one that comes early is kept until those before it have come.
  //
  // Memory:  releases: what the device wrote before is seen by a driver that sees the
  //          request used.
  // Errors:  that of the queue; nothing is pushed then. A chain that was taken before a
  //          reset, or from another queue, is left out, which is none; so is one that is
  //          pushed again while no request is out.
  VirtqueueError push(const DescriptorChain& chain, std::uint32_t written);

  // For several requests at a time: the driver sees those that are staged once they are
  // published, by one store. In order, requests whose writable buffers are filled whole
  // share the entry of the next one that the driver is told of (virtio 1.2, section 2.7.9).
  // What was staged before the queue stopped can still be published.
  VirtqueueError stage(const DescriptorChain& chain, std::uint32_t written);
  VirtqueueError publish();

  // Whether the driver asked for an interrupt for what was published since the last call;
  // also for what was published before the queue stopped.
  bool wants_interrupt();

  // Asks the driver not to notify, and to notify again. The latter says whether there
  // are requests that the driver may have added without one.
  void suppress_notifications();
  bool resume_notifications();

 private:
  struct Rings;

  std::unique_ptr<Rings> rings_;
  std::uint16_t max_size_;
};

}  // namespace vm_device

#endif  // VM_DEVICE_VIRTQUEUE_H_
