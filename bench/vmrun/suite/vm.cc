// The vm suite: guest programs on the interpreter and on the translator of vmrun.

#include <algorithm>
#include <cstdint>
#include <cstdlib>
#include <memory>
#include <span>
#include <string>
#include <utility>
#include <vector>

#include "bench/harness/suite.h"
#include "bench/vm_mem/suite/started_session.h"
#include "tests/vmrun/assembler.h"
#include "tools/vmrun/hart.h"
#include "vm_mem/memory_manager.h"

namespace vm_bench {
namespace {

namespace as = vmrun::assembler;
using Words = std::vector<std::uint32_t>;

constexpr std::uint64_t kCode = 0x8000'0000;
constexpr std::uint64_t kData = kCode + 0x10'0000;
constexpr std::uint64_t kRamBytes = 4 << 20;
constexpr std::uint64_t kDataBytes = 64 << 10;
constexpr std::uint64_t kInstructions = 20'000;

// Shifts, xors, a multiplication and a sum, for ever.
Words alu_program() {
  return {as::i_type(13, 10, 1, 11, 0x13),
          as::op(0, 4, 10, 10, 11),  // slli, xor
          as::i_type(7, 10, 5, 11, 0x13),
          as::op(0, 4, 10, 10, 11),  // srli, xor
          as::i_type(17, 10, 1, 11, 0x13),
          as::op(0, 4, 10, 10, 11),  // slli, xor
          as::op(1, 0, 12, 10, 14),
          as::op(0, 0, 13, 13, 12),  // mul, add
          as::addi(15, 15, 1),
          as::op(0, 6, 12, 12, 15),  // or
          as::op_w(0, 0, 14, 14, 12),
          as::jal(0, -44)};
}

// A copy of doublewords with their sum, over and over: a0 from, a1 to, a2 its end.
Words memory_program() {
  return {as::load(3, 13, 10, 0),     as::load(3, 14, 10, 8),     as::store(3, 13, 11, 0),
          as::store(3, 14, 11, 8),    as::op(0, 0, 15, 15, 13),   as::op(0, 0, 15, 15, 14),
          as::addi(10, 10, 16),       as::addi(11, 11, 16),       as::b_type(-32, 12, 10, 6),
          as::op(0x20, 0, 10, 10, 8), as::op(0x20, 0, 11, 11, 8), as::jal(0, -44)};
}

enum class Cpu : std::uint8_t { kInterpreter, kJit };

// RAM, a hart, a program that never ends.
class Guest {
 public:
  Guest(const Words& program, Cpu cpu)
      : memory_(vm_mem::MemoryManager::create({}).value()),
        hart_(vmrun::Hart::create(*memory_).value()) {
    const auto ram = vm_mem::GuestRange::make(vm_mem::GuestAddress{kCode}, kRamBytes);
    static_cast<void>(memory_
                          ->add_ram(*ram, {.dirty_tracking = vm_mem::DirtyTracking::kOn,
                                           .code_watch = vm_mem::CodeWatching::kOn})
                          .value());
    static_cast<void>(
        memory_->write(vm_mem::GuestAddress{kCode}, std::as_bytes(std::span(program))));
    if (cpu == Cpu::kJit && !hart_->use_jit({}).ok()) std::abort();
    vmrun::HartState& state = hart_->state();
    state.pc = kCode;
    state.x[8] = kDataBytes;
    state.x[10] = kData;
    state.x[11] = kData + kDataBytes;
    state.x[12] = kData + kDataBytes;
    state.x[14] = 0x9e37'79b9'7f4a'7c15;
  }

  void run() { static_cast<void>(hart_->run(kInstructions)); }
  const vmrun::HartState& state() { return hart_->state(); }

 private:
  std::unique_ptr<vm_mem::MemoryManager> memory_;
  std::unique_ptr<vmrun::Hart> hart_;
};

// Both have run the same number of instructions: they must agree.
void require_agreement(const Words& program) {
  Guest ours(program, Cpu::kJit);
  Guest peer(program, Cpu::kInterpreter);
  for (int i = 0; i < 10; ++i) {
    ours.run();
    peer.run();
  }
  const auto& x = ours.state().x;
  const bool same = std::equal(x.begin(), x.begin() + vmrun::kSink, peer.state().x.begin());
  if (!same || ours.state().pc != peer.state().pc) std::abort();
}

Regime beside_interpreter(std::string name, Words program) {
  return {std::move(name), [program](Session& session) -> Ratio {
            require_agreement(program);
            Guest ours(program, Cpu::kJit);
            Guest peer(program, Cpu::kInterpreter);
            const Contest contest{.ours = passes_of([&] { ours.run(); }),
                                  .peer = passes_of([&] { peer.run(); }),
                                  .operations = double{kInstructions}};
            const Outcome outcome = settle(contest, session.effort());
            return {outcome, "interpreter", in_nanoseconds(outcome)};
          }};
}

}  // namespace
}  // namespace vm_bench

int main(int argc, char** argv) {
  vm_bench::Session session = vm_bench::started_session("vm", argc, argv);
  return vm_bench::run_suite(session,
                             {vm_bench::beside_interpreter("jit_alu", vm_bench::alu_program()),
                              vm_bench::beside_interpreter("jit_mem", vm_bench::memory_program())});
}
