// One connection of a vhost-user back end: its messages, its memory, its rings.
#ifndef VM_DEVICE_INTERNAL_VHOST_USER_SESSION_H_
#define VM_DEVICE_INTERNAL_VHOST_USER_SESSION_H_

#include <chrono>
#include <cstdint>
#include <span>
#include <string>
#include <string_view>

#include "absl/status/status.h"
#include "vm_device/internal/vhost_user_channel.h"
#include "vm_device/internal/vhost_user_iotlb.h"
#include "vm_device/internal/vhost_user_log.h"
#include "vm_device/internal/vhost_user_memory.h"
#include "vm_device/internal/vhost_user_rings.h"
#include "vm_device/internal/vhost_user_state.h"

namespace vm_device::internal {

class VhostUserSession {
 public:
  // Needs:  both outlive this object.
  VhostUserSession(VhostUserState& state, int socket);
  VhostUserSession(const VhostUserSession&) = delete;
  VhostUserSession& operator=(const VhostUserSession&) = delete;
  ~VhostUserSession();

  // As VhostUserBackend::serve().
  absl::Status run();

 private:
  using Clock = std::chrono::steady_clock;
  using Message = VhostUserMessage;
  enum class Answer : std::uint8_t {
    kAck,    // by a number, where the front end asks for one
    kReply,  // the handler gives it
  };
  // What a message looks like, and who takes it.
  struct Form {
    VhostUserRequest request;
    std::string_view name;
    std::uint32_t bytes;  // of the payload; kAnyBytes: the handler looks
    std::uint8_t least_fds;
    std::uint8_t most_fds;
    Answer answer;
    absl::Status (VhostUserSession::*take)(Message& message);
  };
  static constexpr std::uint32_t kAnyBytes = UINT32_MAX;
  // Null: there is none.
  static const Form* form_of(std::uint32_t request);

  absl::Status open();
  absl::Status wait();
  int wait_milliseconds() const;
  void poll(bool kicked);
  absl::Status take_messages();
  absl::Status take(Message& message);
  absl::Status dispatch(const Form& form, Message& message);
  void refuse(const std::string& name, const absl::Status& why);
  absl::Status reply(const Message& to, std::span<const std::byte> payload, int fd = -1);
  absl::Status reply_word(const Message& to, std::uint64_t word);
  void tell_log();
  void config_changed();

  absl::Status get_features(Message& message);
  absl::Status set_features(Message& message);
  absl::Status ignore(Message& message);
  absl::Status get_protocol_features(Message& message);
  absl::Status set_protocol_features(Message& message);
  absl::Status get_queue_count(Message& message);
  absl::Status set_memory_table(Message& message);
  absl::Status get_memory_slots(Message& message);
  absl::Status add_memory(Message& message);
  absl::Status remove_memory(Message& message);
  absl::Status set_log_base(Message& message);
  absl::Status set_log_signal(Message& message);
  absl::Status set_ring_size(Message& message);
  absl::Status set_ring_addresses(Message& message);
  absl::Status set_ring_base(Message& message);
  absl::Status get_ring_base(Message& message);
  absl::Status set_ring_kick(Message& message);
  absl::Status set_ring_call(Message& message);
  absl::Status set_ring_error(Message& message);
  absl::Status set_ring_enabled(Message& message);
  absl::Status set_backend_channel(Message& message);
  absl::Status get_config(Message& message);
  absl::Status set_config(Message& message);
  absl::Status get_journals(Message& message);
  absl::Status set_journals(Message& message);
  absl::Status take_iotlb(Message& message);
  absl::Status update_iotlb(const VhostIotlbMessage& it);
  absl::Status invalidate_iotlb(const VhostIotlbMessage& it);
  bool ask_for(std::uint64_t iova, DmaAccess access);
  void forget_translations();
  absl::Status reset_device(Message& message);
  absl::Status set_status(Message& message);
  absl::Status get_status(Message& message);

  std::uint64_t offered_features() const;
  bool has_protocol(std::uint64_t feature) const { return (protocol_features_ & feature) != 0; }

  VhostUserState& state_;
  const int socket_;
  OwnedFd poller_;
  VhostUserChannel channel_;
  VhostUserMemory memory_;
  VhostUserIotlb iotlb_;
  VhostUserLog log_;
  VhostUserRings rings_;
  std::uint64_t features_ = 0;
  std::uint64_t protocol_features_ = 0;
  std::uint64_t status_ = 0;
  OwnedFd backend_socket_;
  Clock::time_point told_{};        // the log, last
  Clock::time_point poll_until_{};  // rings are looked at without a kick
};

}  // namespace vm_device::internal

#endif  // VM_DEVICE_INTERNAL_VHOST_USER_SESSION_H_
