#include "tools/vmrun/clint.h"

#include <utility>

namespace vmrun {
namespace {

constexpr std::uint64_t kDeadlines = 0x4000;
constexpr std::uint64_t kTime = 0xbff8;

constexpr unsigned shift_of(std::uint64_t offset) { return (offset & 4) != 0 ? 32 : 0; }

}  // namespace

Clint::Clint(const std::vector<Port>& ports, std::function<void()> rearmed)
    : rearmed_(std::move(rearmed)) {
  for (const Port& port : ports) harts_.push_back({.port = port});
}

// Registers are looked at eight bytes at a time: two harts' msip.
std::uint64_t Clint::software_pair(std::uint64_t first) const {
  std::uint64_t value = 0;
  for (std::uint64_t i = 0; i < 2 && first + i < harts_.size(); ++i) {
    value |= std::uint64_t{harts_[first + i].software} << (32 * i);
  }
  return value;
}

void Clint::set_software_pair(std::uint64_t first, std::uint64_t value) {
  for (std::uint64_t i = 0; i < 2 && first + i < harts_.size(); ++i) {
    Hart& hart = harts_[first + i];
    hart.software = (value >> (32 * i) & 1) != 0;
    drive_software(hart);
  }
}

void Clint::drive_software(const Hart& hart) {
  if (hart.software) {
    hart.port.pins->raise(Interrupt::kSoftware);
  } else {
    hart.port.pins->lower(Interrupt::kSoftware);
  }
}

std::uint64_t Clint::read_register(std::uint64_t offset) const {
  if (offset < kDeadlines) return software_pair(offset / 4);
  if (offset == kTime) return harts_[running_].port.clock->ticks();
  const std::uint64_t hart = (offset - kDeadlines) / 8;
  return hart < harts_.size() ? harts_[hart].deadline : 0;
}

void Clint::write_register(std::uint64_t offset, std::uint64_t value) {
  const std::uint64_t hart = (offset - kDeadlines) / 8;
  if (offset < kDeadlines) {
    set_software_pair(offset / 4, value);
  } else if (offset == kTime) {
    for (Hart& each : harts_) each.port.clock->set_ticks(value);
  } else if (hart < harts_.size()) {
    harts_[hart].deadline = value;
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

template <typename Archive, typename Self>
void Clint::fields(Archive& archive, Self& self) {
  for (auto& hart : self.harts_) archive(hart.deadline, hart.software);
}

void Clint::save(vm_device::StateWriter& to) const { fields(to, *this); }

void Clint::load(vm_device::StateReader& from) {
  fields(from, *this);
  for (const Hart& hart : harts_) drive_software(hart);
  update();
}

void Clint::update() {
  for (const Hart& hart : harts_) {
    if (hart.port.clock->ticks() >= hart.deadline) {
      hart.port.pins->raise(Interrupt::kTimer);
    } else {
      hart.port.pins->lower(Interrupt::kTimer);
    }
  }
}

std::uint64_t Clint::ticks_left(std::size_t hart) const {
  const std::uint64_t deadline = harts_[hart].deadline;
  if (deadline == UINT64_MAX) return UINT64_MAX;
  const std::uint64_t now = harts_[hart].port.clock->ticks();
  return now >= deadline ? 0 : deadline - now;
}

}  // namespace vmrun
