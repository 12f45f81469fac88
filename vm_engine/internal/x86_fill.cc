// Fills: the byte is spread over a word or a vector, which is stored as often as it takes.
// Where stores may fault each has a landing pad of its own, so that no byte is filled twice.
#include <vector>

#include "vm_engine/internal/x86_address.h"
#include "vm_engine/internal/x86_copy.h"
#include "vm_engine/internal/x86_fragment.h"
#include "vm_engine/internal/x86_host_copy.h"
#include "vm_engine/internal/x86_plan.h"
#include "vm_engine/vm_engine.h"

namespace vm_engine::internal {
namespace {

namespace x86 = asmjit::x86;

constexpr std::uint64_t kEveryByte = 0x0101010101010101;

// Puts the byte into `word`, all of its bytes where `multiplier` is given.
void put_byte(X86Code& code, FillByte value, Reg word, std::optional<Reg> multiplier) {
  if (!value.in_register()) {
    code->mov(gp(word), value.byte() * (multiplier ? kEveryByte : 1));
    return;
  }
  code->movzx(gp(word, 4), gp(value.reg(), 1));
  if (!multiplier) return;
  code->mov(gp(*multiplier), kEveryByte);
  code->imul(gp(word), gp(*multiplier));
}

// The byte of `word`, or with kSse2 the whole of it, all over a vector.
void broadcast(X86Code& code, VectorLevel level, unsigned vector, Reg word, unsigned width) {
  if (level == VectorLevel::kSse2) {
    code->movq(x86::xmm(vector), gp(word));
    code->punpcklqdq(x86::xmm(vector), x86::xmm(vector));
    return;
  }
  const x86::Vec whole = width == 64   ? x86::Vec(x86::zmm(vector))
                         : width == 32 ? x86::Vec(x86::ymm(vector))
                                       : x86::Vec(x86::xmm(vector));
  if (level == VectorLevel::kAvx512) {
    code->emit(x86::Inst::kIdVpbroadcastb, whole, gp(word, 4));
    return;
  }
  code->vmovd(x86::xmm(vector), gp(word, 4));
  code->emit(x86::Inst::kIdVpbroadcastb, whole, x86::xmm(vector));
}

class Fill {
 public:
  Fill(const EmitConfig& config, const FillRequest& request, Fragment& made)
      : config_(config), request_(request), out_(config, made) {}

  absl::Status in_line(RegSet free) {
    const std::uint64_t bytes = request_.size.bytes();
    const GuestRange range{request_.dst, bytes, VME_ACCESS_WRITE, VME_SIDE_DESTINATION};
    const Reg temporary = take_lowest_reg(free);
    const HostOperand place = address_of(out_, config_, range, free, temporary);
    const Reg word = take_lowest_reg(free);
    if (bytes < 16) {
      put_byte(out_.hot, request_.value, word, temporary);
      store_words(range, place, word);
    } else {
      store_vectors(range, place, word, temporary);
    }
    if (is_guest(config_)) slow_fill(temporary);
    return out_.finish();
  }

  absl::Status by_helper(std::uint64_t helper) {
    if (config_.address_mode > AddressMode::kGuest) {
      out_.to_slow(out_.hot.jump());
      fill_rest(std::nullopt);
      return out_.finish();
    }
    const bool guest = config_.address_mode == AddressMode::kGuest;
    const RegSet result = guest ? reg_bit(config_.result) : 0;
    const X86Frame frame(config_, free_registers(config_, 0) | result);
    frame.enter(out_.hot);
    frame.clear_upper(out_.hot);
    if (guest) {
      put_arguments(out_.hot, std::nullopt);
    } else {
      put_host_arguments();
    }
    out_.hot->mov(x86::rax, helper);
    out_.hot->call(x86::rax);
    if (guest && config_.result != Reg::kRax) out_.hot->mov(gp(config_.result), x86::rax);
    frame.leave(out_.hot);
    return out_.finish();
  }

 private:
  void store_words(const GuestRange& range, const HostOperand& place, Reg word) {
    std::uint64_t done = 0;
    for (const unsigned piece : {8u, 4u, 2u, 1u}) {
      if ((range.bytes & piece) == 0) continue;
      note_store(range, piece, done);
      out_.hot.store_word(place.at(done, piece), word);
      done += piece;
    }
  }

