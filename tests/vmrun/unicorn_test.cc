// The same random programs on our hart and on Unicorn: registers and memory must agree.
//
// Loads and stores go through Sv39, in M-mode as if in S-mode (MPRV), to pages in another order;
// the tables, whose A and D bits both set, must agree as well.
//
// Left out, since Unicorn 2.0.1 (QEMU 5.0) and this hart may differ there by right: counters
// (another clock), traps (the programs have none), and misaligned atomics, SC of another width
// than its LR. Left out, since Unicorn 2.0.1 is wrong or knows nothing there: AMOMIN.W, AMOMAX.W,
// AMOMINU.W and AMOMAXU.W, which compare the zero-extended memory word with all 64 bits of the
// operand (QEMU 5.1 fixed it); minimum and maximum of signaling NaNs, and what is above a single in
// its register; Zba and Zbb. execute_*_test.cc have them.

#include <gtest/gtest.h>
#include <unicorn/unicorn.h>

#include <array>
#include <cstdio>
#include <memory>

#include "tests/vmrun/bare_hart.h"
#include "tests/vmrun/random_program.h"
#include "tools/vmrun/hart.h"

namespace vmrun {
namespace {

constexpr std::uint64_t kCode = 0x8000'0000;
constexpr std::uint64_t kCodeBytes = 8 << 20;
constexpr std::uint64_t kData = kCode + kCodeBytes;
constexpr std::uint64_t kDataBytes = 16384;
constexpr std::uint64_t kTables = kData + kDataBytes;
constexpr std::uint64_t kTableBytes = 3 * 4096;
// Unicorn looks for memory at virtual addresses as well, and uses none of it.
constexpr std::uint64_t kVirtualData = kTables + kTableBytes;
constexpr std::uint64_t kRamBytes = kVirtualData + kDataBytes - kCode;
constexpr std::uint64_t kProgramBytes = 512;
constexpr unsigned kPrograms = 4000;
constexpr unsigned kInstructions = 40;

using Registers = std::array<std::uint64_t, 32>;
using Data = std::array<std::byte, kDataBytes>;
using Tables = std::array<std::uint64_t, kTableBytes / 8>;

struct Result {
  Registers x{};
  Registers f{};
  Data data{};
  Tables tables{};
  std::uint64_t pc = 0;
};

struct Start {
  std::uint64_t pc = 0;
  std::vector<std::uint16_t> code;
  Registers x{};
  Registers f{};
  Data data{};

  std::uint64_t end() const { return pc + 2 * code.size(); }
};

// Page i of the data lies in page 3 - i, without A and D.
Tables make_tables() {
  constexpr std::uint64_t kValid = 1, kReadWrite = 6;
  const auto entry = [](std::uint64_t at, std::uint64_t bits) { return at >> 12 << 10 | bits; };
  Tables tables{};
  tables[kVirtualData >> 30 & 511] = entry(kTables + 4096, kValid);
  tables[512 + (kVirtualData >> 21 & 511)] = entry(kTables + 8192, kValid);
  for (std::uint64_t page = 0; page < 4; ++page) {
    tables[1024 + (kVirtualData >> 12 & 511) + page] =
        entry(kData + (3 - page) * 4096, kValid | kReadWrite);
  }
  return tables;
}

// Run once by both, with x5 = satp, x6 = all ones, x7 = mstatus: PMP is open, loads and
// stores are S-mode's, floating point is on.
constexpr std::uint32_t kSetUp[] = {0x3b031073,
                                    0x01f00393 /* li x7, 31 */,
                                    0x3a039073,
                                    0x18029073,
                                    0x000233b7 /* MPRV, FS */,
                                    0x80038393 /* MPP = S */,
                                    0x30039073,
                                    0x00000013};
constexpr std::uint64_t kSatp = std::uint64_t{8} << 60 | kTables >> 12;
constexpr std::uint64_t kSetUpAt = kData - 4096;
constexpr std::uint32_t kClearFlags = 0x00301073;
constexpr std::uint32_t kReadFlags = 0x00302ff3;  // to x31
constexpr std::uint32_t kForgetPages = 0x12000073;

class Reference {
 public:
  Reference() {
    EXPECT_EQ(uc_open(UC_ARCH_RISCV, UC_MODE_RISCV64, &uc_), UC_ERR_OK);
    EXPECT_EQ(uc_mem_map(uc_, kCode, kRamBytes, UC_PROT_ALL), UC_ERR_OK);
    uc_mem_write(uc_, kSetUpAt, kSetUp, sizeof kSetUp);
    const std::uint64_t satp = kSatp, ones = ~std::uint64_t{0};
    uc_reg_write(uc_, UC_RISCV_REG_X5, &satp);
    uc_reg_write(uc_, UC_RISCV_REG_X6, &ones);
    EXPECT_EQ(uc_emu_start(uc_, kSetUpAt, kSetUpAt + sizeof kSetUp, 0, 0), UC_ERR_OK);
  }
  Reference(const Reference&) = delete;
  Reference& operator=(const Reference&) = delete;
  ~Reference() { uc_close(uc_); }

