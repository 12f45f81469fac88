// What copies and fills on AArch64 have in common.
#include "vm_engine/internal/a64_access_code.h"
#include "vm_engine/internal/a64_copy_code.h"

namespace vm_engine::internal::aarch64 {
namespace {

namespace a64 = asmjit::a64;

}  // namespace

bool reaches_guest(const EmitConfig& config) {
  return config.address_mode != AddressMode::kHostPointer;
}

Reg find_place(A64Emission& emission, Reg gva, std::uint8_t side, std::uint64_t bytes,
               RegSet& taken, const asmjit::Label& miss) {
  const EmitConfig& config = emission.config();
  const Reg place = emission.take_scratch(taken);
  if (config.address_mode == AddressMode::kFastmem) {
    check_arena(emission, gva, taken, miss);
    emission.line.assembler.add(x_reg(place), x_reg(config.fastmem_base), x_reg(gva));
    return place;
  }
  RegSet taken_for_probe = taken;
  const Reg comparator = emission.take_scratch(taken_for_probe);
  const Reg tag = emission.take_scratch(taken_for_probe);
  probe(emission, {gva, bytes, side, comparator, tag, place}, miss);
  emission.line.assembler.add(x_reg(place), x_reg(place), x_reg(gva));
  return place;
}

std::vector<asmjit::Label> store_pieces(A64Emission& emission, std::span<const A64Piece> pieces,
                                        Reg to) {
  std::vector<asmjit::Label> pads;
  std::uint64_t done = 0;
  for (const A64Piece& piece : pieces) {
    if (has_sites(emission.config())) {
      pads.push_back(emission.slow.assembler.newLabel());
      emission.site(pads.back(), VME_SIDE_DESTINATION, piece.bytes, done);
    }
    store_piece(emission.line, piece, x_reg(to));
    done = piece.end();
  }
  return pads;
}

void write_pads(A64Emission& emission, std::span<const asmjit::Label> pads,
                std::span<const A64Piece> pieces, Reg done) {
  a64::Assembler& code = emission.slow.assembler;
  const asmjit::Label rest = code.newLabel();
  for (std::size_t i = 0; i < pads.size(); ++i) {
    code.bind(pads[i]);
    emission.slow.load_constant(done, i == 0 ? 0 : pieces[i - 1].end());
    if (i + 1 < pads.size()) code.b(rest);
  }
  code.bind(rest);
}

void write_call(A64Emission& emission, const A64Call& call) {
  switch (emission.config().address_mode) {
    case AddressMode::kHostPointer: emission.call_host(emission.line, call, 0); break;
    case AddressMode::kGuest: emission.call_guest(emission.line, call); break;
    default: emission.call_or_exit(emission.line, call); break;
  }
}

void write_nothing(A64Emission& emission) {
  const EmitConfig& config = emission.config();
  if (config.address_mode == AddressMode::kGuest) emission.line.load_constant(config.result, 0);
}

}  // namespace vm_engine::internal::aarch64
