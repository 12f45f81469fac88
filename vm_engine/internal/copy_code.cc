#include "vm_engine/internal/copy_code.h"

#include <algorithm>
#include <bit>

namespace vm_engine::internal {
namespace {

namespace x86 = asmjit::x86;

constexpr std::uint64_t kWords[] = {8, 4, 2, 1};

x86::Gp gpq(Reg reg) { return x86::gpq(static_cast<std::uint32_t>(reg)); }

// The register of that width, and the memory operand at base + offset.
x86::Gp word_reg(Reg reg, std::uint64_t bytes) {
  const auto id = static_cast<std::uint32_t>(reg);
  switch (bytes) {
    case 1: return x86::gpb(id);
    case 2: return x86::gpw(id);
    case 4: return x86::gpd(id);
    default: return x86::gpq(id);
  }
}
x86::Mem at(const x86::Gp& base, std::uint64_t offset, std::uint64_t bytes) {
  return x86::Mem(base, static_cast<std::int32_t>(offset), static_cast<std::uint32_t>(bytes));
}

x86::Vec vector_reg(unsigned id, unsigned bytes) {
  if (bytes == 64) return x86::zmm(id);
  if (bytes == 32) return x86::ymm(id);
  return x86::xmm(id);
}

unsigned widest(VectorLevel level) {
  switch (level) {
    case VectorLevel::kAvx2: return 32;
    case VectorLevel::kAvx512: return 64;
    default: return 16;
  }
}

unsigned take_lowest(VectorSet& vectors) {
  const auto vector = static_cast<unsigned>(std::countr_zero(vectors));
  vectors &= vectors - 1;
  return vector;
}

}  // namespace

InlinePlan plan_inline(std::uint64_t bytes, VectorLevel level) {
  if (bytes < 16) return InlinePlan{};
  unsigned width = widest(level);
  while (width > bytes) width /= 2;
  return InlinePlan{.width = width, .count = static_cast<unsigned>((bytes + width - 1) / width)};
}

void CopyCode::copy_words(std::uint64_t bytes, Reg word) {
  std::uint64_t offset = 0;
  for (const std::uint64_t piece : kWords) {
    if ((bytes & piece) == 0) continue;
    // A narrow load widens, so that it does not wait for the register's old value.
    if (piece < 4) {
      a_.movzx(word_reg(word, 4), at(gpq(src_), offset, piece));
    } else {
      a_.mov(word_reg(word, piece), at(gpq(src_), offset, piece));
    }
    a_.mov(at(gpq(dst_), offset, piece), word_reg(word, piece));
    offset += piece;
  }
}

void CopyCode::copy_vectors(std::uint64_t bytes, const InlinePlan& plan, VectorSet vectors) {
  const auto offset_of = [&](unsigned piece) {
    return std::min<std::uint64_t>(std::uint64_t{piece} * plan.width, bytes - plan.width);
  };
  VectorSet loaded = vectors;
  for (unsigned piece = 0; piece < plan.count; ++piece) {
    load(take_lowest(loaded), at(gpq(src_), offset_of(piece), plan.width), plan.width);
  }
  VectorSet stored = vectors;
  for (unsigned piece = 0; piece < plan.count; ++piece) {
    store(at(gpq(dst_), offset_of(piece), plan.width), take_lowest(stored), plan.width);
  }
  const bool all_low = (config_.scratch_vectors & kLowVectors) == kLowVectors;
  if (plan.width > 16 && all_low) a_.vzeroupper();
}

void CopyCode::load(unsigned vector, const x86::Mem& from, unsigned bytes) {
  const x86::Vec reg = vector_reg(vector, bytes);
  if (config_.level == VectorLevel::kSse2) {
    a_.movdqu(reg.as<x86::Xmm>(), from);
  } else if (bytes == 64 || vector >= 16) {
    a_.emit(x86::Inst::kIdVmovdqu64, reg, from);
  } else {
    a_.emit(x86::Inst::kIdVmovdqu, reg, from);
  }
}

void CopyCode::store(const x86::Mem& to, unsigned vector, unsigned bytes) {
  const x86::Vec reg = vector_reg(vector, bytes);
  if (config_.level == VectorLevel::kSse2) {
    a_.movdqu(to, reg.as<x86::Xmm>());
  } else if (bytes == 64 || vector >= 16) {
    a_.emit(x86::Inst::kIdVmovdqu64, to, reg);
  } else {
    a_.emit(x86::Inst::kIdVmovdqu, to, reg);
  }
}

void CopyCode::clear_result() { a_.mov(word_reg(config_.result, 4), 0); }

CopyCode::Frame CopyCode::frame() const {
  const bool guest = config_.address_mode == AddressMode::kGuest;
  const VectorSet existing = config_.level == VectorLevel::kAvx512 ? ~VectorSet{0} : kLowVectors;
  const RegSet changed = guest ? config_.scratch | reg_bit(config_.result) : config_.scratch;
  Frame frame{.regs = static_cast<RegSet>(kCallerSaved & ~changed),
              .vectors = existing & ~config_.scratch_vectors,
              .vector_bytes = widest(config_.level)};
  const auto vector_space =
      static_cast<unsigned>(std::popcount(frame.vectors)) * frame.vector_bytes;
  const unsigned above =
      config_.red_zone_bytes + static_cast<unsigned>(std::popcount(frame.regs)) * 8;
  const unsigned at_call = 16 + config_.rsp_mod_16 - above % 16 - vector_space % 16;
  frame.below = static_cast<std::int32_t>(vector_space + at_call % 16);
  return frame;
}

void CopyCode::enter(const Frame& frame) {
  const auto red_zone = static_cast<std::int32_t>(config_.red_zone_bytes);
  if (red_zone != 0) a_.lea(x86::rsp, x86::ptr(x86::rsp, -red_zone));
  for (unsigned id = 0; id < 16; ++id) {
    if ((frame.regs >> id & 1) != 0) a_.push(x86::gpq(id));
  }
  if (frame.below != 0) a_.lea(x86::rsp, x86::ptr(x86::rsp, -frame.below));
  move_vectors(frame, &CopyCode::save);
  if (frame.vectors != 0 && frame.vector_bytes > 16) a_.vzeroupper();
}

void CopyCode::leave(const Frame& frame) {
  const auto red_zone = static_cast<std::int32_t>(config_.red_zone_bytes);
  move_vectors(frame, &CopyCode::restore);
  if (frame.below != 0) a_.lea(x86::rsp, x86::ptr(x86::rsp, frame.below));
  for (unsigned id = 16; id-- > 0;) {
    if ((frame.regs >> id & 1) != 0) a_.pop(x86::gpq(id));
  }
  if (red_zone != 0) a_.lea(x86::rsp, x86::ptr(x86::rsp, red_zone));
}

void CopyCode::move_vectors(const Frame& frame,
                            void (CopyCode::*move)(unsigned, std::int32_t, unsigned)) {
  std::int32_t offset = 0;
  for (VectorSet left = frame.vectors; left != 0;) {
    (this->*move)(take_lowest(left), offset, frame.vector_bytes);
    offset += static_cast<std::int32_t>(frame.vector_bytes);
  }
}
void CopyCode::save(unsigned vector, std::int32_t offset, unsigned bytes) {
  store(x86::Mem(x86::rsp, offset, bytes), vector, bytes);
}
void CopyCode::restore(unsigned vector, std::int32_t offset, unsigned bytes) {
  load(vector, x86::Mem(x86::rsp, offset, bytes), bytes);
}

// All moves at once: one goes first whose destination nobody reads any more; where
// there is none the rest are cycles, and an exchange shortens one.
void CopyCode::move_together(Moves moves) {
  std::erase_if(moves, [](const auto& move) { return move.first == move.second; });
  while (!moves.empty()) {
    const auto free = std::find_if(moves.begin(), moves.end(), [&](const auto& move) {
      return std::none_of(moves.begin(), moves.end(),
                          [&](const auto& other) { return other.second == move.first; });
    });
    if (free != moves.end()) {
      a_.mov(gpq(free->first), gpq(free->second));
      moves.erase(free);
      continue;
    }
    const auto [to, from] = moves.back();
    moves.pop_back();
    a_.xchg(gpq(to), gpq(from));
    for (auto& move : moves) {
      if (move.second == to) move.second = from;
    }
    std::erase_if(moves, [](const auto& move) { return move.first == move.second; });
  }
}

void CopyCode::call(CopySize size) {
  const bool guest = config_.address_mode == AddressMode::kGuest;
  const Reg size_arg = guest ? Reg::kRcx : Reg::kRdx;
  Moves moves;
  if (guest) moves = {{Reg::kRdi, config_.cpu}, {Reg::kRsi, dst_}, {Reg::kRdx, src_}};
  if (!guest) moves = {{Reg::kRdi, dst_}, {Reg::kRsi, src_}};
  if (size.in_register()) moves.emplace_back(size_arg, size.reg());

  const Frame saved = frame();
  enter(saved);
  move_together(moves);
  if (!size.in_register()) a_.mov(gpq(size_arg), size.bytes());
  if (size.is_low_half()) a_.mov(word_reg(size_arg, 4), word_reg(size_arg, 4));
  if (guest) a_.mov(x86::r8d, config_.flags);
  a_.mov(x86::rax, guest ? config_.helpers.copy : config_.helpers.memcpy_raw);
  a_.call(x86::rax);
  if (guest && config_.result != Reg::kRax) a_.mov(gpq(config_.result), x86::rax);
  leave(saved);
}

}  // namespace vm_engine::internal
