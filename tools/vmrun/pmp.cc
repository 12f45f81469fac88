#include "tools/vmrun/pmp.h"

#include <bit>

#include "vm_engine/vm_engine.h"

namespace vmrun {
namespace {

enum Config : unsigned { kRead = 1, kWrite = 2, kExecute = 4, kModeMask = 0x18, kLocked = 0x80 };
static_assert(kRead == unsigned{VME_ACCESS_READ} && kWrite == unsigned{VME_ACCESS_WRITE} &&
              kExecute == unsigned{VME_ACCESS_EXECUTE});
enum Mode : unsigned { kOff = 0, kTor = 0x08, kNa4 = 0x10, kNapot = 0x18 };

constexpr std::uint32_t kAll = VME_ACCESS_READ | VME_ACCESS_WRITE | VME_ACCESS_EXECUTE;
constexpr std::uint64_t kAddressMask = (std::uint64_t{1} << 54) - 1;
// Addresses are in words of 4 bytes; a page has 1024 of them.
constexpr std::uint64_t kGrainMask = (std::uint64_t{1} << 10) - 1;
// The low ones that a NAPOT address of one page has.
constexpr std::uint64_t kNapotOnes = kGrainMask >> 1;

constexpr unsigned mode_of(unsigned config) { return config & kModeMask; }

bool matches(const Csrs& csrs, unsigned entry, std::uint64_t page) {
  const std::uint64_t word = page >> 2;
  const std::uint64_t address = csrs.pmpaddr[entry];
  switch (mode_of(csrs.pmpcfg[entry])) {
    case kTor: {
      const std::uint64_t begin = entry == 0 ? 0 : csrs.pmpaddr[entry - 1] & ~kGrainMask;
      return word >= begin && word < (address & ~kGrainMask);
    }
    case kNapot: {
      const int ones = std::countr_one(address | kNapotOnes);
      const std::uint64_t within = (std::uint64_t{2} << ones) - 1;
      return ((word ^ address) & ~within) == 0;
    }
    default: return false;
  }
}

// NA4 is smaller than the grain, and W without R is reserved: both leave what was there.
std::uint8_t legal_config(std::uint8_t before, unsigned value) {
  value &= kRead | kWrite | kExecute | kModeMask | kLocked;
  const bool reserved = (value & (kRead | kWrite)) == kWrite || mode_of(value) == kNa4;
  return reserved ? before : static_cast<std::uint8_t>(value);
}

}  // namespace

std::uint32_t pmp_permits(const Csrs& csrs, Privilege privilege, std::uint64_t page) {
  for (unsigned entry = 0; entry < kPmpEntries; ++entry) {
    if (!matches(csrs, entry, page)) continue;
    const unsigned config = csrs.pmpcfg[entry];
    const bool checked = privilege != Privilege::kMachine || (config & kLocked) != 0;
    return checked ? config & kAll : kAll;
  }
  return privilege == Privilege::kMachine ? kAll : 0;
}

std::uint64_t read_pmp_config(const Csrs& csrs, unsigned index) {
  std::uint64_t value = 0;
  for (unsigned i = 0; i < 8 && index + i < kPmpEntries; ++i) {
    value |= std::uint64_t{csrs.pmpcfg[index + i]} << (8 * i);
  }
  return value;
}

void write_pmp_config(Csrs& csrs, unsigned index, std::uint64_t value) {
  for (unsigned i = 0; i < 8 && index + i < kPmpEntries; ++i) {
    std::uint8_t& config = csrs.pmpcfg[index + i];
    if ((config & kLocked) == 0) {
      config = legal_config(config, static_cast<std::uint8_t>(value >> (8 * i)));
    }
  }
}

// The bits below the grain are not the page's: they show the mode.
std::uint64_t read_pmp_address(const Csrs& csrs, unsigned index) {
  if (index >= kPmpEntries) return 0;
  const std::uint64_t address = csrs.pmpaddr[index];
  return mode_of(csrs.pmpcfg[index]) == kNapot ? address | kNapotOnes : address & ~kGrainMask;
}

void write_pmp_address(Csrs& csrs, unsigned index, std::uint64_t value) {
  if (index >= kPmpEntries) return;
  const unsigned next = index + 1 < kPmpEntries ? csrs.pmpcfg[index + 1] : 0u;
  const bool bounds_locked = (next & kLocked) != 0 && mode_of(next) == kTor;
  if ((csrs.pmpcfg[index] & kLocked) != 0 || bounds_locked) return;
  csrs.pmpaddr[index] = value & kAddressMask;
}

}  // namespace vmrun
