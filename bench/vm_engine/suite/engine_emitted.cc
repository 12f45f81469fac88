#include "bench/vm_engine/suite/engine_emitted.h"

#include <algorithm>
#include <memory>
#include <random>
#include <utility>
#include <vector>

#include "bench/harness/page_buffer.h"
#include "bench/vm_engine/suite/copy_loop_code.h"
#include "bench/vm_mem/suite/guest_memory.h"

namespace vm_bench {
namespace {

using vm_engine::CodeBuffer;
using vm_engine::CopySize;
using vm_engine::EmitConfig;
using vm_engine::Reg;

// More sizes than a branch predictor learns by heart.
constexpr std::size_t kCopies = std::size_t{1} << 16;
constexpr std::size_t kSpan = 8 << 10;  // of each side: they stay in the L1 cache

// A JIT that keeps nothing in the registers that a call may change.
EmitConfig config_of_jit() {
  EmitConfig config = vm_engine::default_emit_config();
  config.red_zone_bytes = 0;
  return config;
}

void emit_ours(CodeBuffer& code, CopySize size) {
  const absl::Status emitted =
      vm_engine::emit_memcpy_call(code, config_of_jit(), Reg::kRdi, Reg::kRsi, size);
  require(emitted.ok(), "a copy of the benchmark is not emitted");
}

class Emitted {
 public:
  Emitted(std::size_t least, std::size_t most, std::size_t alignment, CopySize size,
          std::uint64_t seed)
      : ours_([size](CodeBuffer& code) { emit_ours(code, size); }),
        libc_([size](CodeBuffer& code) { CopyLoopCode::call_libc(code, size); }) {
    std::mt19937_64 engine(seed);
    std::uniform_int_distribution<std::size_t> any_size(least, most);
    std::uniform_int_distribution<std::size_t> any_place(0, (kSpan - most) / alignment);
    for (std::size_t i = 0; i < kCopies; ++i) {
      copies_.push_back({to_.at_least(kSpan) + alignment * any_place(engine),
                         from_.at_least(kSpan) + alignment * any_place(engine), any_size(engine)});
    }
    check();
  }

  void run() const { ours_.run(copies_); }
  void run_peer() const { libc_.run(copies_); }
  double operations() const { return static_cast<double>(copies_.size()); }

 private:
  // All of it, so that bytes beside a copy are seen too.
  std::vector<std::byte> result_of(const CopyLoopCode& code) {
    std::byte* const to = to_.at_least(kSpan);
    std::fill_n(to, kSpan, std::byte{0});
    code.run(copies_);
    return {to, to + kSpan};
  }
  void check() {
    std::byte* const from = from_.at_least(kSpan);
    for (std::size_t i = 0; i < kSpan; ++i) from[i] = static_cast<std::byte>(i * 7 + i / 256);
    require(result_of(ours_) == result_of(libc_), "emitted code does not copy as libc does");
  }

  PageBuffer to_;
  PageBuffer from_;
  std::vector<LoopCopy> copies_;
  CopyLoopCode ours_;
  CopyLoopCode libc_;
};

Regime emitted(std::string name, std::size_t least, std::size_t most, std::size_t alignment,
               CopySize size) {
  const auto measure = [=](Session& session) {
    const auto emitted = std::make_shared<Emitted>(least, most, alignment, size, session.seed());
    const Outcome outcome = settle({.ours = passes_of([emitted] { emitted->run(); }),
                                    .peer = passes_of([emitted] { emitted->run_peer(); }),
                                    .operations = emitted->operations()},
                                   session.effort());
    return Ratio{.outcome = outcome, .peer = "libc", .remark = in_nanoseconds(outcome)};
  };
  return {std::move(name), measure};
}

}  // namespace

Regime emitted_constant(std::string name, std::size_t bytes, std::size_t alignment) {
  return emitted(std::move(name), bytes, bytes, alignment, CopySize::constant(bytes));
}

Regime emitted_register(std::string name, std::size_t most_bytes) {
  return emitted(std::move(name), 0, most_bytes, 1, CopySize::in(Reg::kRdx));
}

}  // namespace vm_bench
