// The virtio block device on a BlockImage.
#ifndef VM_DEVICE_VIRTIO_BLK_H_
#define VM_DEVICE_VIRTIO_BLK_H_

#include <cstdint>
#include <memory>
#include <string>

#include "absl/status/statusor.h"
#include "vm_device/block_image.h"
#include "vm_device/queue_turn.h"
#include "vm_device/virtio_device.h"

namespace vm_device {

namespace internal {
class BlkExecutor;
class BlkFlights;
class BlkRequest;
struct BlkFlight;
struct BlkOutcome;
}  // namespace internal

// When requests are served.
enum class BlkService : std::uint8_t {
  kInNotify,  // all of it by the thread that notifies
  // Reads, writes and flushes of an image in a file beside the guest, many at a time, by
  // AsyncDma: straight between the file and guest memory. They complete in any order.
  kBeside,
};

struct VirtioBlkOptions {
  std::string serial = "vm";     // at most 20 bytes; what the driver's get-id gives
  std::uint16_t num_queues = 1;  // 1 to kMaxBlkQueues
  // The most descriptors of a queue: a power of two from 4 to kMaxBlkQueueSize.
  std::uint16_t queue_size = 256;
  // What the driver is told of the disk's blocks, in bytes: powers of two from 512 to 65536,
  // the physical one not the smaller. Requests may be of any sectors all the same.
  std::uint32_t block_bytes = 512;
  std::uint32_t physical_block_bytes = 4096;
  BlkService service = BlkService::kInNotify;
};

inline constexpr std::uint16_t kMaxBlkQueues = 64;
inline constexpr std::uint16_t kMaxBlkQueueSize = 1024;

// Reads, writes, flushes, identifies; on a writable image zeroes and, where the image can,
// discards. Serves requests inside notify(), or beside it (BlkService): a request is
// complete, its data moved and its status written, before it is given back. Header, data and status
// may be cut into descriptors in any way. Long runs of data go straight between image and guest
// memory where the image takes that, others through a bounce buffer.
//
// One notify() serves a bounded number of requests and bytes (QueueTurn) and leaves the rest
// to the driver's next access.
//
// A request whose status byte cannot be written stops the queue (kUnanswerable). Every
// other bad one is answered: UNSUPP for an unknown type, a discard or write-zeroes whose
// feature the driver has not accepted, or an unknown flag in any range; IOERR for the rest,
// also where it is longer than the 32 bits of the used length can say. A flush is served
// whatever was accepted. Of several ranges in one request none is touched if one is
// bad. The used length is that of the unbroken run of writable bytes from the first, which
// is all of them when the request succeeded.
//
// A driver that does not accept the flush feature, or turns the write-back cache off, gets
// its writes on stable storage before they complete. Turning it off flushes; if that fails
// the cache stays on, and the configuration says so.
//
// An image that announces another size changes the capacity, and the driver is interrupted.
// Requests are held to the size that the image has when they are served. What an image has
// beyond its last whole block is no part of the disk.
//
// Cost:    a run of data of 32 KiB or more takes the few allocations of DmaSpace::map(); one
//          that guest memory does not have in one piece also those of a copy, of up to 1 MiB.
//          Shorter ones take none.
// Source:  virtio 1.2, section 5.2.
class VirtioBlk final : public VirtioDevice {
 public:
  // Errors:  kInvalidArgument  no image, a serial of more than 20 bytes, a number of queues
  //                            or a size of them or of blocks that is out of range, or an image
  //                            that is not a multiple of the block size
  //          kBeside: also those of AsyncDma::create()
  static absl::StatusOr<std::unique_ptr<VirtioBlk>> create(std::unique_ptr<BlockImage> image,
                                                           VirtioBlkOptions options = {});
  ~VirtioBlk() override;

  std::uint32_t device_id() const override { return 2; }
  std::uint64_t device_features() const override;
  std::uint16_t queue_count() const override { return options_.num_queues; }
  std::uint16_t max_queue_size(std::uint16_t queue) const override;
  void read_config(std::uint64_t offset, std::span<std::byte> to) const override;
  // The driver may write one field: whether there is a write-back cache.
  void write_config(std::uint64_t offset, std::span<const std::byte> from) override;
  void take_config() override;
  void connect(VirtioTransport& transport) override;
  void activate(VirtioTransport& transport) override;
  // Both wait for what is under way.
  void reset() override;
  void reset_queue(std::uint16_t queue) override;
  void notify(std::uint16_t queue) override;
  // Waits for what is under way.
  void drain() override;
  absl::Status save(StateWriter& to) const override;
  absl::Status load(StateReader& from) override;

 private:
  VirtioBlk(std::unique_ptr<BlockImage> image, VirtioBlkOptions options);
  template <typename Archive, typename Device>
  static void fields(Archive& archive, Device& device);
  bool parse(QueueTurn& turn, const DescriptorChain& chain);
  void execute(QueueTurn& turn, const DescriptorChain& chain);
  void answer(QueueTurn& turn, const DescriptorChain& chain, const internal::BlkOutcome& outcome);
  bool launch(QueueTurn& turn, internal::BlkFlight& flight);
  bool start(internal::BlkFlight& flight);
  bool start_sync(internal::BlkFlight& flight);
  void land_all(QueueTurn& turn, std::uint16_t queue);
  bool land(QueueTurn& turn, internal::BlkFlight& flight);
  std::uint64_t accepted_features() const;
  std::uint64_t disk_bytes() const;
  bool is_write_back() const;

  std::unique_ptr<BlockImage> image_;
  VirtioBlkOptions options_;
  VirtioTransport* transport_ = nullptr;
  std::uint64_t capacity_;  // in sectors, as the driver sees it
  bool write_back_ = true;
  DescriptorChain chain_;
  std::unique_ptr<internal::BlkRequest> request_;
  std::unique_ptr<internal::BlkExecutor> executor_;
  std::unique_ptr<internal::BlkFlights> flights_;  // or null; the first to go
};

}  // namespace vm_device

#endif  // VM_DEVICE_VIRTIO_BLK_H_