  Result run(const Start& start) {
    uc_mem_write(uc_, start.pc, start.code.data(), 2 * start.code.size());
    uc_mem_write(uc_, kData, start.data.data(), start.data.size());
    const Tables tables = make_tables();
    uc_mem_write(uc_, kTables, tables.data(), sizeof tables);
    for (int i = 0; i < 32; ++i) {
      uc_reg_write(uc_, UC_RISCV_REG_F0 + i, &start.f[static_cast<std::size_t>(i)]);
    }
    for (int i = 1; i < 32; ++i) {
      uc_reg_write(uc_, UC_RISCV_REG_X0 + i, &start.x[static_cast<std::size_t>(i)]);
    }
    EXPECT_EQ(uc_emu_start(uc_, start.pc, start.end(), 0, 0), UC_ERR_OK);
    Result result;
    for (int i = 0; i < 32; ++i) {
      uc_reg_read(uc_, UC_RISCV_REG_X0 + i, &result.x[static_cast<std::size_t>(i)]);
      uc_reg_read(uc_, UC_RISCV_REG_F0 + i, &result.f[static_cast<std::size_t>(i)]);
    }
    uc_reg_read(uc_, UC_RISCV_REG_PC, &result.pc);
    uc_mem_read(uc_, kData, result.data.data(), result.data.size());
    uc_mem_read(uc_, kTables, result.tables.data(), sizeof result.tables);
    return result;
  }

 private:
  uc_engine* uc_ = nullptr;
};

class Ours {
 public:
  explicit Ours(Execution execution)
      : memory_(vm_mem::MemoryManager::create({}).value()), hart_(Hart::create(*memory_).value()) {
    const auto range = vm_mem::GuestRange::make(vm_mem::GuestAddress{kCode}, kRamBytes);
    EXPECT_TRUE(memory_->add_ram(*range, {.code_watch = vm_mem::CodeWatching::kOn}).ok());
    if (execution == Execution::kTranslated) {
      EXPECT_EQ(hart_->use_jit({.interpreted_runs = 0}), absl::OkStatus());
    }
    write(kSetUpAt, std::as_bytes(std::span(kSetUp)));
    hart_->state().x[5] = kSatp;
    hart_->state().x[6] = ~std::uint64_t{0};
    hart_->state().pc = kSetUpAt;
    while (hart_->state().pc != kSetUpAt + sizeof kSetUp - 4) static_cast<void>(hart_->run(1));
  }

