// The virtio block device: read, write, flush and identify, on a BlockImage.
#ifndef VM_DEVICE_VIRTIO_BLK_H_
#define VM_DEVICE_VIRTIO_BLK_H_

#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "vm_device/block_image.h"
#include "vm_device/queue_turn.h"
#include "vm_device/virtio_device.h"

namespace vm_device {

struct VirtioBlkOptions {
  std::string serial = "vm";  // at most 20 bytes; what the driver's get-id gives
};

// Serves requests inside notify(): a request is complete, its data moved and its status
// written, before it is given back. Header, data and status may be cut into descriptors
// in any way. Data goes through a bounce buffer, never straight between file and guest.
//
// One notify() serves a bounded number of requests and bytes and leaves the rest to the
// driver's next access, so that no guest keeps the host in it.
//
// A request whose status byte cannot be written stops the queue (kUnanswerable). Every
// other bad one is answered: IOERR (also where it is longer than the 32 bits of the used
// length can say), or UNSUPP for an unknown type. The used length is
// that of the unbroken run of writable bytes from the first, which is all of them when
// the request succeeded.
//
// A driver that does not accept the flush feature gets its writes on stable storage
// before they complete.
//
// Source:  virtio 1.2, section 5.2.
class VirtioBlk final : public VirtioDevice {
 public:
  // Errors:  kInvalidArgument  no image, or a serial of more than 20 bytes
  static absl::StatusOr<std::unique_ptr<VirtioBlk>> create(std::unique_ptr<BlockImage> image,
                                                           VirtioBlkOptions options = {});

  std::uint32_t device_id() const override { return 2; }
  std::uint64_t device_features() const override;
  std::uint16_t queue_count() const override { return 1; }
  std::uint16_t max_queue_size(std::uint16_t queue) const override;
  void read_config(std::uint64_t offset, std::span<std::byte> to) const override;
  // The configuration space has no field for the driver to write.
  void write_config(std::uint64_t, std::span<const std::byte>) override {}
  void activate(VirtioTransport& transport) override { transport_ = &transport; }
  void reset() override { transport_ = nullptr; }
  void notify(std::uint16_t queue) override;

 private:
  struct Outcome;

  VirtioBlk(std::unique_ptr<BlockImage> image, std::string serial);
  void serve(QueueTurn& turn);
  Outcome execute();
  Outcome read_sectors(std::uint64_t sector);
  Outcome write_sectors(std::uint64_t sector);
  Outcome identify();
  Outcome flush();
  bool holds(std::uint64_t sector, std::uint64_t bytes) const;

  std::unique_ptr<BlockImage> image_;
  std::string serial_;
  VirtioTransport* transport_ = nullptr;
  DescriptorChain chain_;
  std::uint64_t moved_ = 0;  // bytes of data of this request
  std::vector<std::byte> bounce_;
};

}  // namespace vm_device

#endif  // VM_DEVICE_VIRTIO_BLK_H_
