// Copies between host pointers.
#include "vm_engine/internal/x86_host_copy.h"
#include "vm_engine/internal/x86_copy.h"
#include "vm_engine/internal/x86_fragment.h"
#include "vm_engine/internal/x86_plan.h"

namespace vm_engine::internal {
namespace {

namespace x86 = asmjit::x86;

constexpr std::uint64_t kWords[] = {8, 4, 2, 1};

void copy_words(X86Code& code, const CopyRequest& request, Reg word) {
  std::uint64_t offset = 0;
  for (const std::uint64_t piece : kWords) {
    if ((request.size.bytes() & piece) == 0) continue;
    const auto bytes = static_cast<unsigned>(piece);
    code.load_word(word, HostOperand{request.src}.at(offset, bytes));
    code.store_word(HostOperand{request.dst}.at(offset, bytes), word);
    offset += piece;
  }
}

void copy_vectors(X86Code& code, const EmitConfig& config, const CopyRequest& request) {
  const std::uint64_t bytes = request.size.bytes();
  const Pieces pieces = pieces_of(bytes, config.level);
  VectorPool loads(config), stores(config);
  for (unsigned i = 0; i < pieces.count; ++i) {
    code.load_vector(loads.take(),
                     HostOperand{request.src}.at(pieces.offset(i, bytes), pieces.width));
  }
  for (unsigned i = 0; i < pieces.count; ++i) {
    code.store_vector(HostOperand{request.dst}.at(pieces.offset(i, bytes), pieces.width),
                      stores.take());
  }
  end_vectors(code, config, loads, pieces.width);
}

void step_over_red_zone(X86Code& code, const EmitConfig& config, std::int32_t sign) {
  const auto bytes = static_cast<std::int32_t>(config.red_zone_bytes);
  if (bytes != 0) code->lea(x86::rsp, x86::ptr(x86::rsp, sign * bytes));
}

void call_stub(X86Fragment& out, const EmitConfig& config, const CopyRequest& request,
               std::uint32_t stub) {
  const Stubs& stubs = *config.stubs;
  X86Code::Moves moves{{stubs.dst, request.dst}, {stubs.src, request.src}};
  if (request.size.in_register()) moves.emplace_back(stubs.size, request.size.reg());
  out.hot.move_together(moves);
  if (!request.size.in_register()) {
    out.hot->mov(gp(stubs.size, 4), static_cast<std::uint32_t>(request.size.bytes()));
  } else if (request.size.is_low_half()) {
    out.hot->mov(gp(stubs.size, 4), gp(stubs.size, 4));
  }
  step_over_red_zone(out.hot, config, -1);
  out.to_stub(out.hot.call(), stub);
  step_over_red_zone(out.hot, config, 1);
}

absl::Status copy_far(X86Fragment& out, const EmitConfig& config, const CopyRequest& request) {
  const std::uint32_t stub = request.size.in_register() ? stub_for_any(config) : 0;
  if (stub != 0) {
    call_stub(out, config, request, stub);
    return absl::OkStatus();
  }
  return call_core(out.hot, config, request);
}

// Up to 64 bytes under a mask, the rest by a call behind it.
absl::Status copy_masked(X86Fragment& out, const EmitConfig& config, const CopyRequest& request,
                         Reg mask) {
  X86Code& code = out.hot;
  const Reg size = request.size.reg();
  VectorPool pool(config);
  const x86::Zmm vector = x86::zmm(pool.take());
  const asmjit::Label far = code->newLabel(), done = code->newLabel();
  code->cmp(gp(size, request.size.is_low_half() ? 4 : 8), 64);
  code->short_().ja(far);
  code->mov(gp(mask), -1);
  code->bzhi(gp(mask), gp(mask), gp(size));
  code->kmovq(x86::k1, gp(mask));
  code->k(x86::k1).z().vmovdqu8(vector, HostOperand{request.src}.at(0, 64));
  code->k(x86::k1).vmovdqu8(HostOperand{request.dst}.at(0, 64), vector);
  end_vectors(code, config, pool, 64);
  code->jmp(done);
  code->bind(far);
  if (absl::Status bad = copy_far(out, config, request); !bad.ok()) return bad;
  code->bind(done);
  return absl::OkStatus();
}

}  // namespace

void end_vectors(X86Code& code, const EmitConfig& config, const VectorPool& pool, unsigned width) {
  const bool all_low = (config.scratch_vectors & kLowVectors) == kLowVectors;
  if (width > 16 && pool.took_low() && all_low) code->vzeroupper();
}

absl::Status call_core(X86Code& code, const EmitConfig& config, const CopyRequest& request) {
  if (config.helpers.memcpy_raw == 0) {
    return absl::InvalidArgumentError("the address of memcpy_raw is not given");
  }
  X86Code::Moves moves{{Reg::kRdi, request.dst}, {Reg::kRsi, request.src}};
  if (request.size.in_register()) moves.emplace_back(Reg::kRdx, request.size.reg());
  const X86Frame frame(config, config.scratch);
  frame.enter(code);
  frame.clear_upper(code);
  code.move_together(moves);
  if (!request.size.in_register()) code->mov(x86::rdx, request.size.bytes());
  if (request.size.is_low_half()) code->mov(x86::edx, x86::edx);
  code->mov(x86::rax, config.helpers.memcpy_raw);
  code->call(x86::rax);
  frame.leave(code);
  return absl::OkStatus();
}

absl::Status x86_copy(const EmitConfig& config, const CopyRequest& request, Fragment& made) {
  const RegSet free = free_registers(config, operands_of(request));
  const EmitForm form = request.size.in_register()
                            ? x86_plan_register_copy(config, free).front().form
                            : x86_plan_copy(config, request.size.bytes(), free).form;
  if (form == EmitForm::kNothing) return x86_copy_nothing(config, made);
  if (config.address_mode == AddressMode::kHostPointer) {
    return x86_host_copy(config, request, form, free, made);
  }
  return x86_guest_copy(config, request, form, free, made);
}

absl::Status x86_host_copy(const EmitConfig& config, const CopyRequest& request, EmitForm form,
                           RegSet free, Fragment& made) {
  X86Fragment out(config, made);
  absl::Status status = absl::OkStatus();
  switch (form) {
    case EmitForm::kWords: copy_words(out.hot, request, take_lowest_reg(free)); break;
    case EmitForm::kVectors: copy_vectors(out.hot, config, request); break;
    case EmitForm::kMasked:
      status = copy_masked(out, config, request, take_lowest_reg(free));
      break;
    case EmitForm::kStub:
      if (!request.size.in_register()) {
        call_stub(out, config, request, stub_for(config, request.size.bytes()));
        break;
      }
      [[fallthrough]];
    default: status = copy_far(out, config, request); break;
  }
  if (!status.ok()) return status;
  return out.finish();
}

}  // namespace vm_engine::internal
