#include "tools/vmrun/clint.h"

namespace vmrun {
namespace {

constexpr std::uint64_t kSoftware = 0;
constexpr std::uint64_t kDeadline = 0x4000;
constexpr std::uint64_t kTime = 0xbff8;

constexpr unsigned shift_of(std::uint64_t offset) { return (offset & 4) != 0 ? 32 : 0; }

}  // namespace

std::uint64_t Clint::read_register(std::uint64_t offset) const {
  switch (offset) {
    case kSoftware: return software_;
    case kDeadline: return deadline_;
    case kTime: return clock_->ticks();
    default: return 0;
  }
}

void Clint::write_register(std::uint64_t offset, std::uint64_t value) {
  switch (offset) {
    case kSoftware:
      software_ = value & 1;
      if (software_ != 0) {
        pins_->raise(Interrupt::kSoftware);
      } else {
        pins_->lower(Interrupt::kSoftware);
      }
      return;
    case kDeadline: deadline_ = value; break;
    case kTime: clock_->set_ticks(value); break;
    default: return;
  }
  update();
  rearmed_();
}

vm_mem::AccessFault Clint::mmio_read(std::uint64_t offset, unsigned size, std::uint64_t& value) {
  if (size < 4) return vm_mem::AccessFault::kDevice;
  value = read_register(offset & ~std::uint64_t{7}) >> shift_of(offset);
  if (size == 4) value &= 0xffffffffu;
  return vm_mem::AccessFault::kNone;
}

vm_mem::AccessFault Clint::mmio_write(std::uint64_t offset, unsigned size, std::uint64_t value) {
  if (size < 4) return vm_mem::AccessFault::kDevice;
  const std::uint64_t base = offset & ~std::uint64_t{7};
  if (size == 4) {
    const std::uint64_t half = std::uint64_t{0xffffffffu} << shift_of(offset);
    value = (read_register(base) & ~half) | ((value << shift_of(offset)) & half);
  }
  write_register(base, value);
  return vm_mem::AccessFault::kNone;
}

void Clint::update() {
  if (clock_->ticks() >= deadline_) {
    pins_->raise(Interrupt::kTimer);
  } else {
    pins_->lower(Interrupt::kTimer);
  }
}

std::uint64_t Clint::ticks_left() const {
  if (deadline_ == UINT64_MAX) return UINT64_MAX;
  const std::uint64_t now = clock_->ticks();
  return now >= deadline_ ? 0 : deadline_ - now;
}

}  // namespace vmrun
