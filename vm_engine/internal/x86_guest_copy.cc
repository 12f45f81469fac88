// Copies between guest virtual addresses. In line they load everything before they store:
// what overlaps is copied as if through a buffer. A store that faults has lost
// the source where both overlap, so what is left is written from the registers: one landing
// pad per store.
#include <bit>
#include <utility>

#include "vm_engine/internal/x86_address.h"
#include "vm_engine/internal/x86_copy.h"
#include "vm_engine/internal/x86_fragment.h"
#include "vm_engine/internal/x86_host_copy.h"
#include "vm_engine/internal/x86_plan.h"
#include "vm_engine/vm_engine.h"

namespace vm_engine::internal {
namespace {

namespace x86 = asmjit::x86;

// What is in a register meanwhile: a word's or a vector's number.
struct Piece {
  std::uint64_t offset = 0;
  unsigned bytes = 0;
  unsigned reg = 0;
  bool is_word = false;
};

std::vector<Piece> words_of(std::uint64_t bytes, RegSet& free) {
  std::vector<Piece> pieces;
  std::uint64_t offset = 0;
  for (const unsigned word : {8u, 4u, 2u, 1u}) {
    if ((bytes & word) == 0) continue;
    pieces.push_back({offset, word, take_lowest(free), true});
    offset += word;
  }
  return pieces;
}

std::vector<Piece> vectors_of(std::uint64_t bytes, VectorLevel level, VectorPool& pool) {
  const Pieces plan = pieces_of(bytes, level);
  std::vector<Piece> pieces;
  for (unsigned i = 0; i < plan.count; ++i) {
    pieces.push_back({plan.offset(i, bytes), plan.width, pool.take(), false});
  }
  return pieces;
}

void load(X86Code& code, const Piece& piece, const x86::Mem& from) {
  if (piece.is_word) return code.load_word(static_cast<Reg>(piece.reg), from);
  code.load_vector(piece.reg, from);
}
void store(X86Code& code, const Piece& piece, const x86::Mem& to) {
  if (piece.is_word) return code.store_word(to, static_cast<Reg>(piece.reg));
  code.store_vector(to, piece.reg);
}

class GuestCopy {
 public:
  GuestCopy(const EmitConfig& config, const CopyRequest& request, Fragment& made)
      : config_(config), request_(request), out_(config, made) {}

  // In line, with its slow paths.
  absl::Status copy(RegSet free) {
    const std::uint64_t bytes = request_.size.bytes();
    const GuestRange from{request_.src, bytes, VME_ACCESS_READ, VME_SIDE_SOURCE};
    const GuestRange to{request_.dst, bytes, VME_ACCESS_WRITE, VME_SIDE_DESTINATION};
    temporary_ = take_lowest_reg(free);
    const HostOperand source = address_of(out_, config_, from, free, temporary_);
    const HostOperand destination = address_of(out_, config_, to, free, temporary_);
    VectorPool pool(config_);
    pieces_ = bytes < 16 ? words_of(bytes, free) : vectors_of(bytes, config_.level, pool);
    for (const Piece& piece : pieces_) {
      out_.site(from, piece.bytes, 0);
      load(out_.hot, piece, source.at(piece.offset, piece.bytes));
    }
    std::uint64_t done = 0;
    for (const Piece& piece : pieces_) {
      out_.site(to, piece.bytes, done);
      store(out_.hot, piece, destination.at(piece.offset, piece.bytes));
      done = piece.offset + piece.bytes;
    }
    end_vectors(out_.hot, config_, pool, pieces_.front().bytes);
    slow_copy();
    if (has_sites(config_) && pieces_.size() > 1) finish_from_registers();
    return out_.finish();
  }

  // All of it by the helper, out of line.
  absl::Status call() {
    out_.to_slow(out_.hot.jump());
    slow_copy();
    return out_.finish();
  }

 private:
  // From the start: nothing has been stored.
  void slow_copy() {
    const X86Frame frame(config_, free_registers(config_, 0));
    out_.pad(0, pieces_.size());
    frame.enter(out_.slow);
    put_operands(out_.slow, config_, request_);
    out_.call(frame, config_.helpers.copy);
    out_.exit_if(frame, Reg::kRax);
    frame.leave(out_.slow);
    out_.back();
  }

