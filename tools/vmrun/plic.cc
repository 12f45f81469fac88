#include "tools/vmrun/plic.h"

namespace vmrun {
namespace {

constexpr std::uint64_t kPending = 0x1000;
constexpr std::uint64_t kEnable = 0x2000;
constexpr std::uint64_t kThreshold = 0x20'0000;
constexpr std::uint64_t kClaim = 0x20'0004;

constexpr std::uint32_t bit(unsigned source) { return std::uint32_t{1} << source; }

}  // namespace

Plic::Plic(InterruptPins& pins) : pins_(&pins) {
  for (unsigned source = 1; source <= kSources; ++source) lines_[source].connect(*this, source);
}

void Plic::set_level(unsigned source, vm_device::Level level) {
  const std::lock_guard lock(mutex_);
  if (level == vm_device::Level::kHigh) {
    levels_ |= bit(source);
  } else {
    levels_ &= ~bit(source);
  }
  update();
}

// The pending source of the highest priority above `above`; of equals the lowest
// number. 0: none. Priority 0 never interrupts.
unsigned Plic::best_source(std::uint32_t above) const {
  unsigned best = 0;
  for (unsigned source = 1; source <= kSources; ++source) {
    if ((pending() & enabled_ & bit(source)) == 0 || priorities_[source] <= above) continue;
    best = source;
    above = priorities_[source];
  }
  return best;
}

void Plic::update() {
  if (best_source(threshold_) != 0) {
    pins_->raise(Interrupt::kExternal);
  } else {
    pins_->lower(Interrupt::kExternal);
  }
}

// A claim does not look at the threshold, which only keeps the hart from being
// interrupted.
std::uint32_t Plic::claim() {
  const unsigned source = best_source(0);
  if (source != 0) claimed_ |= bit(source);
  update();
  return source;
}

void Plic::complete(std::uint32_t source) {
  if (source == 0 || source > kSources || (enabled_ & bit(source)) == 0) return;
  claimed_ &= ~bit(source);
  update();
}

std::uint32_t Plic::read_register(std::uint64_t offset) {
  if (offset < 4 * (kSources + 1)) return priorities_[offset / 4];
  switch (offset) {
    case kPending: return pending();
    case kEnable: return enabled_;
    case kThreshold: return threshold_;
    case kClaim: return claim();
    default: return 0;
  }
}

void Plic::write_register(std::uint64_t offset, std::uint32_t value) {
  if (offset == kClaim) return complete(value);
  if (offset >= 4 && offset < 4 * (kSources + 1)) {
    priorities_[offset / 4] = value & kMaxPriority;
  } else if (offset == kEnable) {
    enabled_ = value & ~std::uint32_t{1};
  } else if (offset == kThreshold) {
    threshold_ = value & kMaxPriority;
  }
  update();
}

vm_mem::AccessFault Plic::mmio_read(std::uint64_t offset, unsigned size, std::uint64_t& value) {
  if (size != 4) return vm_mem::AccessFault::kDevice;
  const std::lock_guard lock(mutex_);
  value = read_register(offset);
  return vm_mem::AccessFault::kNone;
}

vm_mem::AccessFault Plic::mmio_write(std::uint64_t offset, unsigned size, std::uint64_t value) {
  if (size != 4) return vm_mem::AccessFault::kDevice;
  const std::lock_guard lock(mutex_);
  write_register(offset, static_cast<std::uint32_t>(value));
  return vm_mem::AccessFault::kNone;
}

}  // namespace vmrun
