// The x86-64 instructions of one copy, in asmjit's terms. What reaches here has been
// checked.
#ifndef VM_ENGINE_INTERNAL_COPY_CODE_H_
#define VM_ENGINE_INTERNAL_COPY_CODE_H_

#include <asmjit/x86.h>

#include <cstdint>
#include <utility>
#include <vector>

#include "vm_engine/emit.h"

namespace vm_engine::internal {

// The plan of a copy in line: `count` pieces of `width` bytes, the last ending at the
// end; sizes below 16 are split into powers of two instead (count 0).
struct InlinePlan {
  unsigned width = 0;
  unsigned count = 0;
};
InlinePlan plan_inline(std::uint64_t bytes, VectorLevel level);

class CopyCode {
 public:
  CopyCode(asmjit::x86::Assembler& assembler, const EmitConfig& config, Reg dst, Reg src)
      : a_(assembler), config_(config), dst_(dst), src_(src) {}

  // Needs:  `word` is neither dst nor src; `vectors` holds at least the plan's count.
  void copy_words(std::uint64_t bytes, Reg word);
  void copy_vectors(std::uint64_t bytes, const InlinePlan& plan, VectorSet vectors);
  void call(CopySize size);
  void clear_result();

 private:
  // What a call has to bring back, and where rsp is meanwhile.
  struct Frame {
    RegSet regs = 0;
    VectorSet vectors = 0;
    unsigned vector_bytes = 0;
    std::int32_t below = 0;  // bytes taken by vectors and alignment
  };
  using Moves = std::vector<std::pair<Reg, Reg>>;  // destination, source

  Frame frame() const;
  void enter(const Frame& frame);
  void leave(const Frame& frame);
  void move_vectors(const Frame& frame, void (CopyCode::*move)(unsigned, std::int32_t, unsigned));
  void save(unsigned vector, std::int32_t offset, unsigned bytes);
  void restore(unsigned vector, std::int32_t offset, unsigned bytes);
  void move_together(Moves moves);
  void load(unsigned vector, const asmjit::x86::Mem& from, unsigned bytes);
  void store(const asmjit::x86::Mem& to, unsigned vector, unsigned bytes);

  asmjit::x86::Assembler& a_;
  const EmitConfig& config_;
  Reg dst_;
  Reg src_;
};

}  // namespace vm_engine::internal

#endif  // VM_ENGINE_INTERNAL_COPY_CODE_H_
