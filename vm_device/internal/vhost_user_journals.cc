// Where the rings of a vhost-user connection note their requests.

#include <algorithm>
#include <utility>

#include "absl/strings/str_format.h"
#include "vm_device/internal/vhost_user_rings.h"

namespace vm_device::internal {

// A front end may ask, and give them, before it says which form the rings have.
std::uint64_t VhostUserRings::journal_bytes(std::uint16_t size, std::size_t count) {
  return count * std::max(RequestJournal::bytes_for(size), PackedJournal::bytes_for(size));
}

std::uint64_t VhostUserRings::journal_part(std::uint16_t size) const {
  return is_packed() ? PackedJournal::bytes_for(size) : RequestJournal::bytes_for(size);
}

std::uint64_t VhostUserRings::journal_part() const { return journal_part(journal_size_); }

void VhostUserRings::use_journals(std::unique_ptr<ForeignBytes> bytes, std::uint16_t size,
                                  std::size_t count) {
  for (Ring& ring : rings_) {
    ring.journal.reset();
    ring.packed_journal.reset();
  }
  journal_size_ = size;
  journal_count_ = count;
  journals_ = std::move(bytes);
}

bool VhostUserRings::has_journal(std::size_t index) const {
  return journals_ != nullptr && index < journal_count_ &&
         (index + 1) * journal_part() <= journals_->bytes();
}

// Requests that a back end had and did not give back come first. False: what it has noted of them
// cannot be.
bool VhostUserRings::use_journal(std::size_t index, VirtqueueConfig& config) {
  if (journals_ == nullptr || index >= journal_count_) return true;
  if (!has_journal(index) || config.size > journal_size_) return false;
  if (is_another(rings_[index])) JournalRegion(*journals_, index * journal_part()).forget();
  return is_packed() ? use_packed_journal(index, config) : use_split_journal(index, config);
}

void VhostUserRings::tell_forgotten(std::size_t index) const {
  calls_.refused(
      absl::StrFormat("ring %u", index),
      absl::FailedPreconditionError("the requests under way that are noted are another ring's"));
}

// Whether the front end says that a ring begins which is not the one that was stopped, so that what
// is noted of that one is nobody's. At the very beginning the two say the same; where nothing was
// ever given back all requests are in the ring, in their order, if they are still wanted.
bool VhostUserRings::is_another(const Ring& ring) const {
  if (!ring.stopped_at || ring.is_base_ours) return false;
  if (ring.base != *ring.stopped_at) return true;
  return ring.base == first_state() && !ring.has_given_back;
}

// A ring that cannot be reached is not held against its journal: it does not start.
bool VhostUserRings::use_split_journal(std::size_t index, VirtqueueConfig& config) {
  const auto used = transport_.split_start(config);
  const auto available = transport_.split_available(config);
  if (!used || !available) return true;
  Ring& ring = rings_[index];
  ring.journal =
      std::make_unique<RequestJournal>(*journals_, index * journal_part(), journal_size_);
  auto heads =
      ring.journal->open({.size = config.size, .used = used->next_used, .available = *available});
  if (!heads) return false;
  if (ring.journal->has_forgotten()) tell_forgotten(index);
  taken_before_ = *std::move(heads);
  config.journal = ring.journal.get();
  config.taken_before = taken_before_;
  config.start = VirtqueueState{static_cast<std::uint16_t>(used->next_used + taken_before_.size()),
                                used->next_used};
  return true;
}

// Where a packed ring stands is nowhere in memory but here. The front end knows it of a ring
// that has stopped on this connection; after a crash it says where the ring was started.
bool VhostUserRings::use_packed_journal(std::size_t index, VirtqueueConfig& config) {
  Ring& ring = rings_[index];
  ring.packed_journal =
      std::make_unique<PackedJournal>(*journals_, index * journal_part(), journal_size_);
  const auto used = ring.packed_journal->open(
      {.size = config.size,
       .used = config.start->next_used,
       .has_stopped_here = ring.stopped_at.has_value(),
       .descriptor = [&](std::uint16_t at) { return transport_.packed_descriptor(config, at); }});
  if (!used) return false;
  if (ring.packed_journal->has_forgotten()) tell_forgotten(index);
  config.packed_journal = ring.packed_journal.get();
  config.start = VirtqueueState{*used, *used};
  return true;
}

void VhostUserRings::clear_journals() {
  if (journals_ == nullptr) return;
  for (const std::uint64_t part :
       {RequestJournal::bytes_for(journal_size_), PackedJournal::bytes_for(journal_size_)}) {
    for (std::size_t i = 0; i < journal_count_ && (i + 1) * part <= journals_->bytes(); ++i) {
      JournalRegion(*journals_, i * part).forget();
    }
  }
}

}  // namespace vm_device::internal
