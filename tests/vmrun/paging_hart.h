// A hart in S-mode behind page tables.
#ifndef TESTS_VMRUN_PAGING_HART_H_
#define TESTS_VMRUN_PAGING_HART_H_

#include <cstdint>
#include <vector>

#include "tests/vmrun/assembler.h"
#include "tests/vmrun/bare_hart.h"

namespace vmrun {

// Bits of entries.
inline constexpr std::uint64_t kV = 1, kR = 2, kW = 4, kX = 8, kU = 16, kA = 64, kD = 128;
inline constexpr std::uint64_t kRw = kV | kR | kW | kA | kD;
inline constexpr std::uint64_t kRx = kV | kR | kX | kA;
inline constexpr std::uint32_t kSfenceAll = 0x12000073;
constexpr std::uint32_t sfence(unsigned rs1) { return kSfenceAll | rs1 << 15; }

// In S-mode behind page tables: the program is at kVirtualCode, its data at kVirtualData.
// Every exception but calls is S-mode's; its handler is a self-jump.
class PagingHart : public BareHart {
 public:
  static constexpr std::uint64_t kVirtualCode = 0x40'0000'0000 - 0x4000'0000;
  static constexpr std::uint64_t kVirtualData = kVirtualCode + 0x10'0000;
  static constexpr std::uint64_t kVirtualHandler = kVirtualCode + 0x20'0000;
  static constexpr std::uint64_t kRoot = kData + 0x8000;

  explicit PagingHart(Execution execution, unsigned levels = 3)
      : BareHart(execution), levels_(levels) {
    open_pmp();
    state().csrs.satp = (std::uint64_t{levels + 5} << 60) | (kRoot >> 12);
    state().csrs.stvec = kVirtualHandler;
    state().csrs.medeleg = 0xb0ff;
    map(kVirtualCode, kCode, kRx);
    map(kVirtualData, kData, kRw);
    map(kVirtualHandler, kHandler, kRx);
  }
  // Returns where the entry is. A page of `level` 1 has 2 MiB, of 2 1 GiB.
  std::uint64_t map(std::uint64_t gva, std::uint64_t gpa, std::uint64_t bits, unsigned level = 0) {
    std::uint64_t table = kRoot;
    for (unsigned at = levels_ - 1; at > level; --at) {
      const std::uint64_t entry = entry_at(table, gva, at);
      if (peek<std::uint64_t>(entry) == 0) {
        poke<std::uint64_t>(entry, pointer(next_table_));
        next_table_ += 4096;
      }
      table = peek<std::uint64_t>(entry) >> 10 << 12;
    }
    const std::uint64_t entry = entry_at(table, gva, level);
    poke<std::uint64_t>(entry, (gpa >> 12 << 10) | bits);
    return entry;
  }
  static constexpr std::uint64_t pointer(std::uint64_t table) { return (table >> 12 << 10) | kV; }
  static std::uint64_t entry_at(std::uint64_t table, std::uint64_t gva, unsigned level) {
    return table + 8 * ((gva >> (12 + 9 * level)) & 511);
  }
  void run(std::vector<std::uint32_t> words, Privilege privilege = Privilege::kSupervisor) {
    words.push_back(assembler::jal(0, 0));
    program(words);
    state().pc = kVirtualCode;
    state().privilege = privilege;
    state().csrs.scause = 0;
    state().csrs.mcause = 0;
    hart().forget_code();
    static_cast<void>(hart().run(words.size() + 2));
  }
  // Of one instruction: scause, 0 for none.
  std::uint64_t cause_of(std::uint32_t word, Privilege privilege = Privilege::kSupervisor) {
    run({kSfenceAll, word});
    if (privilege == Privilege::kUser) run({word}, privilege);
    return state().csrs.scause;
  }

 private:
  unsigned levels_;
  std::uint64_t next_table_ = kRoot + 4096;
};

}  // namespace vmrun

#endif  // TESTS_VMRUN_PAGING_HART_H_
