// Near stubs. Two move a constant size of a class: the first half of the class from the
// start on, as much again up to the end, every load before the first store. The third
// takes any size: a tree of branches up to 64, those two, and the copy core.
#include <algorithm>
#include <array>
#include <bit>

#include "absl/strings/str_format.h"
#include "vm_engine/internal/x86_copy.h"
#include "vm_engine/internal/x86_fragment.h"
#include "vm_engine/internal/x86_host_copy.h"
#include "vm_engine/internal/x86_plan.h"

namespace vm_engine::internal {
namespace {

namespace x86 = asmjit::x86;

constexpr RegSet kArguments = reg_bit(Reg::kRdi) | reg_bit(Reg::kRsi) | reg_bit(Reg::kRdx);

class StubWriter {
 public:
  StubWriter(const EmitConfig& config, X86Code& code, const Stubs& stubs, RegSet temporaries)
      : config_(config), code_(code), stubs_(stubs), temporaries_(temporaries) {}

  // Sizes from `bytes` / 2 on, in vectors of at most `width`.
  void copy_class(unsigned bytes, unsigned width) {
    VectorPool loads(config_), stores(config_);
    const unsigned half = bytes / 2;
    for (const bool load : {true, false}) {
      const Reg base = load ? stubs_.src : stubs_.dst;
      for (unsigned at = 0; at < half; at += width) {
        move(load, load ? loads.take() : stores.take(), HostOperand{base}.at(at, width));
      }
      for (unsigned at = 0; at < half; at += width) {
        const HostOperand end{.base = base, .index = stubs_.size};
        x86::Mem place = end.at(0, width);
        place.setOffset(static_cast<std::int32_t>(at) - static_cast<std::int32_t>(half));
        move(load, load ? loads.take() : stores.take(), place);
      }
    }
    end_vectors(code_, config_, loads, width);
    code_->ret();
  }

  // `classes`: where the code for 128 and 256 bytes is.
  absl::Status copy_any(const std::array<asmjit::Label, 2>& classes, unsigned widest_half) {
    const asmjit::Label to_16 = code_->newLabel(), more = code_->newLabel();
    const x86::Gp size = gp(stubs_.size);
    code_->cmp(size, 16);
    code_->jb(to_16);
    code_->cmp(size, 64);
    code_->ja(more);
    copy_between(32, std::min(widest_half, 32u));
    copy_class(32, 16);
    code_->bind(to_16);
    copy_words();
    code_->bind(more);
    code_->cmp(size, 128);
    code_->jbe(classes[0]);
    code_->cmp(size, 256);
    code_->jbe(classes[1]);
    return copy_far();
  }

 private:
  void move(bool load, unsigned vector, const x86::Mem& place) {
    if (load) {
      code_.load_vector(vector, place);
    } else {
      code_.store_vector(place, vector);
    }
  }

  // Sizes above `least` to twice that; the others go on behind.
  void copy_between(unsigned least, unsigned width) {
    const asmjit::Label smaller = code_->newLabel();
    code_->cmp(gp(stubs_.size), least);
    code_->jbe(smaller);
    copy_class(2 * least, width);
    code_->bind(smaller);
  }

  // 0 to 15 bytes: two words that overlap, or a byte beside them.
  void copy_words() {
    for (const unsigned word : {8u, 4u, 2u}) {
      const asmjit::Label smaller = code_->newLabel();
      code_->cmp(gp(stubs_.size), word);
      code_->jb(smaller);
      copy_two(word);
      code_->bind(smaller);
    }
    const asmjit::Label nothing = code_->newLabel();
    RegSet temporaries = temporaries_;
    const Reg byte = take_lowest_reg(temporaries);
    code_->test(gp(stubs_.size), gp(stubs_.size));
    code_->jz(nothing);
    code_.load_word(byte, HostOperand{stubs_.src}.at(0, 1));
    code_.store_word(HostOperand{stubs_.dst}.at(0, 1), byte);
    code_->bind(nothing);
    code_->ret();
  }
  void copy_two(unsigned word) {
    RegSet temporaries = temporaries_;
    const Reg first = take_lowest_reg(temporaries), last = take_lowest_reg(temporaries);
    const auto end = [&](Reg base) {
      x86::Mem place = HostOperand{.base = base, .index = stubs_.size}.at(0, word);
      place.setOffset(-static_cast<std::int32_t>(word));
      return place;
    };
    code_.load_word(first, HostOperand{stubs_.src}.at(0, word));
    code_.load_word(last, end(stubs_.src));
    code_.store_word(HostOperand{stubs_.dst}.at(0, word), first);
    code_.store_word(end(stubs_.dst), last);
    code_->ret();
  }

