#include "vm_mem/memory_lease.h"

#include <thread>
#include <utility>

#include "absl/strings/str_format.h"
#include "vm_mem/internal/lease_hold.h"
#include "vm_mem/internal/manager_state.h"
#include "vm_mem/internal/without_exceptions.h"
#include "vm_mem/memory_manager.h"

namespace vm_mem {

MemoryLease::MemoryLease() noexcept = default;

MemoryLease::MemoryLease(MemoryLease&& other) noexcept
    : bytes_(std::exchange(other.bytes_, {})),
      range_(std::exchange(other.range_, {})),
      generation_(other.generation_),
      hold_(std::move(other.hold_)) {}

MemoryLease& MemoryLease::operator=(MemoryLease&& other) noexcept {
  if (this == &other) return *this;
  release();
  bytes_ = std::exchange(other.bytes_, {});
  range_ = std::exchange(other.range_, {});
  generation_ = other.generation_;
  hold_ = std::move(other.hold_);
  return *this;
}

MemoryLease::~MemoryLease() { release(); }

bool MemoryLease::current() const { return hold_ != nullptr && hold_->current(); }

absl::Status MemoryLease::mark_dirty(std::uint64_t offset, std::uint64_t bytes) {
  if (hold_ == nullptr) return absl::FailedPreconditionError("the lease is released");
  if (!hold_->writes()) return absl::FailedPreconditionError("the lease is for reading");
  if (offset > bytes_.size() || bytes > bytes_.size() - offset) {
    return absl::InvalidArgumentError(
        absl::StrFormat("0x%x bytes at offset 0x%x are not inside a window of 0x%x bytes", bytes,
                        offset, bytes_.size()));
  }
  hold_->mark(offset, bytes);
  return absl::OkStatus();
}

void MemoryLease::release() noexcept {
  if (hold_ == nullptr) return;
  hold_->mark_at_end();
  hold_.reset();
  bytes_ = {};
  range_ = {};
}

// A region that is leaving is gone from the map in a moment, or stays after all (as one
// whose pages are taken away does). The layouts that were read are those of the map only
// if no other one came meanwhile.
absl::StatusOr<MemoryLease> MemoryManager::lease(GuestRange range, LeaseAccess access,
                                                 WriteCause cause) {
  const auto take = [&]() -> absl::StatusOr<MemoryLease> {
    for (;; std::this_thread::yield()) {
      const internal::MapPublisher::Pin pin(state_->maps());
      auto lease =
          internal::LeaseHold::lease(pin.map(), range, {access, cause}, state_->lease_count());
      if (absl::IsUnavailable(lease.status())) continue;
      if (!lease.ok() || generation() == pin.map().generation()) return lease;
      internal::LeaseHold::abandon(*lease);
    }
  };
  return internal::without_exceptions([&]() -> absl::StatusOr<MemoryLease> {
    absl::StatusOr<MemoryLease> lease = take();
    if (!lease.ok()) return lease;
    if (absl::Status brought = internal::LeaseHold::bring_pages(*lease); !brought.ok()) {
      internal::LeaseHold::abandon(*lease);
      return brought;
    }
    return lease;
  });
}

std::uint64_t MemoryManager::leases() const {
  return state_->lease_count()->load(std::memory_order_relaxed);
}

}  // namespace vm_mem
