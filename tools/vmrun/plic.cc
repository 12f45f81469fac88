#include "tools/vmrun/plic.h"

#include <algorithm>

namespace vmrun {
namespace {

constexpr std::uint64_t kPending = 0x1000;
constexpr std::uint64_t kEnable = 0x2000;
constexpr std::uint64_t kEnableStride = 0x80;
constexpr std::uint64_t kContext = 0x20'0000;
constexpr std::uint64_t kContextStride = 0x1000;
constexpr std::uint64_t kThreshold = 0;
constexpr std::uint64_t kClaim = 4;

constexpr std::uint32_t bit(unsigned source) { return std::uint32_t{1} << source; }

}  // namespace

Plic::Plic(const std::vector<InterruptPins*>& harts) {
  for (InterruptPins* pins : harts) {
    contexts_.push_back({.pins = pins, .pin = Interrupt::kExternal});
    contexts_.push_back({.pins = pins, .pin = Interrupt::kSupervisorExternal});
  }
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
unsigned Plic::best_source(const Context& context, std::uint32_t above) const {
  unsigned best = 0;
  for (unsigned source = 1; source <= kSources; ++source) {
    if ((pending() & context.enabled & bit(source)) == 0 || priorities_[source] <= above) continue;
    best = source;
    above = priorities_[source];
  }
  return best;
}

void Plic::update() {
  for (const Context& context : contexts_) {
    if (best_source(context, context.threshold) != 0) {
      context.pins->raise(context.pin);
    } else {
      context.pins->lower(context.pin);
    }
  }
}

// A claim does not look at the threshold, which only keeps the hart from being
// interrupted.
std::uint32_t Plic::claim(const Context& context) {
  const unsigned source = best_source(context, 0);
  if (source != 0) claimed_ |= bit(source);
  update();
  return source;
}

void Plic::complete(const Context& context, std::uint32_t source) {
  if (source == 0 || source > kSources || (context.enabled & bit(source)) == 0) return;
  claimed_ &= ~bit(source);
  update();
}

// Null: no context has its enable bits there.
Plic::Context* Plic::enables_at(std::uint64_t offset) {
  if (offset < kEnable || (offset - kEnable) % kEnableStride != 0) return nullptr;
  const std::uint64_t index = (offset - kEnable) / kEnableStride;
  return index < contexts_.size() ? &contexts_[index] : nullptr;
}

std::uint32_t Plic::read_context(std::uint64_t offset) {
  const std::uint64_t index = offset / kContextStride;
  if (index >= contexts_.size()) return 0;
  switch (offset % kContextStride) {
    case kThreshold: return contexts_[index].threshold;
    case kClaim: return claim(contexts_[index]);
    default: return 0;
  }
}

void Plic::write_context(std::uint64_t offset, std::uint32_t value) {
  const std::uint64_t index = offset / kContextStride;
  if (index >= contexts_.size()) return;
  switch (offset % kContextStride) {
    case kThreshold: contexts_[index].threshold = value & kMaxPriority; break;
    case kClaim: complete(contexts_[index], value); break;
    default: break;
  }
}

std::uint32_t Plic::read_register(std::uint64_t offset) {
  if (offset >= kContext) return read_context(offset - kContext);
  if (offset < 4 * (kSources + 1)) return priorities_[offset / 4];
  if (offset == kPending) return pending();
  const Context* context = enables_at(offset);
  return context == nullptr ? 0 : context->enabled;
}

void Plic::write_register(std::uint64_t offset, std::uint32_t value) {
  if (offset >= kContext) {
    write_context(offset - kContext, value);
  } else if (offset >= 4 && offset < 4 * (kSources + 1)) {
    priorities_[offset / 4] = value & kMaxPriority;
  } else if (Context* context = enables_at(offset)) {
    context->enabled = value & ~std::uint32_t{1};
  }
  update();
}

template <typename Archive, typename Self>
void Plic::fields(Archive& archive, Self& self) {
  archive(self.priorities_, self.levels_, self.claimed_);
  for (auto& context : self.contexts_) archive(context.enabled, context.threshold);
}

void Plic::save(vm_device::StateWriter& to) const { fields(to, *this); }

void Plic::load(vm_device::StateReader& from) {
  const std::lock_guard lock(mutex_);
  fields(from, *this);
  std::uint32_t bits = levels_ | claimed_;
  std::uint32_t highest = 0;
  for (const Context& context : contexts_) {
    bits |= context.enabled;
    highest = std::max(highest, context.threshold);
  }
  for (const std::uint32_t priority : priorities_) highest = std::max(highest, priority);
  from.check((bits & 1) == 0, "an interrupt 0");
  from.check(highest <= kMaxPriority, "a priority above the highest");
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
