// The virtio network device, on a NetBackend.
#ifndef VM_DEVICE_VIRTIO_NET_H_
#define VM_DEVICE_VIRTIO_NET_H_

#include <array>
#include <atomic>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <mutex>
#include <span>
#include <vector>

#include "absl/status/statusor.h"
#include "vm_device/net_backend.h"
#include "vm_device/queue_turn.h"
#include "vm_device/virtio_device.h"

namespace vm_device {

namespace internal {
class FrameQueue;
}

using MacAddress = std::array<std::uint8_t, 6>;

struct VirtioNetOptions {
  MacAddress mac = {0x52, 0x54, 0x00, 0x12, 0x34, 0x56};
  std::uint16_t mtu = 1500;          // at least 68
  std::size_t waiting_frames = 256;  // that have been received and wait for buffers
};

// Whether the cable is plugged in.
enum class NetLink : std::uint8_t { kDown, kUp };

// Frames since the device was made.
struct VirtioNetCounters {
  std::uint64_t sent = 0;
  std::uint64_t sent_bad = 0;      // too short, too long, out of DMA's reach, or to be
                                   // cut or summed by a device that does not
  std::uint64_t sent_refused = 0;  // by the back end, or the link was down
  std::uint64_t received = 0;
  std::uint64_t received_bad = 0;       // too short or too long, or the link was down
  std::uint64_t received_overflow = 0;  // waiting_frames waited already, or a reset came
  std::uint64_t received_unfit = 0;     // the driver's buffers were too small or out of reach

  friend bool operator==(const VirtioNetCounters&, const VirtioNetCounters&) = default;
};

// One pair of queues; mergeable buffers, status and MTU; no offloads and no control queue.
//
// A frame has 14 bytes or more, and as many as the MTU, an Ethernet header and a VLAN tag
// make at most. Frames of the driver's go to the back end inside notify(). No thread
// receives by itself: the embedder calls poll() when the back end has frames, from its event
// loop (NetBackend::descriptor()) or where they arrive (NetLoopback::on_arrival()).
//
// A frame waits while the driver has given no buffer. Buffers that it does not fit in come
// back empty, and it is dropped.
//
// Source:  virtio 1.2, section 5.1.
class VirtioNet final : public VirtioDevice {
 public:
  // Of a frame in mergeable buffers.
  static constexpr std::size_t kMaxMergedBuffers = 64;
  // Of one call of poll().
  static constexpr std::size_t kMaxPolledFrames = 256;

  // Errors:  kInvalidArgument  no back end, no frame may wait, an MTU below 68, or an
  //                            address that is a group's
  static absl::StatusOr<std::unique_ptr<VirtioNet>> create(std::unique_ptr<NetBackend> backend,
                                                           VirtioNetOptions options = {});
  ~VirtioNet() override;

  // --- The host's side: from any thread.

  // Takes what the back end has received and gives it to the driver. Returns how many
  // frames were taken; after kMaxPolledFrames there may be more.
  std::size_t poll();
  void set_link(NetLink link);
  VirtioNetCounters counters() const;
  NetBackend& backend() { return *backend_; }

  // --- The transport's side.

  std::uint32_t device_id() const override { return 1; }
  std::uint64_t device_features() const override;
  std::uint16_t queue_count() const override { return 2; }
  std::uint16_t max_queue_size(std::uint16_t) const override { return 256; }
  void read_config(std::uint64_t offset, std::span<std::byte> to) const override;
  void write_config(std::uint64_t, std::span<const std::byte>) override {}
  void connect(VirtioTransport& transport) override { transport_ = &transport; }
  void take_config() override { shown_link_ = link_; }
  void activate(VirtioTransport& transport) override;
  void reset() override;
  void notify(std::uint16_t index) override;
  // With the frames that wait. The counters stay the host's.
  absl::Status save(StateWriter& to) const override;
  absl::Status load(StateReader& from) override;

 private:
  enum class Fit : std::uint8_t { kFits, kTooSmall, kNoBuffer };
  using Counter = std::atomic<std::uint64_t>;

  VirtioNet(std::unique_ptr<NetBackend> backend, const VirtioNetOptions& options);
  void transmit();
  Counter& send_frame();
  void receive();
  Fit take_buffers(QueueTurn& turn, std::uint64_t bytes);
  bool write_frame(std::span<const std::byte> frame);
  void give_back_buffers(std::uint64_t bytes);
  bool is_up() const { return link_.load(std::memory_order_relaxed) == NetLink::kUp; }

  std::unique_ptr<NetBackend> backend_;
  VirtioNetOptions options_;
  std::size_t max_frame_bytes_;
  VirtioTransport* transport_ = nullptr;
  std::atomic<NetLink> link_{NetLink::kUp};
  NetLink shown_link_ = NetLink::kUp;  // to the driver

  DescriptorChain chain_;
  std::vector<std::byte> outgoing_;
  std::vector<DescriptorChain> buffers_;  // those of the frame that is given
  std::size_t buffer_count_ = 0;

  std::mutex poll_mutex_;                          // never held during DMA
  std::unique_ptr<internal::FrameQueue> waiting_;  // poll() pushes, notify() pops
  std::vector<std::byte> overflow_;                // where frames go that nobody waits for

  Counter sent_{0}, sent_bad_{0}, sent_refused_{0};
  Counter received_{0}, received_bad_{0}, received_overflow_{0}, received_unfit_{0};
};

}  // namespace vm_device

#endif  // VM_DEVICE_VIRTIO_NET_H_