  // The return address lies on the stack, and what called has stepped over the red zone.
  absl::Status copy_far() {
    EmitConfig inner = config_;
    inner.rsp_mod_16 = (config_.rsp_mod_16 - config_.red_zone_bytes - 8) % 16;
    inner.red_zone_bytes = 0;
    const CopyRequest request{
        .dst = stubs_.dst, .src = stubs_.src, .size = CopySize::in(stubs_.size)};
    if (absl::Status bad = call_core(code_, inner, request); !bad.ok()) return bad;
    code_->ret();
    return absl::OkStatus();
  }

  const EmitConfig& config_;
  X86Code& code_;
  const Stubs& stubs_;
  RegSet temporaries_;
};

// The widest vectors that hold `bytes`; 0: there are not as many.
unsigned width_for(const EmitConfig& config, unsigned bytes) {
  const unsigned width = widest(config.level);
  return bytes / width <= static_cast<unsigned>(std::popcount(config.scratch_vectors)) ? width : 0;
}

void name_registers(const EmitConfig& config, Stubs& stubs, RegSet& left) {
  left = config.scratch;
  // Those of a call of the ABI spare the operands of most code a move.
  const bool as_in_calls = (left & kArguments) == kArguments;
  RegSet three = as_in_calls ? kArguments : left;
  stubs.dst = as_in_calls ? Reg::kRdi : take_lowest_reg(three);
  stubs.src = as_in_calls ? Reg::kRsi : take_lowest_reg(three);
  stubs.size = as_in_calls ? Reg::kRdx : take_lowest_reg(three);
  left &= ~(reg_bit(stubs.dst) | reg_bit(stubs.src) | reg_bit(stubs.size));
}

std::uint32_t begin_stub(X86Code& code) {
  code->align(asmjit::AlignMode::kCode, 32);
  return static_cast<std::uint32_t>(code.size());
}

}  // namespace

absl::Status x86_stubs(const EmitConfig& config, Fragment& made, Stubs& stubs) {
  const unsigned width = width_for(config, 256);
  if (std::popcount(config.scratch) < 5 || width == 0) {
    return absl::FailedPreconditionError(absl::StrFormat(
        "stubs take 5 scratch registers and %d scratch vectors; there are %d and %d",
        256 / widest(config.level), std::popcount(config.scratch),
        std::popcount(config.scratch_vectors)));
  }
  RegSet temporaries = 0;
  name_registers(config, stubs, temporaries);
  stubs.changes = config.scratch;
  stubs.changes_vectors = config.scratch_vectors;
  X86Fragment out(config, made);
  StubWriter writer(config, out.hot, stubs, temporaries);
  const std::array<asmjit::Label, 2> classes{out.hot->newLabel(), out.hot->newLabel()};
  // An offset of 0 stands for no stub.
  out.hot->int3();
  stubs.copy_128 = begin_stub(out.hot);
  out.hot->bind(classes[0]);
  writer.copy_class(128, width);
  stubs.copy_256 = begin_stub(out.hot);
  out.hot->bind(classes[1]);
  writer.copy_class(256, width);
  stubs.copy_any = begin_stub(out.hot);
  if (absl::Status bad = writer.copy_any(classes, width); !bad.ok()) return bad;
  return out.finish();
}

}  // namespace vm_engine::internal
