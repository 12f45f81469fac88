// One request on its way into a Fragment: AArch64 code in line, code out of line, what
// ties them together, and the calls that both make. No code here changes NZCV.
#ifndef VM_ENGINE_INTERNAL_A64_EMISSION_H_
#define VM_ENGINE_INTERNAL_A64_EMISSION_H_

#include <cstddef>
#include <cstdint>
#include <functional>
#include <string_view>
#include <utility>
#include <vector>

#include "absl/status/status.h"
#include "vm_engine/internal/a64_code.h"
#include "vm_engine/internal/a64_frame.h"
#include "vm_engine/internal/emit_back_end.h"

namespace vm_engine::internal::aarch64 {

// A call of a helper: its arguments, registers first.
struct A64Call {
  std::string_view name;
  std::uint64_t helper = 0;
  std::vector<RegMove> moves;
  std::vector<std::pair<Reg, std::uint64_t>> constants = {};
  RegSet low_halves = 0;  // arguments whose upper half counts as 0
  // What is left to do with the arguments; may use x16.
  std::function<void(A64Code&)> adjust = {};

  void add_size(Reg to, CopySize size);
};

class A64Emission {
 public:
  // `operands`: registers that are as at the access where the code leaves by its exit.
  A64Emission(const EmitConfig& config, RegSet operands, Fragment& out)
      : config_(config), operands_(operands), out_(out) {}

  A64Code line;
  A64Code slow;
  const EmitConfig& config() const { return config_; }

  // A scratch register that is none of `taken`, where it is from then on. Where there is
  // none the emission fails.
  Reg take_scratch(RegSet& taken);
  void fail(absl::Status why) { failed_.Update(std::move(why)); }

  // What the next instruction of `code`, a branch, names as its target.
  asmjit::Label branch_label(A64Code& code, const asmjit::Label& in_slow);
  // The next instruction in line may fault; the code then goes on at `pad`, out of line.
  // `adj`: bytes of the request that are done before it.
  void site(const asmjit::Label& pad, std::uint8_t side, std::uint64_t bytes, std::uint64_t adj);

  // In line, with arguments in the registers of config().stubs.
  void call_stub(const A64Call& arguments, std::uint32_t stub);
  // Calls in `code`, `line` or `slow`; from there the way leads behind the code in line.
  void call_host(A64Code& code, const A64Call& call, RegSet also_kept);
  // `result` gets what the helper returns.
  void call_guest(A64Code& code, const A64Call& call);
  // The code goes on at config().exit where bytes are left.
  void call_or_exit(A64Code& code, const A64Call& call);
  // The same of a call in a frame of its own, whose done_slot says what was done before.
  void finish_rest(const A64Frame& frame, const A64Call& call);
  // Out of line, vme_load, which returns a value and the bytes left.
  void load_or_exit(const A64Call& call, const AccessRequest& request);

  // Moves everything into the Fragment.
  absl::Status finish();

 private:
  struct Link {
    std::size_t from;
    asmjit::Label to;
  };
  enum class Progress : std::uint8_t { kAsReported, kAddsToDone };

  void write_arguments(A64Code& code, const A64Call& call, Reg spare);
  void call(A64Code& code, const A64Frame& frame, const A64Call& call);
  void go_back(A64Code& code);
  void fail_at(const asmjit::Label& failed, const A64Frame& frame, Reg left, Progress progress);
  void describe_fault(const A64Frame& frame, Progress progress);
  void write_exit();
  absl::Status error() const;

  const EmitConfig& config_;
  RegSet operands_;
  Fragment& out_;
  absl::Status failed_;
  std::vector<Link> entries_;
  std::vector<Link> pads_;  // from: the index of the site
  std::vector<std::size_t> ways_back_;
  std::vector<std::size_t> ways_out_;
  asmjit::Label exit_ = {};
};

}  // namespace vm_engine::internal::aarch64

#endif  // VM_ENGINE_INTERNAL_A64_EMISSION_H_
