#include "vm_engine/internal/a64_copy_code.h"

#include <span>

#include "vm_engine/internal/a64_access_code.h"
#include "vm_engine/vm_engine.h"

namespace vm_engine::internal::aarch64 {
namespace {

namespace a64 = asmjit::a64;

// The store that faulted and those behind it: their source may have been overwritten by
// those before, so what the registers hold goes to the stack, and from there to the guest.
void write_rest(A64Emission& emission, const CopyRequest& request, std::span<const A64Piece> pieces,
                Reg done) {
  const EmitConfig& config = emission.config();
  const std::uint64_t bytes = request.size.bytes();
  const A64Frame frame(config, 0, static_cast<std::uint32_t>(bytes));
  frame.enter(emission.slow);
  for (const A64Piece& piece : pieces) store_piece(emission.slow, piece, a64::sp);
  emission.slow.assembler.str(x_reg(done), a64::ptr(a64::sp, frame.done_slot()));
  emission.finish_rest(
      frame, {.name = "write",
              .helper = config.helpers.write,
              .moves = {{Reg::kX0, config.cpu}, {Reg::kX1, request.dst}, {Reg::kX5, done}},
              .constants = {{Reg::kX4, config.flags}},
              .adjust = [bytes](A64Code& code) {
                skip_done(code, bytes);
                code.assembler.mov(a64::x2, a64::sp);
                code.assembler.add(a64::x2, a64::x2, a64::x5);
              }});
}

void copy_words(A64Emission& emission, const CopyRequest& request) {
  RegSet taken = reg_bit(request.dst) | reg_bit(request.src);
  const Reg word = emission.take_scratch(taken);
  for (const A64Piece& piece : pieces_of(request.size.bytes())) {
    const auto offset = static_cast<std::int32_t>(piece.offset);
    emission.line.load(word, a64::ptr(x_reg(request.src), offset), {.bytes = piece.bytes});
    emission.line.store(word, a64::ptr(x_reg(request.dst), offset), {.bytes = piece.bytes});
  }
}

void copy_vectors(A64Emission& emission, const CopyRequest& request) {
  const EmitConfig& config = emission.config();
  const std::uint64_t bytes = request.size.bytes();
  std::vector<A64Piece> pieces = pieces_of(bytes);
  assign_vectors(pieces, config.scratch_vectors);
  Reg src = request.src;
  Reg dst = request.dst;
  const asmjit::Label miss = emission.slow.assembler.newLabel();
  if (reaches_guest(config)) {
    RegSet taken = taken_by(config, reg_bit(request.dst) | reg_bit(request.src));
    src = find_place(emission, request.src, VME_SIDE_SOURCE, bytes, taken, miss);
    dst = find_place(emission, request.dst, VME_SIDE_DESTINATION, bytes, taken, miss);
  }
  for (const A64Piece& piece : pieces) {
    if (has_sites(config)) {
      emission.site(miss, VME_SIDE_SOURCE, piece.bytes, 0);
    }
    load_piece(emission.line, piece, x_reg(src));
  }
  const std::vector<asmjit::Label> pads = store_pieces(emission, pieces, dst);
  if (!reaches_guest(config)) return;
  emission.slow.assembler.bind(miss);
  emission.call_or_exit(emission.slow, copy_call(config, request));
  if (pads.empty()) return;
  write_pads(emission, pads, pieces, dst);
  write_rest(emission, request, pieces, dst);
}

void call_stub(A64Emission& emission, const CopyRequest& request, std::uint32_t stub) {
  const Stubs& stubs = *emission.config().stubs;
  A64Call arguments{.name = "stub", .moves = {{stubs.dst, request.dst}, {stubs.src, request.src}}};
  arguments.add_size(stubs.size, request.size);
  emission.call_stub(arguments, stub);
}

}  // namespace

void write_copy(A64Emission& emission, const CopyRequest& request) {
  const EmitConfig& config = emission.config();
  const RegSet free = config.scratch & ~taken_by(config, operands_of(request));
  const Plan plan = request.size.in_register() ? plan_register_copy(config)
                                               : plan_copy(config, request.size.bytes(), free);
  switch (plan.form) {
    case EmitForm::kNothing: write_nothing(emission); break;
    case EmitForm::kWords: copy_words(emission, request); break;
    case EmitForm::kVectors: copy_vectors(emission, request); break;
    case EmitForm::kStub:
      call_stub(emission, request, stub_for(*config.stubs, request.size));
      break;
    default: write_call(emission, copy_call(config, request)); break;
  }
}

}  // namespace vm_engine::internal::aarch64
