// What the messages of a front end do that translates the driver's addresses, and asking it.

#include "absl/strings/str_format.h"
#include "vm_device/internal/vhost_user_session.h"

namespace vm_device::internal {

// QEMU sends the padding, too.
absl::Status VhostUserSession::take_iotlb(Message& message) {
  if (message.bytes < kLeastIotlbBytes || message.bytes > sizeof(VhostIotlbMessage)) {
    return absl::InvalidArgumentError(absl::StrFormat("%u bytes", message.bytes));
  }
  if ((features_ & kFeatureAccessPlatform) == 0) {
    return absl::FailedPreconditionError("the driver has not accepted VIRTIO_F_ACCESS_PLATFORM");
  }
  const auto it = VhostIotlbMessage::decode(message.payload.data());
  switch (it.type) {
    case VhostIotlbType::kUpdate: return update_iotlb(it);
    case VhostIotlbType::kInvalidate: return invalidate_iotlb(it);
    default:
      return absl::InvalidArgumentError(absl::StrFormat("type %u", static_cast<unsigned>(it.type)));
  }
}

// Requests under way may use what is replaced, or thrown out for room.
absl::Status VhostUserSession::update_iotlb(const VhostIotlbMessage& it) {
  const auto permitted = static_cast<DmaAccess>(it.access);
  absl::Status done = iotlb_.add({it.iova, it.bytes}, it.user, permitted);
  if (absl::IsAlreadyExists(done) || absl::IsResourceExhausted(done)) {
    rings_.pause();
    done = iotlb_.put({it.iova, it.bytes}, it.user, permitted);
  }
  if (!done.ok()) return done;
  state_.iotlb_updates.fetch_add(1, std::memory_order_relaxed);
  state_.transport.look_at_all();
  return done;
}

// QEMU takes away more than the driver does. So requests that use what goes are completed first:
// behind that no DMA uses it, and none fails for it.
absl::Status VhostUserSession::invalidate_iotlb(const VhostIotlbMessage& it) {
  const auto range = BusRange::make(it.iova, it.bytes);
  if (!range) {
    return absl::InvalidArgumentError(
        absl::StrFormat("0x%x bytes at 0x%x are none, or wrap", it.bytes, it.iova));
  }
  state_.iotlb_invalidations.fetch_add(1, std::memory_order_relaxed);
  rings_.pause_at(range->pages());
  if (!iotlb_.drop(*range).ok()) {
    rings_.pause();
    iotlb_.clear();
    return absl::OkStatus();
  }
  if (iotlb_.ask_again(*range)) state_.transport.look_at_all();
  return absl::OkStatus();
}

bool VhostUserSession::ask_for(std::uint64_t iova, DmaAccess access) {
  if (!backend_socket_.is_open()) return false;
  const VhostIotlbMessage miss{
      .iova = iova, .access = static_cast<std::uint8_t>(access), .type = VhostIotlbType::kMiss};
  const bool sent = VhostUserChannel(backend_socket_.get())
                        .try_send(static_cast<std::uint32_t>(VhostBackendRequest::kIotlbMsg),
                                  std::as_bytes(std::span(&miss, 1)));
  if (sent) state_.iotlb_misses.fetch_add(1, std::memory_order_relaxed);
  return sent;
}

// A front end whose rings are at rest says no longer what it takes away.
void VhostUserSession::forget_translations() {
  if (!rings_.is_any_running()) iotlb_.clear();
}

}  // namespace vm_device::internal
