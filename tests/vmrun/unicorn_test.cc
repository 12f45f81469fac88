// The same random programs on our hart and on Unicorn: registers and memory must agree.
//
// Left out, since Unicorn 2.0.1 (QEMU 5.0) and this hart may differ there by right:
// CSRs and counters (another clock), traps (the programs have none), and misaligned
// atomics, SC of another width than its LR. Left out, since Unicorn 2.0.1 is wrong there: AMOMIN.W,
// AMOMAX.W, AMOMINU.W and AMOMAXU.W, which compare the zero-extended memory word with all 64 bits
// of the operand (QEMU 5.1 fixed it); execute_atomic_test.cc has them.

#include <gtest/gtest.h>
#include <unicorn/unicorn.h>

#include <array>
#include <cstdio>
#include <memory>

#include "tests/vmrun/random_program.h"
#include "tools/vmrun/hart.h"

namespace vmrun {
namespace {

constexpr std::uint64_t kCode = 0x8000'0000;
constexpr std::uint64_t kCodeBytes = 8 << 20;
constexpr std::uint64_t kData = kCode + kCodeBytes;
constexpr std::uint64_t kDataBytes = 16384;
constexpr std::uint64_t kProgramBytes = 512;
constexpr unsigned kPrograms = 6000;
constexpr unsigned kInstructions = 40;

using Registers = std::array<std::uint64_t, 32>;
using Data = std::array<std::byte, kDataBytes>;

struct Result {
  Registers x{};
  Data data{};
  std::uint64_t pc = 0;
};

struct Start {
  std::uint64_t pc = 0;
  std::vector<std::uint16_t> code;
  Registers x{};
  Data data{};

  std::uint64_t end() const { return pc + 2 * code.size(); }
};

class Reference {
 public:
  Reference() {
    EXPECT_EQ(uc_open(UC_ARCH_RISCV, UC_MODE_RISCV64, &uc_), UC_ERR_OK);
    EXPECT_EQ(uc_mem_map(uc_, kCode, kCodeBytes + kDataBytes, UC_PROT_ALL), UC_ERR_OK);
  }
  Reference(const Reference&) = delete;
  Reference& operator=(const Reference&) = delete;
  ~Reference() { uc_close(uc_); }

  Result run(const Start& start) {
    uc_mem_write(uc_, start.pc, start.code.data(), 2 * start.code.size());
    uc_mem_write(uc_, kData, start.data.data(), start.data.size());
    for (int i = 1; i < 32; ++i) {
      uc_reg_write(uc_, UC_RISCV_REG_X0 + i, &start.x[static_cast<std::size_t>(i)]);
    }
    EXPECT_EQ(uc_emu_start(uc_, start.pc, start.end(), 0, 0), UC_ERR_OK);
    Result result;
    for (int i = 0; i < 32; ++i) {
      uc_reg_read(uc_, UC_RISCV_REG_X0 + i, &result.x[static_cast<std::size_t>(i)]);
    }
    uc_reg_read(uc_, UC_RISCV_REG_PC, &result.pc);
    uc_mem_read(uc_, kData, result.data.data(), result.data.size());
    return result;
  }

 private:
  uc_engine* uc_ = nullptr;
};

class Ours {
 public:
  Ours()
      : memory_(vm_mem::MemoryManager::create({}).value()), hart_(Hart::create(*memory_).value()) {
    const auto range =
        vm_mem::GuestRange::make(vm_mem::GuestAddress{kCode}, kCodeBytes + kDataBytes);
    EXPECT_TRUE(memory_->add_ram(*range).ok());
  }

  Result run(const Start& start) {
    constexpr std::uint32_t kSelfJump = 0x0000006f;
    write(start.pc, std::as_bytes(std::span(start.code)));
    write(start.end(), std::as_bytes(std::span(&kSelfJump, 1)));
    write(kData, start.data);
    HartState& state = hart_->state();
    std::copy(start.x.begin(), start.x.end(), state.x.begin());
    state.pc = start.pc;
    state.reservation = {};
    hart_->forget_code();
    static_cast<void>(hart_->run(2 * kInstructions));
    Result result;
    std::copy_n(state.x.begin(), 32, result.x.begin());
    result.pc = state.pc;
    EXPECT_TRUE(memory_->read(vm_mem::GuestAddress{kData}, result.data).ok());
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
  Start start{.pc = kCode + index * kProgramBytes, .code = random.make(kInstructions)};
  start.code.insert(start.code.end(), {0x0001, 0x0001});
  for (std::size_t i = 1; i < 32; ++i) start.x[i] = random.value();
  std::uint64_t slot = 0;  // no two bases hold the same address
  for (const unsigned base : RandomProgram::kBases) {
    start.x[base] = kData + kDataBytes / 2 + 8 * (3 * (random.value() % 85) + slot++);
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

TEST(UnicornTest, RandomProgramsGiveTheSameRegistersAndMemory) {
  Reference reference;
  Ours ours;
  for (unsigned index = 0; index < kPrograms && !HasFailure(); ++index) {
    const Start start = make_start(index);
    ASSERT_LE(2 * start.code.size() + 4, kProgramBytes);
    const Result want = reference.run(start);
    const Result got = ours.run(start);
    EXPECT_EQ(got.pc, want.pc);
    for (std::size_t i = 0; i < 32; ++i) EXPECT_EQ(got.x[i], want.x[i]) << "x" << i;
    EXPECT_TRUE(got.data == want.data) << "memory";
    if (HasFailure()) ADD_FAILURE() << "program " << index << ":" << listing(start);
  }
}

}  // namespace
}  // namespace vmrun
