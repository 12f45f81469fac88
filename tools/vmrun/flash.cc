#include "tools/vmrun/flash.h"

#include <array>
#include <bit>

#include "tools/vmrun/layout.h"

namespace vmrun {
namespace {

constexpr std::uint64_t kBankWidth = 4;
constexpr std::uint64_t kChips = 2;
constexpr std::uint64_t kBlocks = 128;
constexpr std::uint64_t kChipBytes = kFlashBytes / kChips;
constexpr std::uint64_t kChipBlockBytes = kChipBytes / kBlocks;

constexpr std::uint8_t kReady = 0x80;
constexpr std::uint8_t kEraseError = 0x20;
constexpr std::uint8_t kProgramError = 0x10;
constexpr std::uint8_t kBlockLocked = 0x02;

constexpr std::uint64_t kQueryBase = 0x10;

// What a chip answers to the query, from kQueryBase on.
constexpr std::array<std::uint8_t, 0x30> kQueryTable = {
    'Q',
    'R',
    'Y',
    0x01,
    0x00,
    0x31,
    0x00,
    0,
    0,
    0,
    0,  // Intel's command set, its table at 0x31
    0x45,
    0x55,
    0,
    0,  // supply: 4.5 to 5.5 V
    0x07,
    0x07,
    0x0a,
    0,
    0x04,
    0x04,
    0x04,
    0,  // typical and longest times
    static_cast<std::uint8_t>(std::countr_zero(kChipBytes)),
    0x02,
    0,  // x8 and x16
    0x0b,
    0,  // buffer of 2^11 bytes
    1,
    kBlocks - 1,
    0,
    (kChipBlockBytes >> 8) & 0xff,
    kChipBlockBytes >> 16,
    'P',
    'R',
    'I',
    '1',
    '0',
    0,
    0,
    0,
    0,
    0,
    0,
    0,
    0,
    0,
    1};

constexpr std::uint16_t kManufacturer = 0x89;
constexpr std::uint16_t kDevice = 0x18;
constexpr std::uint16_t kLocked = 1;

std::uint16_t identifier(std::uint64_t chip_offset) {
  switch (chip_offset & 0xff) {
    case 0: return kManufacturer;
    case 1: return kDevice;
    case 2: return kLocked;
    default: return 0;
  }
}

std::uint16_t query(std::uint64_t chip_offset) {
  const std::uint64_t index = (chip_offset & 0xff) - kQueryBase;
  return index < kQueryTable.size() ? kQueryTable[index] : 0;
}

}  // namespace

std::uint16_t Flash::chip_value(std::uint64_t chip_offset) const {
  switch (mode_) {
    case Mode::kIdentifier: return identifier(chip_offset);
    case Mode::kQuery: return query(chip_offset);
    case Mode::kStatus: return status_;
    default: return 0xffff;
  }
}

void Flash::save(vm_device::StateWriter& to) const {
  to.choice(mode_, Mode::kStatus);
  to(status_);
}

void Flash::load(vm_device::StateReader& from) {
  from.choice(mode_, Mode::kStatus);
  from(status_);
}

vm_mem::AccessFault Flash::mmio_read(std::uint64_t offset, unsigned size, std::uint64_t& value) {
  const std::uint64_t chip = chip_value(offset / kBankWidth);
  const std::uint64_t bus = chip * 0x0001'0001'0001'0001;
  const unsigned shift = 8 * static_cast<unsigned>(offset % 2);
  value = size == 8 ? bus : (bus >> shift) & ((std::uint64_t{1} << (8 * size)) - 1);
  return vm_mem::AccessFault::kNone;
}

vm_mem::AccessFault Flash::mmio_write(std::uint64_t, unsigned, std::uint64_t value) {
  switch (value & 0xff) {
    case 0x98: mode_ = Mode::kQuery; break;
    case 0x90: mode_ = Mode::kIdentifier; break;
    case 0x70: mode_ = Mode::kStatus; break;
    case 0x50: status_ = kReady; break;
    case 0x20:  // erase
      mode_ = Mode::kStatus;
      status_ = kReady | kEraseError | kBlockLocked;
      break;
    case 0x10:  // program, in either way, and through the buffer
    case 0x40:
    case 0xe8:
      mode_ = Mode::kStatus;
      status_ = kReady | kProgramError | kBlockLocked;
      break;
    case 0xd0:  // confirmation of what was refused
    case 0x01: break;
    default: mode_ = Mode::kArray; break;
  }
  return vm_mem::AccessFault::kNone;
}

}  // namespace vmrun
