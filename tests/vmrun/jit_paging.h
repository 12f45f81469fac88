// The translator's hart and the interpreter's behind the same page tables.
#ifndef TESTS_VMRUN_JIT_PAGING_H_
#define TESTS_VMRUN_JIT_PAGING_H_

#include <gtest/gtest.h>

#include <vector>

#include "tests/vmrun/assembler.h"
#include "tests/vmrun/paging_hart.h"

namespace vmrun {

namespace as = assembler;

inline constexpr std::uint64_t kRamBytes = BareHart::kEnd - BareHart::kCode;
inline constexpr std::uint64_t kCode = PagingHart::kVirtualCode;
inline constexpr std::uint64_t kOther = BareHart::kCode + 0x1000;  // what pages are remapped to
inline constexpr std::uint64_t kView = PagingHart::kVirtualData + 0x4'0000;
inline constexpr std::uint32_t kReturn = as::i_type(0, 1, 0, 0, 0x67);
inline constexpr std::uint32_t kSret = 0x10200073;
inline constexpr unsigned kSstatus = 0x100, kSscratch = 0x140, kStval = 0x143, kMstatus = 0x300,
                          kMepc = 0x341;

constexpr std::uint64_t entry_of(std::uint64_t gpa, std::uint64_t bits) {
  return gpa >> 12 << 10 | bits;
}

inline std::vector<std::byte> memory_of(PagingHart& hart) {
  std::vector<std::byte> out(kRamBytes);
  EXPECT_TRUE(hart.memory().read(vm_mem::GuestAddress{BareHart::kCode}, out).ok());
  return out;
}

class JitPagingTest : public testing::Test {
 protected:
  void SetUp() override { ASSERT_TRUE(jit.is_ready()); }
  template <typename Function>
  void both(Function function) {
    function(jit);
    function(interpreter);
  }
  void map(std::uint64_t gva, std::uint64_t gpa, std::uint64_t bits) {
    both([&](PagingHart& hart) { hart.map(gva, gpa, bits); });
  }
  void set(unsigned index, std::uint64_t value) {
    both([&](PagingHart& hart) { hart.x(index) = value; });
  }
  void program(const std::vector<std::uint32_t>& words, std::uint64_t gpa = BareHart::kCode) {
    both([&](PagingHart& hart) { hart.program(words, gpa); });
  }
  // Puts the address of the guest's own view of its page's entry into a register.
  void show_entry(unsigned index, std::uint64_t gva, std::uint64_t gpa, std::uint64_t bits) {
    both([&](PagingHart& hart) {
      const std::uint64_t entry = hart.map(gva, gpa, bits);
      hart.map(kView, entry & ~std::uint64_t{4095}, kRw);
      hart.x(index) = kView + (entry & 4095);
    });
  }
  void go(std::uint64_t instructions, std::uint64_t pc = kCode,
          Privilege privilege = Privilege::kSupervisor) {
    both([&](PagingHart& hart) {
      hart.state().pc = pc;
      hart.state().privilege = privilege;
      static_cast<void>(hart.hart().run(instructions));
    });
    expect_same();
  }
  void expect_same() {
    HartState &got = jit.state(), &want = interpreter.state();
    EXPECT_EQ(got.pc, want.pc);
    EXPECT_EQ(got.privilege, want.privilege);
    EXPECT_EQ(got.clock.retired(), want.clock.retired());
    for (std::size_t i = 1; i < 32; ++i) EXPECT_EQ(got.x[i], want.x[i]) << "x" << i;
    EXPECT_TRUE(got.f == want.f) << "floating point";
    EXPECT_EQ(got.csrs.scause, want.csrs.scause);
    EXPECT_EQ(got.csrs.sepc, want.csrs.sepc);
    EXPECT_EQ(got.csrs.stval, want.csrs.stval);
    EXPECT_TRUE(got.csrs == want.csrs) << "CSRs";
    EXPECT_TRUE(memory_of(jit) == memory_of(interpreter)) << "memory";
  }
  const JitStatistics& statistics() { return jit.hart().jit()->statistics(); }

  PagingHart jit{Execution::kTranslated};
  PagingHart interpreter{Execution::kInterpreted};
};

}  // namespace vmrun

#endif  // TESTS_VMRUN_JIT_PAGING_H_
