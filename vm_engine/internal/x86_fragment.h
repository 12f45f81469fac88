// A Fragment in the making: its code in line, its slow path, and what ties them together.
#ifndef VM_ENGINE_INTERNAL_X86_FRAGMENT_H_
#define VM_ENGINE_INTERNAL_X86_FRAGMENT_H_

#include <cstddef>
#include <cstdint>
#include <vector>

#include "vm_engine/internal/emit_back_end.h"
#include "vm_engine/internal/x86_code.h"
#include "vm_engine/internal/x86_frame.h"

namespace vm_engine::internal {

// A guest access of `bytes` at `gva`; `access` and `side` as in vme_site.
struct GuestRange {
  Reg gva = Reg::kRax;
  std::uint64_t bytes = 0;
  std::uint32_t access = 0;
  std::uint8_t side = 0;
};

class X86Fragment {
 public:
  X86Fragment(const EmitConfig& config, Fragment& out);

  X86Code hot;
  X86Code slow;

  // In `hot`: the branch whose field this is goes to the start of `slow`.
  void to_slow(std::size_t field) { entries_.push_back({.from = field, .to = 0}); }
  void to_stub(std::size_t field, std::uint32_t stub);
  // In `hot`, before each access of `range`: where there are sites, the next instruction may
  // fault, `done` bytes into the operation.
  void site(const GuestRange& range, unsigned bytes, std::uint64_t done);

  // In `slow`: sites first, first + 1, ... up to `last` go on here.
  void pad(std::size_t first, std::size_t last);
  std::size_t sites() const { return out_.sites.size(); }

  // In `slow`, between frame.enter() and frame.leave(): calls, and leaves rax as the helper
  // does. Needs: the arguments in place.
  void call(const X86Frame& frame, std::uint64_t helper);
  // In `slow`: where `left` is not 0 goes to config.exit, with that in config.result. Needs:
  // as call().
  void exit_if(const X86Frame& frame, Reg left, std::uint64_t copied_of = 0);
  // In `slow`: back behind `hot`.
  void back();

  absl::Status finish();

 private:
  void to_exit(std::uint64_t copied_of);

  const EmitConfig& config_;
  Fragment& out_;
  std::vector<SlowPath::Link> entries_;
  std::vector<SlowPath::Link> exits_;  // `to` counts from the buffer's start
  std::vector<std::size_t> backs_;     // fields
  std::vector<SlowPath::Pad> pads_;
};

}  // namespace vm_engine::internal

#endif  // VM_ENGINE_INTERNAL_X86_FRAGMENT_H_
