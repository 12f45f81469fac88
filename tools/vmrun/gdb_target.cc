#include "tools/vmrun/gdb_target.h"

#include <algorithm>
#include <array>
#include <bit>
#include <span>
#include <utility>

#include "tools/vmrun/gdb_registers.h"
#include "tools/vmrun/mmu.h"

namespace vmrun {
namespace {

using vm_mem::GuestAddress;

constexpr std::uint64_t kPageBytes = 4096;

constexpr unsigned bit_of(BreakpointKind kind) { return 1u << static_cast<unsigned>(kind); }

// What of `bytes` from `address` on lies within its page.
std::size_t piece_of(std::uint64_t address, std::size_t bytes) {
  return std::min<std::size_t>(bytes, kPageBytes - address % kPageBytes);
}

}  // namespace

// Only memory: a device would notice.
std::optional<std::uint64_t> GdbTarget::entry_at(std::uint64_t at) {
  std::array<std::byte, sizeof(std::uint64_t)> bytes;
  if (!reader_.try_read(GuestAddress{at}, bytes)) return std::nullopt;
  return std::bit_cast<std::uint64_t>(bytes);
}

std::optional<std::uint64_t> GdbTarget::physical(std::size_t hart, std::uint64_t address) {
  static_cast<void>(reader_.map());  // it may be another one by now
  return look_up(machine_->hart(hart).state(), address,
                 [this](std::uint64_t at) { return entry_at(at); });
}

bool GdbTarget::write_register(std::size_t hart, std::uint64_t number, std::uint64_t value) {
  const bool written = write_gdb_register(machine_->hart(hart), number, value);
  if (written && number == kGdbPc) machine_->wake(hart);
  return written;
}

bool GdbTarget::read_piece(std::uint64_t at, std::span<std::byte> bytes) {
  if (reader_.try_read(GuestAddress{at}, bytes)) return true;
  if (devices_ == DeviceAccess::kRefused) return false;
  return machine_->memory().read(GuestAddress{at}, bytes).ok();
}

bool GdbTarget::write_piece(std::uint64_t at, std::span<const std::byte> bytes) {
  std::array<std::byte, kPageBytes> before;
  const bool is_memory = reader_.try_read(GuestAddress{at}, std::span(before).first(bytes.size()));
  if (!is_memory && devices_ == DeviceAccess::kRefused) return false;
  return machine_->memory().write(GuestAddress{at}, bytes).ok();
}

std::string GdbTarget::read_memory(std::size_t hart, std::uint64_t address, std::size_t bytes) {
  std::string out;
  while (out.size() < bytes) {
    const std::uint64_t next = address + out.size();
    const std::size_t piece = piece_of(next, bytes - out.size());
    const auto at = physical(hart, next);
    std::string read(piece, '\0');
    if (!at || !read_piece(*at, std::as_writable_bytes(std::span(read)))) break;
    out += read;
  }
  return out;
}

bool GdbTarget::write_memory(std::size_t hart, std::uint64_t address, std::string_view bytes) {
  bool written = true;
  while (written && !bytes.empty()) {
    const std::size_t piece = piece_of(address, bytes.size());
    const auto at = physical(hart, address);
    written = at && write_piece(*at, std::as_bytes(std::span(bytes.substr(0, piece))));
    address += piece;
    bytes.remove_prefix(piece);
  }
  // It may have been code, or a page table.
  for (std::size_t number = 0; number < machine_->hart_count(); ++number) {
    machine_->hart(number).forget_code();
    machine_->hart(number).forget_translations();
  }
  return written;
}

bool GdbTarget::insert(BreakpointKind kind, std::uint64_t address) {
  const bool known = breakpoints_.contains(address);
  if (address % 2 != 0 || (!known && breakpoints_.size() == kMostBreakpoints)) return false;
  breakpoints_[address] |= bit_of(kind);
  return true;
}

void GdbTarget::remove(BreakpointKind kind, std::uint64_t address) {
  const auto found = breakpoints_.find(address);
  if (found == breakpoints_.end()) return;
  found->second &= ~bit_of(kind);
  if (found->second == 0) breakpoints_.erase(found);
}

std::optional<BreakpointKind> GdbTarget::breakpoint_at(std::uint64_t address) const {
  const auto found = breakpoints_.find(address);
  if (found == breakpoints_.end()) return std::nullopt;
  const bool software = (found->second & bit_of(BreakpointKind::kSoftware)) != 0;
  return software ? BreakpointKind::kSoftware : BreakpointKind::kHardware;
}

void GdbTarget::arm() {
  Breakpoints wanted;
  for (const auto& [address, kinds] : breakpoints_) wanted.insert(address);
  machine_->set_breakpoints(std::move(wanted));
}

}  // namespace vmrun
