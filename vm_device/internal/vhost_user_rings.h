// The rings of one vhost-user connection: what the front end has said of each, and when that is
// enough for it to run.
#ifndef VM_DEVICE_INTERNAL_VHOST_USER_RINGS_H_
#define VM_DEVICE_INTERNAL_VHOST_USER_RINGS_H_

#include <array>
#include <cstddef>
#include <cstdint>
#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "vm_device/internal/foreign_bytes.h"
#include "vm_device/internal/owned_fd.h"
#include "vm_device/internal/packed_journal.h"
#include "vm_device/internal/request_journal.h"
#include "vm_device/internal/ring_translations.h"
#include "vm_device/internal/vhost_user_iotlb.h"
#include "vm_device/internal/vhost_user_memory.h"
#include "vm_device/internal/vhost_user_transport.h"
#include "vm_device/virtio_features.h"

namespace vm_device::internal {

// Addresses in the front end; of the bus, where it translates them.
struct VhostUserRingAddresses {
  std::uint64_t descriptors = 0;
  std::uint64_t used = 0;
  std::uint64_t available = 0;

  friend bool operator==(const VhostUserRingAddresses&, const VhostUserRingAddresses&) = default;
};

// What is called by VhostUserRings; the last two may be null.
struct VhostUserRingCalls {
  std::function<void(const std::string&, const absl::Status&)> refused;
  std::function<absl::Status()> acquire;
  std::function<absl::Status()> release;
};

// A ring runs once it has a size, addresses and a kick, and is enabled. Its number counts from
// 0; what the front end says of one that does not exist is refused.
//
// Errors:  kInvalidArgument     no such ring, or a value that cannot be
//          kFailedPrecondition  the ring runs
class VhostUserRings {
 public:
  // Where the driver has accepted kFeatureAccessPlatform rings are started and requests taken when
  // their addresses are translated.
  //
  // Needs:  they outlive this object. `poller` is an epoll descriptor: events of ring i's kick
  //         have first_event + i as their data.
  VhostUserRings(VhostUserTransport& transport, const VhostUserMemory& memory,
                 VhostUserIotlb& iotlb, int poller, std::uint64_t first_event,
                 VhostUserRingCalls calls);

  absl::Status set_size(std::uint32_t index, std::uint32_t size);
  absl::Status set_addresses(std::uint32_t index, const VhostUserRingAddresses& addresses);
  absl::Status set_base(std::uint32_t index, std::uint32_t base);
  // Without a descriptor the ring is looked at all the time.
  absl::Status set_kick(std::uint32_t index, OwnedFd fd);
  absl::Status set_enabled(std::uint32_t index, bool enabled);
  absl::Status set_call(std::uint32_t index, OwnedFd fd);
  absl::Status set_error(std::uint32_t index, OwnedFd fd);
  // Stops the ring, all of whose requests are complete then. Where it is to go on.
  absl::StatusOr<std::uint32_t> stop(std::uint32_t index);

  // The bytes that the journals of so many queues take, in either form.
  static std::uint64_t journal_bytes(std::uint16_t size, std::size_t count);
  // The least that one queue's takes, in the form of now.
  std::uint64_t journal_part(std::uint16_t size) const;
  // Where rings that are started later note their requests: a part of the bytes for each, for
  // queues of that size. Null: nowhere.
  void use_journals(std::unique_ptr<ForeignBytes> bytes, std::uint16_t size, std::size_t count);

  // What counts for rings that are started later. Without the protocol's features rings are
  // enabled from the beginning.
  void use_features(std::uint64_t virtio_features, bool enabled_by_message);
  // Stops the rings that run, all of whose requests are complete then, until update(). Those that
  // an error has stopped forget theirs, and stay so.
  void pause();
  // The same of those that lie there, or have requests under way with buffers there.
  void pause_at(const BusRange& range);
  // After every change: starts what can be. What a ring cannot be started for is told to
  // `refused` and to its error descriptor.
  //
  // Errors:  those of `acquire`. No ring runs then.
  absl::Status update();
  bool is_any_running() const;
  // The end of the connection, which no ring outlives: pause(), then everything is forgotten.
  void close();
  // The driver's reset: what was taken is forgotten, in the journals, too.
  void reset_by_driver();

  // A kick of the ring.
  void kicked(std::uint64_t event);
  bool polls() const;
  // Looks at all of them. Whether there was something.
  bool poll();

 private:
  struct Area {
    std::uint64_t address = 0;
    std::uint64_t bytes = 0;
    DmaAccess access = DmaAccess::kRead;
  };
  struct Ring {
    std::uint32_t size = 0;
    std::optional<VhostUserRingAddresses> addresses;
    VirtqueueState base;
    bool has_base = false;
    bool is_base_ours = false;  // where the ring has stopped; else what the front end says
    // On this connection, so that the front end knows what it says.
    std::optional<VirtqueueState> stopped_at{};
    bool has_given_back = false;  // before that, with a journal
    OwnedFd kick;
    bool has_kick = false;
    bool enabled = false;
    bool refused = false;  // could not be started as it is
    bool paused = false;   // by pause(): waits for its memory, if that is gone
    std::unique_ptr<RequestJournal> journal;
    std::unique_ptr<PackedJournal> packed_journal;
    std::unique_ptr<RingTranslations> translations;  // since it was started
  };

  absl::Status check(std::uint32_t index) const;
  absl::Status check_stopped(std::uint32_t index) const;
  bool is_packed() const;
  bool is_ready(const Ring& ring) const;
  bool is_translated() const { return (features_ & kFeatureAccessPlatform) != 0; }
  bool is_placed(const Ring& ring) const;
  bool can_start(const Ring& ring) const;
  bool uses(const Ring& ring, const BusRange& range) const;
  std::array<Area, 3> areas_of(const Ring& ring) const;
  VirtqueueConfig config_of(const Ring& ring) const;
  VirtqueueState first_state() const;
  VirtqueueState start_of(const Ring& ring, const VirtqueueConfig& config) const;
  std::uint64_t journal_part() const;
  bool has_journal(std::size_t index) const;
  bool is_another(const Ring& ring) const;
  void tell_forgotten(std::size_t index) const;
  bool use_journal(std::size_t index, VirtqueueConfig& config);
  bool use_split_journal(std::size_t index, VirtqueueConfig& config);
  bool use_packed_journal(std::size_t index, VirtqueueConfig& config);
  void clear_journals();
  void reset(Ring& ring);
  void start(std::size_t index);
  void pause(std::size_t index);
  absl::Status acquire();
  absl::Status release_if_idle();
  void pause_for_memory(std::size_t index);
  void rest(std::size_t index);
  std::uint32_t wire_base(const VirtqueueState& state) const;

  VhostUserTransport& transport_;
  const VhostUserMemory& memory_;
  VhostUserIotlb& iotlb_;
  int poller_;
  std::uint64_t first_event_;
  VhostUserRingCalls calls_;
  bool is_acquired_ = false;
  std::uint64_t features_ = 0;
  bool enabled_by_message_ = false;
  std::unique_ptr<ForeignBytes> journals_;
  std::uint16_t journal_size_ = 0;
  std::size_t journal_count_ = 0;
  std::vector<Ring> rings_;
  std::vector<std::uint16_t> taken_before_;  // of the ring that is being started
};

}  // namespace vm_device::internal

#endif  // VM_DEVICE_INTERNAL_VHOST_USER_RINGS_H_
