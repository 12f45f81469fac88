#include "vm_engine/internal/a64_frame.h"

#include <bit>

namespace vm_engine::internal::aarch64 {
namespace {

namespace a64 = asmjit::a64;

// x18 too: where it is not the platform's, a callee may use it. Of v8 to v15 a callee
// keeps the low halves only.
constexpr RegSet kChangedByCalls = kCallerSavedA64 | reg_bit(Reg::kX18);
constexpr VectorSet kVectorsChangedByCalls = kAllVectors;

constexpr std::uint32_t kSlotBytes = 32;  // three words, and sp stays a multiple of 16
constexpr std::int32_t kPairReach = 504;  // the largest offset of a pair of x registers

std::uint32_t round_up(std::uint32_t bytes) { return (bytes + 15) / 16 * 16; }

std::uint32_t words_in(RegSet regs) {
  return round_up(static_cast<std::uint32_t>(std::popcount(regs)) * 8);
}

}  // namespace

RegSet needed(const EmitConfig& config) {
  if (config.address_mode == AddressMode::kHostPointer) return 0;
  const bool arena = config.address_mode == AddressMode::kFastmem;
  return reg_bit(config.cpu) | (arena ? reg_bit(config.fastmem_base) : 0);
}

A64Frame::A64Frame(const EmitConfig& config, RegSet also, std::uint32_t room)
    : regs_(kChangedByCalls & (~config.scratch | needed(config) | also)),
      vectors_(kVectorsChangedByCalls & ~config.scratch_vectors),
      room_(round_up(room)),
      bytes_(room_ + kSlotBytes + words_in(regs_) +
             static_cast<std::uint32_t>(std::popcount(vectors_)) * 16 +
             round_up(config.red_zone_bytes)) {}

void A64Frame::enter(A64Code& code) const {
  code.add_to_sp(-static_cast<std::int32_t>(bytes_));
  move_registers(code, Way::kSave, 0);
  move_vectors(code, Way::kSave);
}

void A64Frame::leave(A64Code& code, RegSet except) const {
  move_vectors(code, Way::kRestore);
  move_registers(code, Way::kRestore, except);
  code.add_to_sp(static_cast<std::int32_t>(bytes_));
}

void A64Frame::move_registers(A64Code& code, Way way, RegSet except) const {
  a64::Assembler& assembler = code.assembler;
  auto offset = static_cast<std::int32_t>(room_ + kSlotBytes);
  for (RegSet left = regs_; left != 0; offset += 16) {
    const auto first = a64::x(take_lowest(left));
    const bool alone = left == 0;
    const auto second = alone ? first : a64::x(take_lowest(left));
    const a64::Mem at = a64::ptr(a64::sp, offset);
    const bool wants_first = (except >> first.id() & 1) == 0;
    const bool wants_second = !alone && (except >> second.id() & 1) == 0;
    if (wants_first && wants_second && offset <= kPairReach) {
      way == Way::kSave ? assembler.stp(first, second, at) : assembler.ldp(first, second, at);
      continue;
    }
    const a64::Mem next = a64::ptr(a64::sp, offset + 8);
    if (wants_first) way == Way::kSave ? assembler.str(first, at) : assembler.ldr(first, at);
    if (wants_second) way == Way::kSave ? assembler.str(second, next) : assembler.ldr(second, next);
  }
}

void A64Frame::move_vectors(A64Code& code, Way way) const {
  a64::Assembler& assembler = code.assembler;
  auto offset = static_cast<std::int32_t>(room_ + kSlotBytes + words_in(regs_));
  for (VectorSet left = vectors_; left != 0; offset += 32) {
    const a64::VecV first = a64::v(take_lowest(left));
    const a64::Mem at = a64::ptr(a64::sp, offset);
    if (left == 0) {
      way == Way::kSave ? assembler.str(first, at) : assembler.ldr(first, at);
      return;
    }
    const a64::VecV second = a64::v(take_lowest(left));
    way == Way::kSave ? assembler.stp(first, second, at) : assembler.ldp(first, second, at);
  }
}

}  // namespace vm_engine::internal::aarch64
