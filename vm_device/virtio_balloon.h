// The virtio memory balloon: the driver gives pages back to the host, because it was asked
// to or because it has no use for them.
#ifndef VM_DEVICE_VIRTIO_BALLOON_H_
#define VM_DEVICE_VIRTIO_BALLOON_H_

#include <array>
#include <atomic>
#include <cstddef>
#include <cstdint>
#include <mutex>
#include <optional>
#include <span>

#include "vm_device/queue_turn.h"
#include "vm_device/virtio_device.h"
#include "vm_mem/memory_manager.h"

namespace vm_device {

// Whether the driver may use a page of the balloon before it has told.
enum class BalloonDeflate : std::uint8_t { kAtAnyTime, kTellFirst };

struct VirtioBalloonOptions {
  BalloonDeflate deflate = BalloonDeflate::kAtAnyTime;
};

// What the driver says about its memory; a field that it did not give is empty.
//
// Source:  virtio 1.2, section 5.5.6.4.
struct BalloonStatistics {
  std::optional<std::uint64_t> swap_in_bytes{};
  std::optional<std::uint64_t> swap_out_bytes{};
  std::optional<std::uint64_t> major_faults{};
  std::optional<std::uint64_t> minor_faults{};
  std::optional<std::uint64_t> free_bytes{};
  std::optional<std::uint64_t> total_bytes{};
  std::optional<std::uint64_t> available_bytes{};
  std::optional<std::uint64_t> disk_cache_bytes{};
  std::optional<std::uint64_t> huge_page_allocations{};
  std::optional<std::uint64_t> huge_page_failures{};

  friend bool operator==(const BalloonStatistics&, const BalloonStatistics&) = default;
};

// Pages that are inflated or reported free are discarded: they read as zero from then on,
// and are marked dirty. Pages of a list that follow each other are discarded together.
// Where MemoryManager::discard() refuses (ROM, a hole, leased memory,
// pages smaller than the host's) the memory stays as it is and refused_bytes() counts it;
// the driver is told nothing, and loses nothing. A deflated page needs no work: the host
// brings it back at its first use.
//
// Page numbers are the guest's, whatever stands before the device: the balloon is about the
// machine's memory and not about what a device may reach. Reported pages are the buffers of
// their request, which behind an IOMMU (kFeatureAccessPlatform accepted) are addresses that
// mean something else: such reports are given back unserved.
//
// Units:   pages of 4096 bytes.
// Source:  virtio 1.2, section 5.5.
class VirtioBalloon final : public VirtioDevice {
 public:
  static constexpr std::uint64_t kPageBytes = 4096;
  // Of one inflate request; a driver sends 256. What is beyond counts as refused.
  static constexpr std::uint64_t kMaxPagesPerRequest = 16384;

  // Needs:  `memory` outlives this object.
  explicit VirtioBalloon(vm_mem::MemoryManager& memory, VirtioBalloonOptions options = {});

  // --- The host's side: from any thread.

  // How many pages the driver shall have given in all.
  void set_target(std::uint32_t pages);
  std::uint32_t target() const { return target_.load(std::memory_order_relaxed); }
  // How many it says it has.
  std::uint32_t actual() const { return actual_.load(std::memory_order_relaxed); }

  // Asks the driver for statistics; what it answers replaces those of before. Nothing
  // comes of it where the driver does not keep them.
  void request_statistics();
  BalloonStatistics statistics() const;
  // Answers of the driver's so far.
  std::uint64_t statistics_received() const;

  std::uint64_t discarded_bytes() const { return discarded_.load(std::memory_order_relaxed); }
  std::uint64_t refused_bytes() const { return refused_.load(std::memory_order_relaxed); }

  // --- The transport's side.

  std::uint32_t device_id() const override { return 5; }
  std::uint64_t device_features() const override;
  std::uint16_t queue_count() const override { return 5; }
  std::uint16_t max_queue_size(std::uint16_t) const override { return 128; }
  void read_config(std::uint64_t offset, std::span<std::byte> to) const override;
  void write_config(std::uint64_t offset, std::span<const std::byte> from) override;
  void connect(VirtioTransport& transport) override { transport_ = &transport; }
  void take_config() override { shown_target_ = target(); }
  void activate(VirtioTransport&) override {}
  void reset() override;
  void reset_queue(std::uint16_t index) override;
  // The driver's buffer for statistics is kept until they are asked for.
  bool completes_alone(std::uint16_t queue) const override;
  void notify(std::uint16_t index) override;
  // The buffer for statistics goes back to the driver, which brings it again.
  void drain() override;
  // The target stays the host's.
  absl::Status save(StateWriter& to) const override;
  absl::Status load(StateReader& from) override;

 private:
  enum class Role : std::uint8_t { kInflate, kDeflate, kStatistics, kReporting, kNone };

  Role role_of(std::uint16_t index) const;
  void inflate(QueueTurn& turn);
  void report(QueueTurn& turn);
  void take_statistics(std::uint16_t index);
  void read_statistics();
  void discard(std::uint64_t address, std::uint64_t bytes);

  vm_mem::MemoryManager* memory_;
  VirtioBalloonOptions options_;
  VirtioTransport* transport_ = nullptr;
  DescriptorChain chain_;

  std::atomic<std::uint32_t> target_{0};
  std::uint32_t shown_target_ = 0;  // to the driver
  std::atomic<std::uint32_t> actual_{0};
  std::atomic<std::uint64_t> discarded_{0};
  std::atomic<std::uint64_t> refused_{0};

  DescriptorChain statistics_chain_;  // kept, to be given back when statistics are wanted
  bool has_statistics_chain_ = false;
  std::atomic<bool> statistics_wanted_{false};
  mutable std::mutex mutex_;  // of what follows
  BalloonStatistics statistics_;
  std::uint64_t statistics_received_ = 0;
};

}  // namespace vm_device

#endif  // VM_DEVICE_VIRTIO_BALLOON_H_