  void store_vectors(const GuestRange& range, const HostOperand& place, Reg word, Reg temporary) {
    const Pieces pieces = pieces_of(range.bytes, config_.level);
    VectorPool pool(config_);
    const unsigned vector = pool.take();
    const bool whole_word = config_.level == VectorLevel::kSse2;
    put_byte(out_.hot, request_.value, word,
             whole_word ? std::optional<Reg>(temporary) : std::nullopt);
    broadcast(out_.hot, config_.level, vector, word, pieces.width);
    for (unsigned i = 0; i < pieces.count; ++i) {
      note_store(range, pieces.width, std::uint64_t{i} * pieces.width);
      out_.hot.store_vector(place.at(pieces.offset(i, range.bytes), pieces.width), vector);
    }
    end_vectors(out_.hot, config_, pool, pieces.width);
  }

  void note_store(const GuestRange& range, unsigned bytes, std::uint64_t done) {
    out_.site(range, bytes, done);
    done_before_.push_back(done);
  }

  // `done` says how far it got, at each of the pads.
  void slow_fill(Reg done) {
    X86Code& code = out_.slow;
    const asmjit::Label common = code->newLabel();
    const std::size_t pads = has_sites(config_) ? out_.sites() : 1;
    for (std::size_t i = 0; i < pads; ++i) {
      out_.pad(i, i);
      code->mov(gp(done, 4), static_cast<std::uint32_t>(done_before_[i]));
      if (i + 1 < pads) code->jmp(common);
    }
    code->bind(common);
    fill_rest(done);
  }

  void fill_rest(std::optional<Reg> done) {
    const X86Frame frame(config_, free_registers(config_, 0));
    frame.enter(out_.slow);
    put_arguments(out_.slow, done);
    out_.call(frame, config_.helpers.fill);
    out_.exit_if(frame, Reg::kRax, done ? request_.size.bytes() : 0);
    frame.leave(out_.slow);
    out_.back();
  }

  // Of vme_fill.
  void put_arguments(X86Code& code, std::optional<Reg> done) {
    const CopySize size = request_.size;
    X86Code::Moves moves{{Reg::kRdi, config_.cpu}, {Reg::kRsi, request_.dst}};
    if (request_.value.in_register()) moves.emplace_back(Reg::kRdx, request_.value.reg());
    if (done) moves.emplace_back(Reg::kRcx, *done);
    if (size.in_register()) moves.emplace_back(Reg::kRcx, size.reg());
    code.move_together(moves);
    const FillByte value = request_.value.in_register() ? FillByte::in(Reg::kRdx) : request_.value;
    put_byte(code, value, Reg::kRdx, Reg::kRax);
    if (done) {
      code->add(x86::rsi, x86::rcx);
      code->neg(x86::rcx);
      code->add(x86::rcx, static_cast<std::int32_t>(size.bytes()));
    } else if (!size.in_register()) {
      code->mov(x86::rcx, size.bytes());
    } else if (size.is_low_half()) {
      code->mov(x86::ecx, x86::ecx);
    }
    code->mov(x86::r8d, config_.flags);
  }

  // Of memset_raw.
  void put_host_arguments() {
    const CopySize size = request_.size;
    X86Code::Moves moves{{Reg::kRdi, request_.dst}};
    if (request_.value.in_register()) moves.emplace_back(Reg::kRsi, request_.value.reg());
    if (size.in_register()) moves.emplace_back(Reg::kRdx, size.reg());
    out_.hot.move_together(moves);
    if (!request_.value.in_register()) out_.hot->mov(x86::esi, request_.value.byte());
    if (!size.in_register()) out_.hot->mov(x86::rdx, size.bytes());
    if (size.is_low_half()) out_.hot->mov(x86::edx, x86::edx);
  }

  const EmitConfig& config_;
  const FillRequest& request_;
  X86Fragment out_;
  std::vector<std::uint64_t> done_before_;  // each store
};

}  // namespace

absl::Status x86_fill(const EmitConfig& config, const FillRequest& request, Fragment& made) {
  const bool guest = is_guest(config);
  const RegSet free = free_registers(config, operands_of(request));
  const Plan plan = request.size.in_register() ? Plan{EmitForm::kCall, ""}
                                               : x86_plan_fill(config, request.size.bytes(), free);
  if (plan.form == EmitForm::kNothing) return x86_copy_nothing(config, made);
  const std::uint64_t helper = guest ? config.helpers.fill : config.helpers.memset_raw;
  const bool called = guest || plan.form == EmitForm::kCall;
  if (called && helper == 0) {
    return absl::InvalidArgumentError("the address of vme_fill or memset_raw is not given");
  }
  Fill fill(config, request, made);
  return plan.form == EmitForm::kCall ? fill.by_helper(helper) : fill.in_line(free);
}

}  // namespace vm_engine::internal