  // The pads say how far it got; the rest of the registers' bytes goes to vme_write.
  void finish_from_registers() {
    X86Code& code = out_.slow;
    const asmjit::Label common = code->newLabel();
    std::uint64_t done = pieces_.front().bytes;
    for (std::size_t i = 1; i < pieces_.size(); ++i) {
      const std::size_t site = pieces_.size() + i;
      out_.pad(site, site);
      code->mov(gp(temporary_, 4), static_cast<std::uint32_t>(done));
      if (i + 1 < pieces_.size()) code->jmp(common);
      done = pieces_[i].offset + pieces_[i].bytes;
    }
    code->bind(common);
    const std::uint64_t bytes = request_.size.bytes();
    const X86Frame frame(config_, free_registers(config_, 0),
                         static_cast<unsigned>((bytes + 15) / 16 * 16));
    frame.enter(code);
    for (const Piece& piece : pieces_) {
      store(code, piece, x86::Mem(x86::rsp, static_cast<std::int32_t>(piece.offset), piece.bytes));
    }
    code.move_together(
        {{Reg::kRdi, config_.cpu}, {Reg::kRsi, request_.dst}, {Reg::kRcx, temporary_}});
    code->add(x86::rsi, x86::rcx);
    code->lea(x86::rdx, x86::ptr(x86::rsp, x86::rcx));
    code->neg(x86::rcx);
    code->add(x86::rcx, static_cast<std::int32_t>(bytes));
    code->mov(x86::r8d, config_.flags);
    out_.call(frame, config_.helpers.write);
    out_.exit_if(frame, Reg::kRax, bytes);
    frame.leave(code);
    out_.back();
  }

 public:
  static void put_operands(X86Code& code, const EmitConfig& config, const CopyRequest& request) {
    const CopySize size = request.size;
    X86Code::Moves moves{
        {Reg::kRdi, config.cpu}, {Reg::kRsi, request.dst}, {Reg::kRdx, request.src}};
    if (size.in_register()) moves.emplace_back(Reg::kRcx, size.reg());
    code.move_together(moves);
    if (!size.in_register()) code->mov(x86::rcx, size.bytes());
    if (size.is_low_half()) code->mov(x86::ecx, x86::ecx);
    code->mov(x86::r8d, config.flags);
  }

 private:
  const EmitConfig& config_;
  const CopyRequest& request_;
  X86Fragment out_;
  Reg temporary_ = Reg::kRax;
  std::vector<Piece> pieces_;
};

// kGuest: a call in line, and the caller looks at the result.
absl::Status copy_by_call(const EmitConfig& config, const CopyRequest& request, Fragment& made) {
  X86Fragment out(config, made);
  const X86Frame frame(config, free_registers(config, 0) | reg_bit(config.result));
  frame.enter(out.hot);
  frame.clear_upper(out.hot);
  GuestCopy::put_operands(out.hot, config, request);
  out.hot->mov(x86::rax, config.helpers.copy);
  out.hot->call(x86::rax);
  if (config.result != Reg::kRax) out.hot->mov(gp(config.result), x86::rax);
  frame.leave(out.hot);
  return out.finish();
}

}  // namespace

absl::Status x86_copy_nothing(const EmitConfig& config, Fragment& made) {
  X86Fragment out(config, made);
  if (config.address_mode == AddressMode::kGuest) out.hot->mov(gp(config.result, 4), 0);
  return out.finish();
}

absl::Status x86_guest_copy(const EmitConfig& config, const CopyRequest& request, EmitForm form,
                            RegSet free, Fragment& made) {
  const bool by_call = config.address_mode == AddressMode::kGuest;
  if (config.helpers.copy == 0 || (!by_call && config.helpers.write == 0)) {
    return absl::InvalidArgumentError("the addresses of vme_copy and vme_write are not given");
  }
  if (by_call) return copy_by_call(config, request, made);
  GuestCopy copy(config, request, made);
  return form == EmitForm::kCall ? copy.call() : copy.copy(free);
}

}  // namespace vm_engine::internal
