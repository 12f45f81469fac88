// What each request of a vhost-user front end does.

#include <fcntl.h>
#include <sys/mman.h>
#include <unistd.h>

#include <array>
#include <cerrno>
#include <cstring>
#include <utility>

#include "absl/strings/str_format.h"
#include "vm_device/internal/vhost_user_session.h"
#include "vm_device/virtio_features.h"

namespace vm_device::internal {
namespace {

// Of the rings and the transport.
constexpr std::uint64_t kTransportFeatures = kFeatureVersion1 | kFeatureRingIndirect |
                                             kFeatureRingEventIdx | kFeatureRingPacked |
                                             kFeatureInOrder;
constexpr std::uint64_t kProtocolFeatures =
    kProtocolMq | kProtocolLogShmfd | kProtocolReplyAck | kProtocolBackendReq | kProtocolConfig |
    kProtocolInflightShmfd | kProtocolResetDevice | kProtocolConfigureMemSlots | kProtocolStatus;

// Those that mean nothing to a device of version 1, and are accepted by drivers all the same:
// NOTIFY_ON_EMPTY and ANY_LAYOUT.
constexpr std::uint64_t kLegacyFeatures = 1 << 24 | 1 << 27;

constexpr std::uint64_t kStatusFeaturesOk = 8;
constexpr std::uint64_t kStatusNeedsReset = 64;

// Where the region lies in a message about one.
constexpr std::size_t kSingleRegionAt = 8;

absl::Status refused(std::string_view what, std::uint64_t value, std::uint64_t offered) {
  return absl::InvalidArgumentError(
      absl::StrFormat("%s 0x%x: 0x%x are offered", std::string(what), value, offered));
}

// A ring's number, and whether there is a descriptor.
absl::StatusOr<OwnedFd> take_ring_fd(VhostUserMessage& message) {
  const bool has_none = (message.word<std::uint64_t>(0) & kVringNoFd) != 0;
  if (has_none == message.fds.empty()) return message.take_fd();
  return absl::InvalidArgumentError(
      absl::StrFormat("%u descriptors, and a flag that says otherwise", message.fds.size()));
}

std::uint32_t ring_of(const VhostUserMessage& message) {
  return message.word<std::uint64_t>(0) & kVringIndexMask;
}

// One that stays as long as it is. Not open: the host has none.
OwnedFd sealed_file(std::uint64_t bytes) {
  OwnedFd file(::memfd_create("vhost-user requests", MFD_CLOEXEC | MFD_ALLOW_SEALING));
  const bool made = file.is_open() && ::ftruncate(file.get(), static_cast<off_t>(bytes)) == 0 &&
                    ::fcntl(file.get(), F_ADD_SEALS, F_SEAL_SHRINK | F_SEAL_GROW) == 0;
  return made ? std::move(file) : OwnedFd();
}

// What is written to never keeps the writer.
void make_nonblocking(const OwnedFd& fd) {
  if (fd.is_open()) ::fcntl(fd.get(), F_SETFL, ::fcntl(fd.get(), F_GETFL) | O_NONBLOCK);
}

}  // namespace

const VhostUserSession::Form* VhostUserSession::form_of(std::uint32_t request) {
  static constexpr Form kForms[] = {
      {VhostUserRequest::kGetFeatures, "GET_FEATURES", 0, 0, 0, Answer::kReply,
       &VhostUserSession::get_features},
      {VhostUserRequest::kSetFeatures, "SET_FEATURES", 8, 0, 0, Answer::kAck,
       &VhostUserSession::set_features},
      {VhostUserRequest::kSetOwner, "SET_OWNER", 0, 0, 0, Answer::kAck, &VhostUserSession::ignore},
      {VhostUserRequest::kResetOwner, "RESET_OWNER", 0, 0, 0, Answer::kAck,
       &VhostUserSession::ignore},
      {VhostUserRequest::kSetMemTable, "SET_MEM_TABLE", kAnyBytes, 0, kMemTableSlots, Answer::kAck,
       &VhostUserSession::set_memory_table},
      {VhostUserRequest::kSetLogBase, "SET_LOG_BASE", 16, 1, 1, Answer::kReply,
       &VhostUserSession::set_log_base},
      {VhostUserRequest::kSetLogFd, "SET_LOG_FD", kAnyBytes, 1, 1, Answer::kAck,
       &VhostUserSession::set_log_signal},
      {VhostUserRequest::kSetVringNum, "SET_VRING_NUM", 8, 0, 0, Answer::kAck,
       &VhostUserSession::set_ring_size},
      {VhostUserRequest::kSetVringAddr, "SET_VRING_ADDR", 40, 0, 0, Answer::kAck,
       &VhostUserSession::set_ring_addresses},
      {VhostUserRequest::kSetVringBase, "SET_VRING_BASE", 8, 0, 0, Answer::kAck,
       &VhostUserSession::set_ring_base},
      {VhostUserRequest::kGetVringBase, "GET_VRING_BASE", 8, 0, 0, Answer::kReply,
       &VhostUserSession::get_ring_base},
      {VhostUserRequest::kSetVringKick, "SET_VRING_KICK", 8, 0, 1, Answer::kAck,
       &VhostUserSession::set_ring_kick},
      {VhostUserRequest::kSetVringCall, "SET_VRING_CALL", 8, 0, 1, Answer::kAck,
       &VhostUserSession::set_ring_call},
      {VhostUserRequest::kSetVringErr, "SET_VRING_ERR", 8, 0, 1, Answer::kAck,
       &VhostUserSession::set_ring_error},
      {VhostUserRequest::kGetProtocolFeatures, "GET_PROTOCOL_FEATURES", 0, 0, 0, Answer::kReply,
       &VhostUserSession::get_protocol_features},
      {VhostUserRequest::kSetProtocolFeatures, "SET_PROTOCOL_FEATURES", 8, 0, 0, Answer::kAck,
       &VhostUserSession::set_protocol_features},
      {VhostUserRequest::kGetQueueNum, "GET_QUEUE_NUM", 0, 0, 0, Answer::kReply,
       &VhostUserSession::get_queue_count},
      {VhostUserRequest::kSetVringEnable, "SET_VRING_ENABLE", 8, 0, 0, Answer::kAck,
       &VhostUserSession::set_ring_enabled},
      {VhostUserRequest::kSetBackendReqFd, "SET_BACKEND_REQ_FD", kAnyBytes, 1, 1, Answer::kAck,
       &VhostUserSession::set_backend_channel},
      {VhostUserRequest::kIotlbMsg, "IOTLB_MSG", kAnyBytes, 0, 0, Answer::kAck,
       &VhostUserSession::take_iotlb},
      {VhostUserRequest::kGetConfig, "GET_CONFIG", kAnyBytes, 0, 0, Answer::kReply,
       &VhostUserSession::get_config},
      {VhostUserRequest::kSetConfig, "SET_CONFIG", kAnyBytes, 0, 0, Answer::kAck,
       &VhostUserSession::set_config},
      {VhostUserRequest::kGetInflightFd, "GET_INFLIGHT_FD", kAnyBytes, 0, 0, Answer::kReply,
       &VhostUserSession::get_journals},
      {VhostUserRequest::kSetInflightFd, "SET_INFLIGHT_FD", kAnyBytes, 1, 1, Answer::kAck,
       &VhostUserSession::set_journals},
      {VhostUserRequest::kResetDevice, "RESET_DEVICE", 0, 0, 0, Answer::kAck,
       &VhostUserSession::reset_device},
      {VhostUserRequest::kGetMaxMemSlots, "GET_MAX_MEM_SLOTS", 0, 0, 0, Answer::kReply,
       &VhostUserSession::get_memory_slots},
      {VhostUserRequest::kAddMemReg, "ADD_MEM_REG", 40, 1, 1, Answer::kAck,
       &VhostUserSession::add_memory},
      {VhostUserRequest::kRemMemReg, "REM_MEM_REG", 40, 0, 1, Answer::kAck,
       &VhostUserSession::remove_memory},
      {VhostUserRequest::kSetStatus, "SET_STATUS", 8, 0, 0, Answer::kAck,
       &VhostUserSession::set_status},
      {VhostUserRequest::kGetStatus, "GET_STATUS", 0, 0, 0, Answer::kReply,
       &VhostUserSession::get_status},
  };
  for (const Form& form : kForms) {
    if (static_cast<std::uint32_t>(form.request) == request) return &form;
  }
  return nullptr;
}

absl::Status VhostUserSession::ignore(Message&) { return absl::OkStatus(); }

std::uint64_t VhostUserSession::offered_features() const {
  const std::uint64_t all = state_.transport.device().device_features() | kTransportFeatures |
                            (state_.options.iommu ? kFeatureAccessPlatform : 0);
  return (all & (~state_.options.withheld_features | kFeatureVersion1)) | kVhostFeatureLogAll |
         kVhostFeatureProtocol;
}

absl::Status VhostUserSession::get_features(Message& message) {
  return reply_word(message, offered_features());
}

// The log may be asked for and ended while rings run, everything else not.
absl::Status VhostUserSession::set_features(Message& message) {
  constexpr std::uint64_t kOfProtocol = kVhostFeatureLogAll | kVhostFeatureProtocol;
  const auto features = message.word<std::uint64_t>(0) & ~kLegacyFeatures;
  if ((features & ~offered_features()) != 0) {
    return refused("features", features, offered_features());
  }
  if (((features ^ features_) & ~kOfProtocol) != 0 && rings_.is_any_running()) {
    return absl::FailedPreconditionError("other features while rings run");
  }
  const bool is_translated = (features & kFeatureAccessPlatform) != 0;
  if (const absl::Status opened = is_translated ? iotlb_.open() : absl::OkStatus(); !opened.ok()) {
    return opened;
  }
  if ((features & kVhostFeatureLogAll) == 0) {
    tell_log();
    log_.stop();
  } else if (const absl::Status started = log_.start(); !started.ok()) {
    return started;
  }
  features_ = features;
  forget_translations();
  state_.transport.accept(features & ~kOfProtocol, is_translated ? &iotlb_.iommu() : nullptr);
  rings_.use_features(features & ~kOfProtocol, (features & kVhostFeatureProtocol) != 0);
  return absl::OkStatus();
}

absl::Status VhostUserSession::get_protocol_features(Message& message) {
  return reply_word(message, kProtocolFeatures);
}

absl::Status VhostUserSession::set_protocol_features(Message& message) {
  const auto features = message.word<std::uint64_t>(0);
  if ((features & ~kProtocolFeatures) != 0) {
    return refused("protocol features", features, kProtocolFeatures);
  }
  protocol_features_ = features;
  return absl::OkStatus();
}

absl::Status VhostUserSession::get_queue_count(Message& message) {
  return reply_word(message, state_.transport.queue_count());
}

// User-mode Linux sends room for more regions than there are.
absl::Status VhostUserSession::set_memory_table(Message& message) {
  const auto count = message.word<std::uint32_t>(0);
  const std::size_t bytes = kMemTableHeaderBytes + count * kVhostRegionBytes;
  if (count > kMemTableSlots || message.bytes < bytes || message.fds.size() != count) {
    return absl::InvalidArgumentError(absl::StrFormat("%u regions in %u bytes with %u descriptors",
                                                      count, message.bytes, message.fds.size()));
  }
  std::array<VhostUserRegion, kMemTableSlots> regions;
  for (std::size_t i = 0; i < count; ++i) {
    regions[i] =
        VhostUserRegion::decode(&message.payload[kMemTableHeaderBytes + i * kVhostRegionBytes]);
  }
  rings_.pause();
  iotlb_.clear();
  tell_log();
  return memory_.set_table(std::span(regions).first(count), message.fds);
}

absl::Status VhostUserSession::get_memory_slots(Message& message) {
  return reply_word(message, kMaxMemSlots);
}

absl::Status VhostUserSession::add_memory(Message& message) {
  if (iotlb_.ask_again()) state_.transport.look_at_all();
  return memory_.add(VhostUserRegion::decode(&message.payload[kSingleRegionAt]),
                     message.fds.front());
}

// What is under way there is completed, and what was written told, before it is gone.
absl::Status VhostUserSession::remove_memory(Message& message) {
  rings_.pause();
  iotlb_.clear();
  tell_log();
  return memory_.remove(VhostUserRegion::decode(&message.payload[kSingleRegionAt]));
}

// Front ends do not look at what the answer says: without a log they would lose pages.
absl::Status VhostUserSession::set_log_base(Message& message) {
  tell_log();
  auto bits = ForeignBytes::map(message.fds.front(), message.word<std::uint64_t>(8),
                                message.word<std::uint64_t>(0));
  if (!bits.ok()) return bits.status();
  log_.use(*std::move(bits));
  return reply_word(message, 0);
}

absl::Status VhostUserSession::set_log_signal(Message& message) {
  OwnedFd fd = message.take_fd();
  make_nonblocking(fd);
  log_.use_signal(std::move(fd));
  return absl::OkStatus();
}

absl::Status VhostUserSession::set_ring_size(Message& message) {
  return rings_.set_size(message.word<std::uint32_t>(0), message.word<std::uint32_t>(4));
}

// The address of the log for the used ring is that of its page in the log of all.
absl::Status VhostUserSession::set_ring_addresses(Message& message) {
  return rings_.set_addresses(message.word<std::uint32_t>(0),
                              {.descriptors = message.word<std::uint64_t>(8),
                               .used = message.word<std::uint64_t>(16),
                               .available = message.word<std::uint64_t>(24)});
}

absl::Status VhostUserSession::set_ring_base(Message& message) {
  return rings_.set_base(message.word<std::uint32_t>(0), message.word<std::uint32_t>(4));
}

absl::Status VhostUserSession::get_ring_base(Message& message) {
  const auto index = message.word<std::uint32_t>(0);
  const auto base = rings_.stop(index);
  if (!base.ok()) return base.status();
  if (iotlb_.forget_wishes(index)) state_.transport.look_at_all();
  forget_translations();
  tell_log();
  const std::array<std::uint32_t, 2> state{index, *base};
  return reply(message, std::as_bytes(std::span(state)));
}

absl::Status VhostUserSession::set_ring_kick(Message& message) {
  auto fd = take_ring_fd(message);
  return fd.ok() ? rings_.set_kick(ring_of(message), *std::move(fd)) : fd.status();
}

absl::Status VhostUserSession::set_ring_call(Message& message) {
  auto fd = take_ring_fd(message);
  if (!fd.ok()) return fd.status();
  make_nonblocking(*fd);
  return rings_.set_call(ring_of(message), *std::move(fd));
}

absl::Status VhostUserSession::set_ring_error(Message& message) {
  auto fd = take_ring_fd(message);
  if (!fd.ok()) return fd.status();
  make_nonblocking(*fd);
  return rings_.set_error(ring_of(message), *std::move(fd));
}

absl::Status VhostUserSession::set_ring_enabled(Message& message) {
  return rings_.set_enabled(message.word<std::uint32_t>(0), message.word<std::uint32_t>(4) != 0);
}

absl::Status VhostUserSession::set_backend_channel(Message& message) {
  backend_socket_ = message.take_fd();
  if (iotlb_.ask_again()) state_.transport.look_at_all();
  return absl::OkStatus();
}

// With the same header; none of the configuration where that is too much.
absl::Status VhostUserSession::get_config(Message& message) {
  const auto offset = message.word<std::uint32_t>(0);
  const auto bytes = message.word<std::uint32_t>(4);
  if (message.bytes != kConfigHeaderBytes + bytes || bytes > kMaxConfigBytes ||
      offset > kMaxConfigBytes - bytes) {
    return reply(message, {});
  }
  const auto payload = std::span(message.payload).first(message.bytes);
  state_.transport.device().read_config(offset, payload.subspan(kConfigHeaderBytes));
  return reply(message, payload);
}

absl::Status VhostUserSession::set_config(Message& message) {
  const auto offset = message.word<std::uint32_t>(0);
  const auto bytes = message.word<std::uint32_t>(4);
  if (message.bytes != kConfigHeaderBytes + bytes || bytes > kMaxConfigBytes ||
      offset > kMaxConfigBytes - bytes) {
    return absl::InvalidArgumentError(
        absl::StrFormat("%u bytes at %u of the configuration", bytes, offset));
  }
  state_.transport.device().write_config(
      offset, std::span(message.payload).first(message.bytes).subspan(kConfigHeaderBytes));
  return absl::OkStatus();
}

// The numbers of queues and of their descriptors; before them the bytes of the journals, and
// where they begin in the file.
absl::Status VhostUserSession::get_journals(Message& message) {
  const auto count = message.word<std::uint16_t>(16);
  const auto size = message.word<std::uint16_t>(18);
  if (message.bytes < kInflightBytes || count > state_.transport.queue_count() || size == 0) {
    return absl::InvalidArgumentError(
        absl::StrFormat("GET_INFLIGHT_FD for %u queues of %u descriptors", count, size));
  }
  const std::uint64_t bytes = VhostUserRings::journal_bytes(size, count);
  const OwnedFd file = sealed_file(bytes);
  if (!file.is_open()) {
    return absl::ResourceExhaustedError(absl::StrFormat("memfd_create: %s", std::strerror(errno)));
  }
  std::memcpy(message.payload.data(), &bytes, sizeof bytes);
  constexpr std::uint64_t kOffset = 0;
  std::memcpy(&message.payload[8], &kOffset, sizeof kOffset);
  return reply(message, std::span(message.payload).first(message.bytes), file.get());
}

absl::Status VhostUserSession::set_journals(Message& message) {
  const auto bytes = message.word<std::uint64_t>(0);
  const auto count = message.word<std::uint16_t>(16);
  const auto size = message.word<std::uint16_t>(18);
  const bool fits = message.bytes >= kInflightBytes && size != 0 && count != 0 &&
                    count * rings_.journal_part(size) <= bytes;
  if (!fits || rings_.is_any_running()) {
    return absl::InvalidArgumentError(absl::StrFormat(
        "0x%x bytes for %u queues of %u descriptors, or while rings run", bytes, count, size));
  }
  auto journals = ForeignBytes::map(message.fds.front(), message.word<std::uint64_t>(8), bytes);
  if (!journals.ok()) return journals.status();
  rings_.use_journals(*std::move(journals), size, count);
  return absl::OkStatus();
}

absl::Status VhostUserSession::reset_device(Message&) {
  rings_.reset_by_driver();
  forget_translations();
  tell_log();
  status_ = 0;
  return absl::OkStatus();
}

// 0 stops nothing: front ends say it before they stop the rings, for a pause as for a reset of the
// driver's, and ask for where the rings stand afterwards.
absl::Status VhostUserSession::set_status(Message& message) {
  const std::uint64_t status = message.word<std::uint64_t>(0) & 0xff & ~kStatusNeedsReset;
  const bool is_modern = (features_ & kFeatureVersion1) != 0;
  status_ = is_modern ? status : status & ~kStatusFeaturesOk;
  return absl::OkStatus();
}

absl::Status VhostUserSession::get_status(Message& message) {
  return reply_word(message, state_.transport.has_failed() ? status_ | kStatusNeedsReset : status_);
}

}  // namespace vm_device::internal
