// A run of bytes of constant length as AArch64 loads and stores it with vector registers.
#ifndef VM_ENGINE_INTERNAL_A64_PIECES_H_
#define VM_ENGINE_INTERNAL_A64_PIECES_H_

#include <cstdint>
#include <vector>

#include "vm_engine/internal/a64_code.h"

namespace vm_engine::internal::aarch64 {

// What one instruction moves: a power of two up to 16 bytes of one register, or 32 of two.
struct A64Piece {
  std::uint64_t offset = 0;
  unsigned bytes = 0;
  unsigned first = 0;   // vector registers
  unsigned second = 0;  // of 32 bytes only

  std::uint64_t end() const { return offset + bytes; }
};

// The largest run: an offset of a pair has 7 bits.
inline constexpr std::uint64_t kPiecesLimit = 1024;

// From 16 bytes on pairs, and at most one register alone; what is left over at the end is
// a register that overlaps the one before, or, where no instruction reaches that, powers
// of two. Fewer than 16 bytes are powers of two.
std::vector<A64Piece> pieces_of(std::uint64_t bytes);
unsigned vectors_for(const std::vector<A64Piece>& pieces);
// Gives each the lowest registers that are left. Needs: vectors_for(pieces) of them.
void assign_vectors(std::vector<A64Piece>& pieces, VectorSet vectors);

void load_piece(A64Code& code, const A64Piece& piece, const asmjit::a64::Gp& base);
void store_piece(A64Code& code, const A64Piece& piece, const asmjit::a64::Gp& base);

}  // namespace vm_engine::internal::aarch64

#endif  // VM_ENGINE_INTERNAL_A64_PIECES_H_
