#include <bit>

#include "vm_engine/internal/a64_access_code.h"
#include "vm_engine/internal/a64_copy_code.h"
#include "vm_engine/vm_engine.h"

namespace vm_engine::internal::aarch64 {
namespace {

namespace a64 = asmjit::a64;

// The bytes from a store that faulted on are the helper's.
void fill_rest(A64Emission& emission, const FillRequest& request, Reg done) {
  const EmitConfig& config = emission.config();
  const A64Frame frame(config, 0, 0);
  frame.enter(emission.slow);
  emission.slow.assembler.str(x_reg(done), a64::ptr(a64::sp, frame.done_slot()));
  A64Call call = fill_call(config, request);
  call.moves.emplace_back(Reg::kX5, done);
  call.adjust = [spread = call.adjust, bytes = request.size.bytes()](A64Code& code) {
    skip_done(code, bytes);
    if (spread) spread(code);
  };
  std::erase_if(call.constants, [](const auto& constant) { return constant.first == Reg::kX3; });
  emission.finish_rest(frame, call);
}

void fill_vectors(A64Emission& emission, const FillRequest& request) {
  const EmitConfig& config = emission.config();
  const std::uint64_t bytes = request.size.bytes();
  std::vector<A64Piece> pieces = pieces_of(bytes);
  const auto vector = static_cast<unsigned>(std::countr_zero(config.scratch_vectors));
  for (A64Piece& piece : pieces) piece.first = piece.second = vector;
  Reg place = request.dst;
  const asmjit::Label miss = emission.slow.assembler.newLabel();
  if (reaches_guest(config)) {
    RegSet taken = taken_by(config, operands_of(request));
    place = find_place(emission, request.dst, VME_SIDE_DESTINATION, bytes, taken, miss);
  }
  a64::Assembler& line = emission.line.assembler;
  const a64::VecV all = a64::v(vector).b16();
  if (request.value.in_register()) line.dup(all, w_reg(request.value.reg()));
  if (!request.value.in_register()) line.movi(all, request.value.byte());
  const std::vector<asmjit::Label> pads = store_pieces(emission, pieces, place);
  if (!reaches_guest(config)) return;
  emission.slow.assembler.bind(miss);
  emission.call_or_exit(emission.slow, fill_call(config, request));
  if (pads.empty()) return;
  write_pads(emission, pads, pieces, place);
  fill_rest(emission, request, place);
}

}  // namespace

void write_fill(A64Emission& emission, const FillRequest& request) {
  const EmitConfig& config = emission.config();
  const RegSet free = config.scratch & ~taken_by(config, operands_of(request));
  const EmitForm form = request.size.in_register()
                            ? EmitForm::kCall
                            : plan_fill(config, request.size.bytes(), free).form;
  switch (form) {
    case EmitForm::kNothing: write_nothing(emission); break;
    case EmitForm::kVectors: fill_vectors(emission, request); break;
    default: write_call(emission, fill_call(config, request)); break;
  }
}

}  // namespace vm_engine::internal::aarch64
