#include "vm_device/internal/vhost_user_rings.h"

#include <sys/epoll.h>
#include <sys/uio.h>

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <utility>

#include "absl/strings/str_format.h"
#include "vm_device/internal/virtio_layout.h"
#include "vm_device/virtio_features.h"

namespace vm_device::internal {
namespace {

// Where no ring can be.
constexpr std::uint64_t kNowhere = UINT64_MAX & ~std::uint64_t{15};
// A kick that nobody has read would look to the front end as one that it has to serve.
void take_kicks(int fd) {
  std::uint64_t count = 0;
  const iovec place{.iov_base = &count, .iov_len = sizeof count};
  static_cast<void>(!::preadv2(fd, &place, 1, -1, RWF_NOWAIT));
}

}  // namespace

VhostUserRings::VhostUserRings(VhostUserTransport& transport, const VhostUserMemory& memory,
                               VhostUserIotlb& iotlb, int poller, std::uint64_t first_event,
                               VhostUserRingCalls calls)
    : transport_(transport),
      memory_(memory),
      iotlb_(iotlb),
      poller_(poller),
      first_event_(first_event),
      calls_(std::move(calls)),
      rings_(transport.queue_count()) {}

absl::Status VhostUserRings::check(std::uint32_t index) const {
  if (index < rings_.size()) return absl::OkStatus();
  return absl::InvalidArgumentError(
      absl::StrFormat("ring %u: the device has %u", index, rings_.size()));
}

absl::Status VhostUserRings::check_stopped(std::uint32_t index) const {
  if (const absl::Status bad = check(index); !bad.ok()) return bad;
  if (!transport_.is_running(index)) return absl::OkStatus();
  return absl::FailedPreconditionError(absl::StrFormat("ring %u runs", index));
}

absl::Status VhostUserRings::set_size(std::uint32_t index, std::uint32_t size) {
  if (const absl::Status bad = check(index); !bad.ok()) return bad;
  Ring& ring = rings_[index];
  if (ring.size == size) return absl::OkStatus();
  if (const absl::Status runs = check_stopped(index); !runs.ok()) return runs;
  const std::uint32_t most = transport_.device().max_queue_size(static_cast<std::uint16_t>(index));
  if (size == 0 || size > most) {
    return absl::InvalidArgumentError(
        absl::StrFormat("ring %u of %u descriptors: at most %u are possible", index, size, most));
  }
  ring.size = size;
  ring.refused = false;
  return absl::OkStatus();
}

// Front ends say the same again when they begin to log.
absl::Status VhostUserRings::set_addresses(std::uint32_t index,
                                           const VhostUserRingAddresses& addresses) {
  if (const absl::Status bad = check(index); !bad.ok()) return bad;
  Ring& ring = rings_[index];
  if (ring.addresses == addresses) return absl::OkStatus();
  if (const absl::Status runs = check_stopped(index); !runs.ok()) return runs;
  ring.addresses = addresses;
  ring.refused = false;
  return absl::OkStatus();
}

absl::Status VhostUserRings::set_base(std::uint32_t index, std::uint32_t base) {
  if (const absl::Status runs = check_stopped(index); !runs.ok()) return runs;
  const auto low = static_cast<std::uint16_t>(base);
  const auto high = static_cast<std::uint16_t>(base >> 16);
  rings_[index].base = {low, is_packed() ? high : low};
  rings_[index].has_base = true;
  rings_[index].is_base_ours = false;
  return absl::OkStatus();
}

// Edges are waited for, not levels: a kick is a write, whether the last one was read or not.
absl::Status VhostUserRings::set_kick(std::uint32_t index, OwnedFd fd) {
  if (const absl::Status bad = check(index); !bad.ok()) return bad;
  Ring& ring = rings_[index];
  if (fd.is_open()) {
    epoll_event event{.events = EPOLLIN | EPOLLET, .data = {.u64 = first_event_ + index}};
    if (::epoll_ctl(poller_, EPOLL_CTL_ADD, fd.get(), &event) != 0) {
      return absl::InvalidArgumentError(
          absl::StrFormat("the kick of ring %u: epoll_ctl: %s", index, std::strerror(errno)));
    }
  }
  if (ring.kick.is_open()) ::epoll_ctl(poller_, EPOLL_CTL_DEL, ring.kick.get(), nullptr);
  ring.kick = std::move(fd);
  ring.has_kick = true;
  return absl::OkStatus();
}

absl::Status VhostUserRings::set_enabled(std::uint32_t index, bool enabled) {
  if (const absl::Status bad = check(index); !bad.ok()) return bad;
  rings_[index].enabled = enabled;
  rings_[index].refused = false;
  if (!enabled && enabled_by_message_ && transport_.is_running(index)) {
    pause(index);
    if (iotlb_.forget_wishes(index)) transport_.look_at_all();
  }
  return absl::OkStatus();
}

absl::Status VhostUserRings::set_call(std::uint32_t index, OwnedFd fd) {
  if (const absl::Status bad = check(index); !bad.ok()) return bad;
  transport_.set_call(index, std::move(fd));
  return absl::OkStatus();
}

absl::Status VhostUserRings::set_error(std::uint32_t index, OwnedFd fd) {
  if (const absl::Status bad = check(index); !bad.ok()) return bad;
  transport_.set_error(index, std::move(fd));
  return absl::OkStatus();
}

void VhostUserRings::pause(std::size_t index) {
  const auto at = transport_.stop(index);
  if (!at) return;
  Ring& ring = rings_[index];
  ring.base = *at;
  ring.stopped_at = *at;
  ring.has_base = ring.is_base_ours = true;
  ring.has_given_back |= (ring.journal != nullptr && ring.journal->has_given_back()) ||
                         (ring.packed_journal != nullptr && ring.packed_journal->has_given_back());
}

absl::StatusOr<std::uint32_t> VhostUserRings::stop(std::uint32_t index) {
  if (const absl::Status bad = check(index); !bad.ok()) return bad;
  Ring& ring = rings_[index];
  if (transport_.is_running(index)) pause(index);
  if (ring.kick.is_open()) {
    ::epoll_ctl(poller_, EPOLL_CTL_DEL, ring.kick.get(), nullptr);
    take_kicks(ring.kick.get());
    transport_.look_at_all();  // it may have been another ring's, too
  }
  ring.kick = OwnedFd();
  ring.has_kick = ring.refused = ring.paused = false;
  transport_.set_call(index, OwnedFd());
  if (const absl::Status released = release_if_idle(); !released.ok()) return released;
  return wire_base(ring.base);
}

std::uint32_t VhostUserRings::wire_base(const VirtqueueState& state) const {
  return is_packed() ? state.next_available | std::uint32_t{state.next_used} << 16
                     : state.next_available;
}

// A driver that uses the other form of ring is another one. The first features of a connection
// may come after the journals.
void VhostUserRings::use_features(std::uint64_t virtio_features, bool enabled_by_message) {
  const bool is_other_form = ((features_ ^ virtio_features) & kFeatureRingPacked) != 0;
  if (features_ != 0 && is_other_form) clear_journals();
  if (features_ != virtio_features) {
    for (Ring& ring : rings_) ring.refused = false;
  }
  features_ = virtio_features;
  enabled_by_message_ = enabled_by_message;
}

VirtqueueState VhostUserRings::first_state() const {
  return is_packed() ? VirtqueueState{kPackedWrap, kPackedWrap} : VirtqueueState{};
}

bool VhostUserRings::is_packed() const { return (features_ & kFeatureRingPacked) != 0; }

bool VhostUserRings::is_ready(const Ring& ring) const {
  return ring.size != 0 && ring.addresses && ring.has_kick &&
         (ring.enabled || !enabled_by_message_);
}

// Descriptors, the driver's and the device's, which is read where a split ring starts.
std::array<VhostUserRings::Area, 3> VhostUserRings::areas_of(const Ring& ring) const {
  const auto& [descriptors, used, available] = *ring.addresses;
  const std::uint64_t size = ring.size;
  if (is_packed()) {
    return {{{descriptors, size * kDescriptorBytes, DmaAccess::kReadWrite},
             {available, kEventBytes, DmaAccess::kRead},
             {used, kEventBytes, DmaAccess::kWrite}}};
  }
  // Those Virtqueue itself reaches for, where nobody has to be asked for them.
  const bool has_event = is_translated() && (features_ & kFeatureRingEventIdx) != 0;
  const std::uint64_t event = has_event ? 2 : 0;
  return {{{descriptors, size * kDescriptorBytes, DmaAccess::kRead},
           {available, kRingEntries + size * kAvailableEntryBytes + event, DmaAccess::kRead},
           {used, kRingEntries + size * kUsedEntryBytes + event, DmaAccess::kReadWrite}}};
}

VirtqueueConfig VhostUserRings::config_of(const Ring& ring) const {
  const auto [descriptors, driver, device] = areas_of(ring);
  const auto place = [this](const Area& area) {
    return is_translated() ? area.address
                           : memory_.guest_address(area.address, area.bytes).value_or(kNowhere);
  };
  return {.size = static_cast<std::uint16_t>(ring.size),
          .descriptor_table = place(descriptors),
          .driver_area = place(driver),
          .device_area = place(device),
          .features = features_};
}

// All of what is missing is asked for at once.
bool VhostUserRings::is_placed(const Ring& ring) const {
  const VhostUserIotlb::Asker asker{.ring = static_cast<std::size_t>(&ring - rings_.data())};
  bool all = true;
  for (const Area& area : areas_of(ring)) {
    const bool is_there = is_translated()
                              ? iotlb_.settled({area.address, area.bytes}, area.access, asker)
                              : memory_.guest_address(area.address, area.bytes).has_value();
    all = is_there && all;
  }
  return all;
}

bool VhostUserRings::uses(const Ring& ring, const BusRange& range) const {
  if (ring.translations != nullptr && ring.translations->may_use(range)) return true;
  for (const Area& area : areas_of(ring)) {
    const auto place = BusRange::make(area.address, area.bytes);
    if (place && place->pages().overlaps(range)) return true;
  }
  return false;
}

// Of a split ring the used index in memory is what the driver has seen. Requests after it are
// taken again; where a back end that is gone has answered some of those they are answered twice, and
// as many others never: that only a journal can tell. Of a packed one User-mode
// Linux says 0 for the beginning, which is that of the second lap.
VirtqueueState VhostUserRings::start_of(const Ring& ring, const VirtqueueConfig& config) const {
  if (!is_packed()) return transport_.split_start(config).value_or(ring.base);
  const bool may_be_new = !ring.is_base_ours && ring.base == VirtqueueState{};
  const bool is_new = !ring.has_base || (may_be_new && transport_.is_new(config));
  return is_new ? first_state() : ring.base;
}

void VhostUserRings::start(std::size_t index) {
  Ring& ring = rings_[index];
  VirtqueueConfig config = config_of(ring);
  const bool is_modern = (features_ & kFeatureVersion1) != 0;
  config.start = start_of(ring, config);
  const bool is_journal_good = use_journal(index, config);
  if (!is_modern || !is_journal_good) config.size = 0;  // which no ring has
  ring.translations = is_translated() ? std::make_unique<RingTranslations>(iotlb_, index) : nullptr;
  config.translations = ring.translations.get();
  ring.paused = false;
  const VirtqueueError error = transport_.start(index, config);
  ring.refused = error != VirtqueueError::kNone;
  if (!ring.refused) return;
  const auto why = [&]() -> std::string {
    if (!is_modern) return "the driver has not accepted VIRTIO_F_VERSION_1";
    if (!is_journal_good) return "what is noted of its requests under way cannot be";
    return std::string(virtqueue_error_name(error));
  };
  calls_.refused(absl::StrFormat("ring %u", index), absl::FailedPreconditionError(why()));
}

void VhostUserRings::pause_for_memory(std::size_t index) {
  pause(index);
  rings_[index].paused = true;
}

// One that an error has stopped stays so.
void VhostUserRings::rest(std::size_t index) {
  transport_.is_serving(index) ? pause_for_memory(index) : transport_.forget_requests(index);
}

void VhostUserRings::pause() {
  for (std::size_t i = 0; i < rings_.size(); ++i) {
    if (transport_.is_running(i)) rest(i);
  }
}

void VhostUserRings::pause_at(const BusRange& range) {
  for (std::size_t i = 0; i < rings_.size(); ++i) {
    if (transport_.is_running(i) && uses(rings_[i], range)) rest(i);
  }
}

// A ring that an error of the driver's has stopped is running all the same: until the front end
// stops it. One that has lost its memory to a change, or whose addresses have no translation,
// waits for it without a word.
absl::Status VhostUserRings::update() {
  for (std::size_t i = 0; i < rings_.size(); ++i) {
    const Ring& ring = rings_[i];
    if (transport_.is_running(i) || !can_start(ring)) continue;
    if (const absl::Status failed = acquire(); !failed.ok()) return failed;
    start(i);
  }
  return release_if_idle();
}

absl::Status VhostUserRings::acquire() {
  if (is_acquired_) return absl::OkStatus();
  const absl::Status acquired = calls_.acquire ? calls_.acquire() : absl::OkStatus();
  is_acquired_ = acquired.ok();
  return acquired;
}

// A ring that waits for its memory will go on, unless the front end stops it meanwhile.
absl::Status VhostUserRings::release_if_idle() {
  const bool waits = std::ranges::any_of(
      rings_, [this](const Ring& ring) { return ring.paused && is_ready(ring); });
  if (waits || is_any_running() || !std::exchange(is_acquired_, false)) return absl::OkStatus();
  return calls_.release ? calls_.release() : absl::OkStatus();
}

bool VhostUserRings::can_start(const Ring& ring) const {
  const bool may_wait = is_translated() || ring.paused;
  return is_ready(ring) && !ring.refused && (!may_wait || is_placed(ring));
}

void VhostUserRings::reset_by_driver() {
  transport_.reset();
  for (Ring& ring : rings_) reset(ring);
  clear_journals();
}

bool VhostUserRings::is_any_running() const {
  for (std::size_t i = 0; i < rings_.size(); ++i) {
    if (transport_.is_running(i)) return true;
  }
  return false;
}

void VhostUserRings::reset(Ring& ring) {
  if (ring.kick.is_open()) ::epoll_ctl(poller_, EPOLL_CTL_DEL, ring.kick.get(), nullptr);
  ring = Ring();
}

void VhostUserRings::close() {
  pause();
  transport_.reset();
  for (std::size_t i = 0; i < rings_.size(); ++i) {
    reset(rings_[i]);
    transport_.set_call(i, OwnedFd());
    transport_.set_error(i, OwnedFd());
  }
  static_cast<void>(release_if_idle());  // there is nobody left to be told
}

// A ring that could start has been started by update(), and that has looked for requests.
void VhostUserRings::kicked(std::uint64_t event) {
  const std::uint64_t index = event - first_event_;
  if (index >= rings_.size()) return;
  if (transport_.is_running(index)) transport_.notify(index);
}

bool VhostUserRings::polls() const {
  for (std::size_t i = 0; i < rings_.size(); ++i) {
    if (transport_.is_serving(i) && !rings_[i].kick.is_open()) return true;
  }
  return false;
}

bool VhostUserRings::poll() {
  bool found = false;
  for (std::size_t i = 0; i < rings_.size(); ++i) {
    if (!transport_.is_serving(i)) continue;
    const VirtqueueState before = transport_.state(i);
    transport_.notify(i);
    found = found || transport_.state(i) != before;
  }
  return found;
}

}  // namespace vm_device::internal
