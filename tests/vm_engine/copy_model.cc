#include "tests/vm_engine/copy_model.h"

namespace vm_test {
namespace {

constexpr std::uint64_t kNoGpa = ~std::uint64_t{0};
constexpr std::uint32_t kOverlap = 3u << 12;

std::uint64_t page_of(std::uint64_t address) { return address / kPage * kPage; }

bool is_rom(std::uint64_t gpa) { return gpa - Machine::kRom < 2 * kPage; }

}  // namespace

std::ostream& operator<<(std::ostream& out, const Operation& operation) {
  return out << "kind " << static_cast<int>(operation.kind) << std::hex << " dst "
             << operation.destination << " src " << operation.source << " n " << std::dec
             << operation.bytes << std::hex << " flags " << operation.flags << std::dec;
}

std::ostream& operator<<(std::ostream& out, const Fault& fault) {
  return out << "rc " << fault.rc << " access " << fault.access << " side " << fault.side
             << std::hex << " gva " << fault.gva << " gpa " << fault.gpa << " of " << fault.acc_gva
             << std::dec << "+" << fault.acc_size << " done " << fault.done;
}

CopyModel::CopyModel(const PageTable& table, Machine& machine) : table_(table) {
  const auto add = [&](std::uint64_t from, unsigned pages) {
    for (unsigned i = 0; i < pages; ++i) {
      memory_[from + i * kPage] = machine.bytes(from + i * kPage, kPage);
    }
  };
  add(Machine::kRam, 8);
  add(Machine::kTracked, 4);
  add(Machine::kRom, 2);
  add(Machine::kBehind, 2);
}

bool CopyModel::is_device(std::uint64_t gpa) { return gpa - Machine::kDevice < 2 * kPage; }

unsigned CopyModel::piece_at(std::uint64_t gpa, std::uint64_t left) {
  unsigned piece = 8;
  while (piece > left || gpa % piece != 0) piece /= 2;
  return piece;
}

bool CopyModel::valid(const Operation& operation) const {
  return element_ <= 8 && operation.bytes % element_ == 0 && operation.flags < (3u << 18) &&
         (operation.flags & kOverlap) != kOverlap && (operation.flags & 0x88) == 0;
}

std::uint64_t CopyModel::run(const Operation& operation, std::vector<std::byte>& host) {
  now_ = operation;
  element_ = std::uint64_t{1} << ((operation.flags >> VME_ELEM_SHIFT) & 7);
  fault_ = {};
  if (operation.bytes == 0) return 0;
  if (!valid(operation)) {
    fail(VME_EINVAL, sides().front(), 0, sides().front().gva, kNoGpa);
    return operation.bytes;
  }
  const bool atomic = (operation.flags & VME_ATOMIC_OR_NOTHING) != 0;
  devices_allowed_ = (operation.flags & VME_NO_MMIO) == 0 && !atomic && !against_its_order();
  const bool poll = (operation.flags & VME_POLL) != 0 && !atomic && !against_its_order();
  const std::uint64_t count = operation.bytes / element_;
  const Memory before = memory_;
  const bool live = (operation.flags & kOverlap) == VME_OVERLAP_PROPAGATE;
  if (atomic) {
    for (std::uint64_t i = 0; i < count; ++i) {
      if (!reachable_element(offset_of(i))) return operation.bytes;
    }
  }
  for (std::uint64_t i = 0; i < count; ++i) {
    if (poll && exit_requested && i != 0 && begins_step(i)) {
      const Side side = sides().front();
      fail(VME_INTR, side, offset_of(i), side.gva + offset_of(i), kNoGpa);
      fault_.done = i * element_;
      return operation.bytes - i * element_;
    }
    if (!transfer(offset_of(i), live ? memory_ : before, host)) {
      fault_.done = i * element_;
      return operation.bytes - i * element_;
    }
  }
  return 0;
}

bool CopyModel::against_its_order() const {
  if (now_.kind != Kind::kCopy || (now_.flags & kOverlap) != VME_OVERLAP_MEMMOVE) return false;
  const bool up = (now_.flags & VME_BACKWARD) == 0;
  const std::uint64_t ahead = up ? now_.destination - now_.source : now_.source - now_.destination;
  return ahead != 0 && ahead < now_.bytes;
}

std::uint64_t CopyModel::offset_of(std::uint64_t index) const {
  const bool up = (now_.flags & VME_BACKWARD) == 0;
  return up ? index * element_ : now_.bytes - (index + 1) * element_;
}

bool CopyModel::begins_step(std::uint64_t index) const {
  for (const Side& side : sides()) {
    const std::uint64_t here = side.gva + offset_of(index);
    const std::uint64_t before = side.gva + offset_of(index - 1);
    const std::uint64_t page = page_of(here);
    if (page_of(here + element_ - 1) != page || page_of(before) != page ||
        page_of(before + element_ - 1) != page) {
      return true;
    }
  }
  return false;
}

std::vector<CopyModel::Side> CopyModel::sides() const {
  const Side source{now_.source, VME_ACCESS_READ, VME_SIDE_SOURCE};
  const Side destination{now_.destination, VME_ACCESS_WRITE, VME_SIDE_DESTINATION};
  if (now_.kind == Kind::kCopy) return {source, destination};
  return {now_.kind == Kind::kRead ? source : destination};
}

bool CopyModel::fail(std::uint32_t rc, const Side& side, std::uint64_t offset, std::uint64_t at,
                     std::uint64_t gpa) {
  fault_ = Fault{rc, side.access, side.side, at, gpa, side.gva + offset, element_, 0};
  return false;
}

std::optional<std::uint64_t> CopyModel::translate(std::uint64_t gva) const {
  const auto found = table_.pages.find(page_of(gva));
  if (found == table_.pages.end()) return std::nullopt;
  return found->second.gpa + gva % kPage;
}

bool CopyModel::reachable(const Side& side, std::uint64_t offset) {
  for (std::uint64_t k = 0; k < element_; ++k) {
    const std::uint64_t at = side.gva + offset + k;
    const auto gpa = translate(at);
    if (!gpa.has_value()) return fail(VME_XLAT, side, offset, at, kNoGpa);
    if ((table_.pages.at(page_of(at)).permitted & side.access) == 0) {
      return fail(VME_PROT, side, offset, at, kNoGpa);
    }
    if (is_device(*gpa)) {
      if (!devices_allowed_) return fail(VME_MMIO, side, offset, at, *gpa);
      continue;
    }
    if (!memory_.contains(page_of(*gpa))) return fail(VME_UNMAPPED, side, offset, at, *gpa);
    if (is_rom(*gpa) && side.access == VME_ACCESS_WRITE) {
      return fail(VME_PROT, side, offset, at, *gpa);
    }
  }
  return true;
}

bool CopyModel::reachable_element(std::uint64_t offset) {
  for (const Side& side : sides()) {
    if (!reachable(side, offset)) return false;
  }
  return true;
}

bool CopyModel::get(const Side& side, std::uint64_t offset, const Memory& from, Value& value) {
  for (std::uint64_t k = 0; k < element_;) {
    const std::uint64_t gpa = *translate(side.gva + offset + k);
    if (!is_device(gpa)) {
      value[k++] = from.at(page_of(gpa))[gpa % kPage];
      continue;
    }
    const unsigned piece = piece_at(gpa, element_ - k);
    std::uint64_t bits = 0;
    if (device_.mmio_read(gpa - Machine::kDevice, piece, bits) != vm_mem::AccessFault::kNone) {
      return fail(VME_MMIO, side, offset, side.gva + offset + k, gpa);
    }
    for (unsigned i = 0; i < piece; ++i) value[k++] = static_cast<std::byte>(bits >> (8 * i));
  }
  return true;
}

bool CopyModel::put(const Side& side, std::uint64_t offset, const Value& value) {
  for (std::uint64_t k = 0; k < element_;) {
    const std::uint64_t gpa = *translate(side.gva + offset + k);
    if (!is_device(gpa)) {
      memory_.at(page_of(gpa))[gpa % kPage] = value[k++];
      continue;
    }
    const unsigned piece = piece_at(gpa, element_ - k);
    std::uint64_t bits = 0;
    for (unsigned i = 0; i < piece; ++i) {
      bits |= std::to_integer<std::uint64_t>(value[k + i]) << (8 * i);
    }
    if (device_.mmio_write(gpa - Machine::kDevice, piece, bits) != vm_mem::AccessFault::kNone) {
      return fail(VME_MMIO, side, offset, side.gva + offset + k, gpa);
    }
    k += piece;
  }
  return true;
}

bool CopyModel::transfer(std::uint64_t offset, const Memory& source_memory,
                         std::vector<std::byte>& host) {
  if (!reachable_element(offset)) return false;
  Value value(element_);
  for (std::uint64_t k = 0; k < element_; ++k) {
    value[k] = now_.kind == Kind::kWrite ? host[offset + k]
                                         : static_cast<std::byte>(now_.pattern >> (8 * k));
  }
  const bool reads = now_.kind == Kind::kCopy || now_.kind == Kind::kRead;
  if (reads && !get(sides().front(), offset, source_memory, value)) return false;
  if (now_.kind != Kind::kRead) return put(sides().back(), offset, value);
  for (std::uint64_t k = 0; k < element_; ++k) host[offset + k] = value[k];
  return true;
}

}  // namespace vm_test