  Result run(const Start& start) {
    constexpr std::uint32_t kSelfJump = 0x0000006f;
    write(start.pc, std::as_bytes(std::span(start.code)));
    write(start.end(), std::as_bytes(std::span(&kSelfJump, 1)));
    write(kData, start.data);
    const Tables tables = make_tables();
    write(kTables, std::as_bytes(std::span(tables)));
    HartState& state = hart_->state();
    std::copy(start.x.begin(), start.x.end(), state.x.begin());
    std::copy(start.f.begin(), start.f.end(), state.f.begin());
    state.pc = start.pc;
    state.reservation = {};
    hart_->forget_code();
    static_cast<void>(hart_->run(2 * kInstructions + 4));
    Result result;
    std::copy_n(state.x.begin(), 32, result.x.begin());
    std::copy_n(state.f.begin(), 32, result.f.begin());
    result.pc = state.pc;
    EXPECT_TRUE(memory_->read(vm_mem::GuestAddress{kData}, result.data).ok());
    EXPECT_TRUE(
        memory_
            ->read(vm_mem::GuestAddress{kTables}, std::as_writable_bytes(std::span(result.tables)))
            .ok());
    return result;
  }

 private:
  void write(std::uint64_t at, std::span<const std::byte> bytes) {
    EXPECT_TRUE(memory_->write(vm_mem::GuestAddress{at}, bytes).ok());
  }

  std::unique_ptr<vm_mem::MemoryManager> memory_;
  std::unique_ptr<Hart> hart_;
};

Start make_start(unsigned index) {
  RandomProgram random(index + 1);
  // Each at its own place: Unicorn keeps what it has translated.
  Start start{.pc = kCode + index * kProgramBytes, .code = {}};
  const auto add = [&start](std::uint32_t word) {
    start.code.push_back(static_cast<std::uint16_t>(word));
    start.code.push_back(static_cast<std::uint16_t>(word >> 16));
  };
  add(kForgetPages);
  add(kClearFlags);
  const auto made = random.make(kInstructions);
  start.code.insert(start.code.end(), made.begin(), made.end());
  start.code.insert(start.code.end(), {0x0001, 0x0001});
  add(kReadFlags);
  for (std::size_t i = 0; i < 32; ++i) {
    start.f[i] = i < RandomProgram::kSingles ? random.single() : random.value();
  }
  for (std::size_t i = 1; i < 32; ++i) start.x[i] = random.value();
  std::uint64_t slot = 0;  // no two bases hold the same address
  for (const unsigned base : RandomProgram::kBases) {
    start.x[base] = kVirtualData + kDataBytes / 2 + 8 * (3 * (random.value() % 85) + slot++);
  }
  for (std::byte& byte : start.data) byte = static_cast<std::byte>(random.value());
  return start;
}

std::string listing(const Start& start) {
  std::string out;
  for (const std::uint16_t half : start.code) {
    char text[8];
    std::snprintf(text, sizeof text, " %04x", half);
    out += text;
  }
  return out;
}

class UnicornTest : public ExecutionTest {};

// Translation is most of what a program costs that runs once: there are fewer of them.
TEST_P(UnicornTest, RandomProgramsGiveTheSameRegistersAndMemory) {
  Reference reference;
  Ours ours(GetParam());
  const unsigned programs = GetParam() == Execution::kTranslated ? kPrograms / 10 : kPrograms;
  for (unsigned index = 0; index < programs && !HasFailure(); ++index) {
    const Start start = make_start(index);
    ASSERT_LE(2 * start.code.size() + 4, kProgramBytes);
    const Result want = reference.run(start);
    const Result got = ours.run(start);
    EXPECT_EQ(got.pc, want.pc);
    for (std::size_t i = 0; i < 32; ++i) EXPECT_EQ(got.x[i], want.x[i]) << "x" << i;
    for (std::size_t i = 0; i < 32; ++i) {
      const std::uint64_t mask = i < RandomProgram::kSingles ? 0xffff'ffff : ~std::uint64_t{0};
      EXPECT_EQ(got.f[i] & mask, want.f[i] & mask) << "f" << i << std::hex << " of " << start.f[i];
    }
    EXPECT_TRUE(got.data == want.data) << "memory";
    EXPECT_TRUE(got.tables == want.tables) << "page tables";
    if (HasFailure()) ADD_FAILURE() << "program " << index << ":" << listing(start);
  }
}

INSTANTIATE_TEST_SUITE_P(Executions, UnicornTest, both_executions(), name_of_execution);

}  // namespace
}  // namespace vmrun
