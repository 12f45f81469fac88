#include "vm_engine/internal/a64_pieces.h"

namespace vm_engine::internal::aarch64 {
namespace {

namespace a64 = asmjit::a64;

constexpr std::uint64_t kUnscaledReach = 255;

void add_powers(std::vector<A64Piece>& pieces, std::uint64_t offset, std::uint64_t bytes) {
  for (unsigned piece = 8; piece != 0; piece /= 2) {
    if ((bytes & piece) == 0) continue;
    pieces.push_back({.offset = offset, .bytes = piece});
    offset += piece;
  }
}

a64::Mem place_of(const A64Piece& piece, const a64::Gp& base) {
  return a64::ptr(base, static_cast<std::int32_t>(piece.offset));
}

}  // namespace

std::vector<A64Piece> pieces_of(std::uint64_t bytes) {
  std::vector<A64Piece> pieces;
  std::uint64_t offset = 0;
  for (; bytes - offset >= 32; offset += 32) pieces.push_back({.offset = offset, .bytes = 32});
  if (bytes - offset >= 16) {
    pieces.push_back({.offset = offset, .bytes = 16});
    offset += 16;
  }
  if (bytes == offset) return pieces;
  if (bytes < 16 || bytes - 16 > kUnscaledReach) {
    add_powers(pieces, offset, bytes - offset);
  } else {
    pieces.push_back({.offset = bytes - 16, .bytes = 16});
  }
  return pieces;
}

unsigned vectors_for(const std::vector<A64Piece>& pieces) {
  unsigned count = 0;
  for (const A64Piece& piece : pieces) count += piece.bytes == 32 ? 2 : 1;
  return count;
}

void assign_vectors(std::vector<A64Piece>& pieces, VectorSet vectors) {
  for (A64Piece& piece : pieces) {
    piece.first = take_lowest(vectors);
    if (piece.bytes == 32) piece.second = take_lowest(vectors);
  }
}

void load_piece(A64Code& code, const A64Piece& piece, const a64::Gp& base) {
  const a64::Mem from = place_of(piece, base);
  if (piece.bytes == 32) {
    code.assembler.ldp(vector_reg(piece.first, 16), vector_reg(piece.second, 16), from);
  } else {
    code.assembler.ldr(vector_reg(piece.first, piece.bytes), from);
  }
}

void store_piece(A64Code& code, const A64Piece& piece, const a64::Gp& base) {
  const a64::Mem to = place_of(piece, base);
  if (piece.bytes == 32) {
    code.assembler.stp(vector_reg(piece.first, 16), vector_reg(piece.second, 16), to);
  } else {
    code.assembler.str(vector_reg(piece.first, piece.bytes), to);
  }
}

}  // namespace vm_engine::internal::aarch64
