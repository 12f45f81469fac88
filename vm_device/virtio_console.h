// The virtio console: one port, between the driver and somebody of the host's.
#ifndef VM_DEVICE_VIRTIO_CONSOLE_H_
#define VM_DEVICE_VIRTIO_CONSOLE_H_

#include <atomic>
#include <cstddef>
#include <cstdint>
#include <mutex>
#include <span>
#include <vector>

#include "vm_device/queue_turn.h"
#include "vm_device/virtio_device.h"

namespace vm_device {

// Whom a console talks to.
class ConsolePeer {
 public:
  virtual ~ConsolePeer() = default;

  // What the driver says. Takes all of it and does not wait.
  //
  // Needs:  called on the thread of the driver's access, with the transport's lock held: of
  //         the console it calls send() at most.
  virtual void console_output(std::span<const std::byte> bytes) = 0;
  // The driver has taken bytes after send() had to leave some. Called as console_output(),
  // or on a thread that is in send().
  virtual void console_has_room() {}
};

struct ConsoleSize {
  std::uint16_t columns = 80;
  std::uint16_t rows = 25;
};

struct VirtioConsoleOptions {
  ConsoleSize size = {};
  std::size_t input_bytes = 64 * 1024;  // of send(), that wait for the driver
};

// Port 0 with its two queues, the size, and emergency writes.
//
// What the driver writes goes to the peer inside notify(), in pieces. Of one request the
// first kMaxRequestBytes are taken, and those before the first that DMA cannot reach; the
// rest is counted by lost_output(). Input that no buffer waits for is kept, over resets too.
//
// Source:  virtio 1.2, section 5.3.
class VirtioConsole final : public VirtioDevice {
 public:
  static constexpr std::uint64_t kMaxRequestBytes = 1 << 20;

  // Needs:  `peer` outlives this object; input_bytes above 0.
  explicit VirtioConsole(ConsolePeer& peer, VirtioConsoleOptions options = {});

  // --- The host's side: from any thread.

  // Gives bytes to the driver, as many as there is room for: the first so many of `bytes`.
  std::size_t send(std::span<const std::byte> bytes);
  // Those that the driver has not taken.
  std::size_t unread() const;
  void resize(ConsoleSize size);
  // Bytes of the driver's that the peer was not given.
  std::uint64_t lost_output() const { return lost_output_.load(std::memory_order_relaxed); }

  // --- The transport's side.

  std::uint32_t device_id() const override { return 3; }
  std::uint64_t device_features() const override;
  std::uint16_t queue_count() const override { return 2; }
  std::uint16_t max_queue_size(std::uint16_t) const override { return 64; }
  void read_config(std::uint64_t offset, std::span<std::byte> to) const override;
  void write_config(std::uint64_t offset, std::span<const std::byte> from) override;
  void connect(VirtioTransport& transport) override { transport_ = &transport; }
  void take_config() override { shown_size_ = size_; }
  void activate(VirtioTransport& transport) override;
  void reset() override {}
  void notify(std::uint16_t index) override;
  // With the input that waits.
  absl::Status save(StateWriter& to) const override;
  absl::Status load(StateReader& from) override;

 private:
  void transmit();
  std::uint64_t give_to_peer();
  void receive();
  std::size_t peek_input(std::span<std::byte> to) const;
  void drop_input(std::size_t bytes);

  ConsolePeer* peer_;
  VirtioTransport* transport_ = nullptr;
  DescriptorChain chain_;
  std::vector<std::byte> bounce_;
  std::atomic<std::uint32_t> size_;  // rows in the upper half
  std::uint32_t shown_size_;         // to the driver
  std::atomic<std::uint64_t> lost_output_{0};

  mutable std::mutex mutex_;      // of what follows; never held during DMA, nor in the peer
  std::vector<std::byte> input_;  // a ring
  std::size_t first_ = 0;
  std::size_t unread_ = 0;
  bool refused_ = false;  // send() had to leave some
};

}  // namespace vm_device

#endif  // VM_DEVICE_VIRTIO_CONSOLE_H_
