// A hart with RAM and nothing else, for instruction tests.
#ifndef TESTS_VMRUN_BARE_HART_H_
#define TESTS_VMRUN_BARE_HART_H_

#include <gtest/gtest.h>

#include <cstdint>
#include <memory>
#include <span>
#include <string>
#include <vector>

#include "tools/vmrun/hart.h"
#include "vm_mem/memory_manager.h"

namespace vmrun {

enum class Execution : std::uint8_t { kInterpreted, kTranslated };

class BareHart {
 public:
  static constexpr std::uint64_t kCode = 0x8000'0000;
  static constexpr std::uint64_t kHandler = 0x8000'4000;  // mtvec
  static constexpr std::uint64_t kData = 0x8001'0000;
  static constexpr std::uint64_t kEnd = 0x8002'0000;

  explicit BareHart(Execution execution = Execution::kInterpreted)
      : memory_(vm_mem::MemoryManager::create({}).value()), hart_(Hart::create(*memory_).value()) {
    const auto range = vm_mem::GuestRange::make(vm_mem::GuestAddress{kCode}, kEnd - kCode);
    static_cast<void>(memory_->add_ram(*range, {.code_watch = vm_mem::CodeWatching::kOn}).value());
    is_ready_ =
        execution == Execution::kInterpreted || hart_->use_jit({.interpreted_runs = 0}).ok();
    hart_->state().pc = kCode;
    hart_->state().csrs.mtvec = kHandler;
    poke<std::uint32_t>(kHandler, 0x0000006f);  // jumps to itself
  }

  // False where the host has no translator.
  bool is_ready() const { return is_ready_; }
  Hart& hart() { return *hart_; }
  HartState& state() { return hart_->state(); }
  std::uint64_t& x(unsigned index) { return hart_->state().x[index]; }
  vm_mem::MemoryManager& memory() { return *memory_; }

  template <typename T>
  void poke(std::uint64_t address, T value) {
    static_cast<void>(memory_->store(vm_mem::GuestAddress{address}, value));
  }
  template <typename T>
  T peek(std::uint64_t address) {
    T value{};
    static_cast<void>(memory_->load(vm_mem::GuestAddress{address}, value));
    return value;
  }
  void program(std::span<const std::uint32_t> words, std::uint64_t at = kCode) {
    static_cast<void>(memory_->write(vm_mem::GuestAddress{at}, std::as_bytes(words)));
  }
  // Entry 0 permits everything everywhere: for programs outside of M-mode.
  void open_pmp() {
    state().csrs.pmpcfg[0] = 0x1f;
    state().csrs.pmpaddr[0] = ~std::uint64_t{0} >> 10;
  }
  // Runs the instructions one after the other from kCode; a self-jump follows them.
  void execute(std::vector<std::uint32_t> words) {
    const std::size_t count = words.size();
    words.push_back(0x0000006f);
    program(words);
    state().pc = kCode;
    hart_->forget_code();
    static_cast<void>(hart_->run(count));
  }

 private:
  std::unique_ptr<vm_mem::MemoryManager> memory_;
  std::unique_ptr<Hart> hart_;
  bool is_ready_ = false;
};

// Of tests that run both ways.
class ExecutionTest : public testing::TestWithParam<Execution> {
 protected:
  void SetUp() override {
    if (!BareHart(GetParam()).is_ready()) GTEST_SKIP() << "no translator for this host";
  }
};

inline std::string name_of_execution(const testing::TestParamInfo<Execution>& info) {
  return info.param == Execution::kTranslated ? "translated" : "interpreted";
}

inline auto both_executions() {
  return testing::Values(Execution::kInterpreted, Execution::kTranslated);
}

}  // namespace vmrun

#endif  // TESTS_VMRUN_BARE_HART_H_
