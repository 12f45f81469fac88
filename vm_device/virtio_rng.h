// The virtio entropy device.
#ifndef VM_DEVICE_VIRTIO_RNG_H_
#define VM_DEVICE_VIRTIO_RNG_H_

#include <array>
#include <atomic>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <span>

#include "vm_device/entropy_source.h"
#include "vm_device/queue_turn.h"
#include "vm_device/virtio_device.h"

namespace vm_device {

// A request is given what the source has, at most kMaxRequestBytes; a driver that wants
// more asks again. Requests that find the source dry wait in the queue until more_entropy().
//
// A request without room gets 0 bytes, one whose buffers DMA cannot reach those before the
// first that cannot be.
//
// Source:  virtio 1.2, section 5.4.
class VirtioRng final : public VirtioDevice {
 public:
  static constexpr std::size_t kMaxRequestBytes = 16384;

  // Null: HostEntropy.
  explicit VirtioRng(std::unique_ptr<EntropySource> source = nullptr);

  // Of the host's side, from any thread: the source may have something again. For a source
  // that runs dry, RateLimitedEntropy for one: call it from a timer.
  void more_entropy();
  // Requests wait for more_entropy().
  bool is_waiting() const { return waiting_.load(std::memory_order_relaxed); }

  std::uint32_t device_id() const override { return 4; }
  std::uint64_t device_features() const override { return 0; }
  std::uint16_t queue_count() const override { return 1; }
  std::uint16_t max_queue_size(std::uint16_t) const override { return 64; }
  // There is no configuration space.
  void read_config(std::uint64_t offset, std::span<std::byte> to) const override;
  void write_config(std::uint64_t, std::span<const std::byte>) override {}
  void connect(VirtioTransport& transport) override { transport_ = &transport; }
  void activate(VirtioTransport&) override {}
  void reset() override { waiting_ = false; }
  void notify(std::uint16_t index) override;
  absl::Status save(StateWriter& to) const override;
  absl::Status load(StateReader& from) override;

 private:
  bool fill_pool(std::uint64_t wanted);
  std::uint32_t serve();

  std::unique_ptr<EntropySource> source_;
  VirtioTransport* transport_ = nullptr;
  DescriptorChain chain_;
  std::array<std::byte, 256> pool_{};  // taken, and not given to a guest yet
  std::size_t pooled_ = 0;
  std::atomic<bool> waiting_{false};
};

}  // namespace vm_device

#endif  // VM_DEVICE_VIRTIO_RNG_H_
