#include "tools/vmrun/machine.h"

#include <elf.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <array>
#include <cstddef>
#include <cstring>

#include "tests/vmrun/assembler.h"
#include "tests/vmrun/bare_hart.h"
#include "tools/vmrun/seed.h"
#include "tools/vmrun/state_hash.h"

namespace vmrun {
namespace {

namespace as = assembler;
constexpr std::uint64_t kMemoryBytes = 16 << 20;

class MachineTest : public testing::Test {
 protected:
  using Code = std::vector<std::uint32_t>;

  static BootFile file(std::string name, std::span<const std::uint32_t> code) {
    return {std::move(name), std::as_bytes(code)};
  }
  void boot(Code code) {
    code.push_back(as::jal(0, 0));
    ASSERT_TRUE(start({.firmware = file("firmware", code)}).ok());
  }
  absl::Status start(BootFiles files) { return machine_->boot(files); }
  std::string refusal(BootFiles files) { return std::string(start(std::move(files)).message()); }
  template <typename T>
  T at(std::uint64_t address) {
    T value{};
    EXPECT_TRUE(machine_->memory().load(vm_mem::GuestAddress{address}, value).ok());
    return value;
  }
  std::uint64_t x(unsigned index) { return machine_->hart().state().x[index]; }

  std::string printed_;
  std::unique_ptr<Machine> machine_ =
      Machine::create({.memory_bytes = kMemoryBytes,
                       .disks = {},
                       .console = [this](char byte) { printed_.push_back(byte); }})
          .value();
};

TEST_F(MachineTest, EntersTheFirmwareAsQemuDoes) {
  boot({as::kNop});
  EXPECT_EQ(machine_->hart().state().pc, 0x8000'0000u);
  EXPECT_EQ(x(10), 0u);
  std::uint32_t magic = 0;
  ASSERT_TRUE(machine_->memory().load_be(vm_mem::GuestAddress{x(11)}, magic).ok());
  EXPECT_EQ(magic, 0xd00dfeedu);
}

TEST_F(MachineTest, RefusesFirmwareThatDoesNotFit) {
  EXPECT_EQ(machine_->boot({}).code(), absl::StatusCode::kInvalidArgument);
  const std::vector<std::byte> huge(kMemoryBytes);
  EXPECT_EQ(start({.firmware = {"huge", huge}}).code(), absl::StatusCode::kOutOfRange);
}

TEST_F(MachineTest, FirmwareIsMeasuredByWhatIsLoaded) {
  struct Elf {
    Elf64_Ehdr header{};
    Elf64_Phdr segment{};
    Code::value_type code = as::jal(0, 0);
  } elf;
  std::memcpy(elf.header.e_ident, ELFMAG, SELFMAG);
  elf.header.e_ident[EI_CLASS] = ELFCLASS64;
  elf.header.e_ident[EI_DATA] = ELFDATA2LSB;
  elf.header.e_machine = EM_RISCV;
  elf.header.e_entry = elf.segment.p_vaddr = elf.segment.p_paddr = 0x8000'1000;
  elf.header.e_phoff = offsetof(Elf, segment);
  elf.header.e_phentsize = sizeof elf.segment;
  elf.header.e_phnum = 1;
  elf.segment.p_type = PT_LOAD;
  elf.segment.p_offset = offsetof(Elf, code);
  elf.segment.p_filesz = elf.segment.p_memsz = sizeof elf.code;
  std::vector<std::byte> with_symbols(kMemoryBytes + (4 << 20));
  std::memcpy(with_symbols.data(), &elf, sizeof elf);
  const absl::Status status = start({.firmware = {"elf", with_symbols}});
  ASSERT_TRUE(status.ok()) << status;
  EXPECT_EQ(machine_->hart().state().pc, 0x8000'1000u);
  EXPECT_EQ(at<std::uint32_t>(0x8000'1000), as::jal(0, 0));
}

TEST_F(MachineTest, AKernelIsToldOfByTheDynamicInformation) {
  const Code code(4, as::kNop);
  ASSERT_TRUE(start({.firmware = file("f", code), .kernel = file("k", code)}).ok());
  EXPECT_EQ(machine_->hart().state().pc, 0x8000'0000u);
  EXPECT_EQ(at<std::uint32_t>(0x8020'0000), as::kNop);
  EXPECT_EQ(at<std::uint64_t>(x(12)), 0x4942'534fu);
  EXPECT_EQ(at<std::uint64_t>(x(12) + 8), 2u);
  EXPECT_EQ(at<std::uint64_t>(x(12) + 16), 0x8020'0000u);
  EXPECT_EQ(at<std::uint64_t>(x(12) + 24), 1u);  // S-mode
}

TEST_F(MachineTest, AnInitialRamDiskEndsBelowTheDeviceTree) {
  const Code code(4, as::kNop), disk(2048, 0x12345678);
  ASSERT_TRUE(start({.firmware = file("f", code),
                     .kernel = file("k", code),
                     .initrd = file("i", disk),
                     .append = "quiet"})
                  .ok());
  EXPECT_EQ(at<std::uint32_t>(x(11) - 8192), 0x12345678u);
  EXPECT_EQ(at<std::uint32_t>(x(11) - 4), 0x12345678u);
}

TEST_F(MachineTest, WhatDoesNotFitIsRefusedByName) {
  const Code code(4, as::kNop), large((2 << 20) / 4 + 1, as::kNop), huge((13 << 20) / 4);
  EXPECT_EQ(refusal({.firmware = file("f", large), .kernel = file("k", code)}),
            "k: 0x10 bytes at 0x80200000 would overwrite f at 0x80000000");
  EXPECT_EQ(refusal({.firmware = file("f", code), .kernel = file("k", huge)}),
            "k: 0xd00000 bytes at 0x80200000 would overwrite the device tree at 0x80e00000");
  EXPECT_EQ(
      refusal({.firmware = file("f", code), .kernel = file("k", code), .initrd = file("i", huge)}),
      "i: 0xd00000 bytes at 0x80100000 would overwrite k at 0x80200000");
  EXPECT_EQ(refusal({.firmware = file("f", code), .kernel = BootFile{"k", {}}}),
            "k: the file is empty");
}

TEST_F(MachineTest, TheGuestPrintsAndSwitchesOff) {
  boot({as::u_type(0x10000, 5, 0x37), as::addi(6, 0, 'X'), as::store(0, 6, 5, 0),
        as::u_type(0x100, 5, 0x37), as::u_type(5, 6, 0x37), as::addi(6, 6, 0x555),
        as::store(2, 6, 5, 0)});
  EXPECT_EQ(machine_->run(1'000'000), StopReason::kBudget);
  EXPECT_EQ(printed_, "X");
  ASSERT_TRUE(machine_->finish().has_value());
  EXPECT_EQ(machine_->finish()->kind, FinishKind::kPowerOff);
  EXPECT_LT(machine_->hart().state().clock.retired(), 100u);
}

TEST_F(MachineTest, ConsoleInputInterruptsThroughThePlic) {
  boot({as::u_type(0xc000, 5, 0x37), as::addi(6, 0, 1), as::store(2, 6, 5, 40),     // priority[10]
        as::u_type(0xc002, 7, 0x37), as::addi(6, 0, 0x400), as::store(2, 6, 7, 0),  // enable
        as::u_type(0x10000, 7, 0x37), as::addi(6, 0, 1), as::store(0, 6, 7, 1)});   // IER
  static_cast<void>(machine_->run(1000));
  const InterruptPins& pins = machine_->hart().state().pins;
  EXPECT_EQ(pins.bits() & mask_of(Interrupt::kExternal), 0u);
  machine_->uart().receive('x');
  EXPECT_NE(pins.bits() & mask_of(Interrupt::kExternal), 0u);
}

TEST_F(MachineTest, SkippingTimeReachesTheTimer) {
  boot({as::u_type(0x2004, 5, 0x37), as::addi(6, 0, 1000), as::store(3, 6, 5, 0),
        as::addi(7, 0, 0x80), as::csrrw(0, 0x304, 7), as::kWfi, as::addi(8, 0, 1)});
  EXPECT_EQ(machine_->run(100), StopReason::kWait);
  const std::uint64_t ticks = machine_->ticks_to_timer();
  EXPECT_LE(ticks, 1000u);
  machine_->skip(ticks);
  EXPECT_EQ(machine_->run(100), StopReason::kBudget);
  EXPECT_EQ(x(8), 1u);
}

TEST_F(MachineTest, WrittenPagesAreDirty) {
  boot({as::u_type(0x80100, 5, 0x37), as::i_type(32, 5, 1, 5, 0x13), as::i_type(32, 5, 5, 5, 0x13),
        as::store(0, 0, 5, 0)});
  const std::uint64_t before = machine_->dirty_pages();
  static_cast<void>(machine_->run(100));
  EXPECT_EQ(machine_->dirty_pages(), before + 1);
}

// A driver's part, played from outside: one buffer for the entropy device in slot 0.
TEST_F(MachineTest, TheEntropyDeviceGivesTheSeedsBytes) {
  const auto slots = HostSlots::create({.has_rng = true, .seed = 7}, [](char) {});
  ASSERT_TRUE(slots.ok());
  machine_ = Machine::create({.memory_bytes = kMemoryBytes,
                              .disks = {},
                              .console = [](char) {},
                              .devices = (*slots)->take_devices()})
                 .value();
  constexpr std::uint64_t kRing = 0x8010'0000, kAvail = kRing + 0x100, kUsed = kRing + 0x200;
  constexpr std::uint64_t kBuffer = kRing + 0x1000;
  const auto poke = [this](std::uint64_t address, auto value) {
    EXPECT_TRUE(machine_->memory().store(vm_mem::GuestAddress{address}, value).ok());
  };
  const auto set = [&](std::uint64_t offset, std::uint32_t value) {
    poke(kVirtioBase + offset, value);
  };
  poke(kRing, kBuffer);
  poke(kRing + 8, std::uint64_t{32} | std::uint64_t{2} << 32);  // to be written
  poke(kAvail + 2, std::uint16_t{1});
  set(0x70, 3);                               // there is a driver
  set(0x24, 1), set(0x20, 1), set(0x70, 11);  // VIRTIO_F_VERSION_1
  set(0x38, 8);                               // of queue 0
  set(0x80, kRing & ~0u), set(0x90, kAvail & ~0u), set(0xa0, kUsed & ~0u);
  set(0x44, 1), set(0x70, 15), set(0x50, 0);  // ready, and notified
  EXPECT_EQ(at<std::uint16_t>(kUsed + 2), 1u);
  EXPECT_EQ(at<std::uint32_t>(kUsed + 8), 32u);
  std::array<std::byte, 32> expected;
  SeededEntropy(7, ChanceUser::kEntropyDevice).take(expected);
  std::array<std::byte, 32> given;
  ASSERT_TRUE(machine_->memory().read(vm_mem::GuestAddress{kBuffer}, given).ok());
  EXPECT_EQ(given, expected);
}

TEST_F(MachineTest, TheStateHashIsOfRegistersAndMemory) {
  const Code code = {as::addi(5, 0, 7), as::jal(0, 0)};
  const auto hash_after = [&](std::uint64_t address, std::uint64_t value, bool with_x5) {
    machine_ = Machine::create({.memory_bytes = kMemoryBytes, .disks = {}, .console = [](char) {}})
                   .value();
    EXPECT_TRUE(start({.firmware = file("f", code)}).ok());
    EXPECT_TRUE(machine_->memory().store(vm_mem::GuestAddress{address}, value).ok());
    static_cast<void>(machine_->run(2));
    if (!with_x5) machine_->hart().state().x[5] = 0;
    return state_hash(*machine_).value();
  };
  const std::uint64_t hash = hash_after(0x8080'0000, 1, true);
  EXPECT_EQ(hash_after(0x8080'0000, 1, true), hash);
  EXPECT_NE(hash_after(0x8080'0000, 2, true), hash);
  EXPECT_NE(hash_after(0x8080'1000, 1, true), hash);
  EXPECT_NE(hash_after(0x8080'0000, 1, false), hash);
  EXPECT_EQ(hash_after(0x8080'1000, 0, true), hash_after(0x8080'0000, 0, true));  // pages of zeros
}

// lui t0, mtimecmp; sd t1, 0(t0); the interrupt lands in the handler at +0x100.
std::vector<std::uint32_t> timer_program() {
  std::vector<std::uint32_t> code(0x101, as::jal(0, 0));
  code[0] = as::u_type(0x2004, 5, 0x37);
  code[1] = as::addi(6, 0, 1000);
  code[2] = as::store(3, 6, 5, 0);
  code[3] = as::u_type(0, 7, 0x17);  // auipc t2
  code[4] = as::addi(7, 7, 0x100 - 12);
  code[5] = as::csrrw(0, 0x305, 7);  // mtvec
  code[6] = as::addi(7, 0, 0x80);
  code[7] = as::csrrw(0, 0x304, 7);      // mie = MTIE
  code[8] = as::csr(6, 0, 8, 0x300);     // mstatus.MIE
  code[0x40] = as::csrrs(28, 0xc01, 0);  // handler: rdtime t3
  return code;
}

class HartsTest : public MachineTest, public testing::WithParamInterface<Execution> {
 protected:
  static absl::StatusOr<std::unique_ptr<Machine>> two_harts(Execution execution) {
    const bool translated = execution == Execution::kTranslated;
    return Machine::create(
        {.memory_bytes = kMemoryBytes,
         .harts = 2,
         .disks = {},
         .console = [](char) {},
         .jit = translated ? std::optional(JitOptions{.interpreted_runs = 0}) : std::nullopt});
  }
  void SetUp() override {
    auto made = two_harts(GetParam());
    if (!made.ok()) GTEST_SKIP() << made.status();
    machine_ = *std::move(made);
  }
  std::uint64_t x(std::size_t hart, unsigned index) {
    return machine_->hart(hart).state().x[index];
  }
};

// Each adds 1 to the doubleword at 0x80100000 a thousand times, by LR and SC; turns end
// between the two.
TEST_P(HartsTest, ReservationsDoNotOutliveATurn) {
  boot({as::u_type(0x80100, 6, 0x37), as::i_type(32, 6, 1, 6, 0x13), as::i_type(32, 6, 5, 6, 0x13),
        as::addi(7, 0, 1000), as::amo(2, 3, 28, 6, 0), as::addi(28, 28, 1),
        as::amo(3, 3, 29, 6, 28), as::b_type(-12, 0, 29, 1), as::addi(7, 7, -1),
        as::b_type(-20, 0, 7, 1)});
  EXPECT_EQ(machine_->run(40'000), StopReason::kBudget);
  EXPECT_EQ(x(0, 7) + x(1, 7), 0u);
  EXPECT_EQ(at<std::uint64_t>(0x8010'0000), 2000u);
  EXPECT_GT(machine_->hart(0).state().clock.retired(), 2 * kTurnInstructions);
}

// Hart 1 waits for its software interrupt; hart 0 raises it after some time.
TEST_P(HartsTest, OneHartWakesTheOther) {
  boot({as::csrrs(10, 0xf14, 0), as::b_type(28, 0, 10, 1), as::addi(7, 0, 1000),  //
        as::addi(7, 7, -1), as::b_type(-4, 0, 7, 1), as::u_type(0x2000, 6, 0x37),
        as::store(2, 6, 6, 4) /* bit 0 is 0 */, as::jal(0, 0),  //
        as::addi(7, 0, 8), as::csrrw(0, 0x304, 7), as::kWfi, as::csrrs(8, 0xc01, 0),
        as::csrrs(9, 0x344, 0)});
  EXPECT_EQ(machine_->run(20'000), StopReason::kBudget);
  EXPECT_EQ(x(1, 8), 0u);  // not woken by a zero
  std::uint32_t one = 1;
  ASSERT_TRUE(machine_->memory().store(vm_mem::GuestAddress{0x200'0004}, one).ok());
  static_cast<void>(machine_->run(20'000));
  EXPECT_GE(x(1, 8), 2000u / kInstructionsPerTick);  // time went on meanwhile
  EXPECT_EQ(x(1, 9), 8u);
}

// Of hart 0; the other one runs the loop on.
TEST_P(HartsTest, TheTimerInterruptsWithinABlockOfItsTime) {
  boot(timer_program());
  EXPECT_EQ(machine_->run(40'000), StopReason::kBudget);
  EXPECT_EQ(machine_->hart(0).state().csrs.mcause, (std::uint64_t{1} << 63) | 7);
  EXPECT_GE(x(0, 28), 1000u);
  EXPECT_LE(x(0, 28), 1000u + BlockCache::kMaxBlockOps / kInstructionsPerTick + 1);
  EXPECT_EQ(machine_->hart(1).state().csrs.mcause, 0u);
}

// Hart 0 writes an instruction again and again, beside the words by which the two wait for each
// other: hart 1 runs it.
const std::vector<std::uint32_t> kOneWritesTheOthersCode = {
    as::csrrs(10, 0xf14, 0), as::u_type(0x80100, 6, 0x37), as::i_type(32, 6, 1, 6, 0x13),
    as::i_type(32, 6, 5, 6, 0x13), as::b_type(68, 0, 10, 1),
    // Hart 0: addi x5, x5, n, and a return.
    as::u_type(0x100, 12, 0x37), as::u_type(0x28, 7, 0x37), as::addi(7, 7, 0x293),
    as::u_type(8, 8, 0x37), as::addi(8, 8, 0x67), as::store(2, 8, 6, 0x7f4), as::addi(9, 0, 0),
    as::op(0, 0, 7, 7, 12), as::store(2, 7, 6, 0x7f0), as::addi(9, 9, 1), as::store(3, 9, 6, 0),
    as::load(3, 11, 6, 8), as::b_type(-4, 9, 11, 1), as::addi(13, 9, -50),
    as::b_type(-28, 0, 13, 1), as::jal(0, 0),
    // Hart 1.
    as::addi(9, 0, 0), as::addi(14, 6, 0x7f0), as::load(3, 11, 6, 0), as::b_type(-4, 9, 11, 0),
    as::addi(9, 11, 0), as::kFenceI, as::i_type(0, 14, 0, 1, 0x67), as::store(3, 9, 6, 8),
    as::jal(0, -24)};

TEST_P(HartsTest, OneWritesTheCodeThatTheOtherRuns) {
  boot(kOneWritesTheOthersCode);
  EXPECT_EQ(machine_->run(1'000'000), StopReason::kBudget);
  EXPECT_EQ(x(0, 9), 50u);
  EXPECT_EQ(x(1, 5), 50u * 51 / 2);
  const Jit* const jit = machine_->hart(1).jit();
  if (jit == nullptr) return;
  EXPECT_GE(jit->statistics().invalidated, 49u);
  EXPECT_EQ(jit->statistics().interpreted, 0u);  // no page was in use elsewhere
}

TEST_P(HartsTest, TurnsEndAtTheSameInstructionsHoweverTheyRun) {
  const auto other = two_harts(Execution::kInterpreted).value();
  boot(kOneWritesTheOthersCode);
  ASSERT_TRUE(other->boot({.firmware = file("firmware", kOneWritesTheOthersCode)}).ok());
  for (const std::uint64_t instructions : {1u, 999u, 7u, 20'001u, 4'999u, 100'000u}) {
    static_cast<void>(machine_->run(instructions));
    static_cast<void>(other->run(instructions));
    for (std::size_t hart = 0; hart < 2; ++hart) {
      HartState &got = machine_->hart(hart).state(), &want = other->hart(hart).state();
      EXPECT_EQ(got.pc, want.pc);
      EXPECT_EQ(got.clock.retired(), want.clock.retired());
      EXPECT_EQ(got.clock.ticks(), want.clock.ticks());
      EXPECT_TRUE(std::equal(&got.x[0], &got.x[32], &want.x[0])) << "registers of hart " << hart;
    }
  }
}

INSTANTIATE_TEST_SUITE_P(Executions, HartsTest, both_executions(), name_of_execution);

TEST(MachineCreateTest, RefusesHartsThatItCannotHave) {
  for (const unsigned harts : {0u, kMostHarts + 1}) {
    const auto machine = Machine::create(
        {.memory_bytes = kMemoryBytes, .harts = harts, .disks = {}, .console = [](char) {}});
    EXPECT_EQ(machine.status().code(), absl::StatusCode::kInvalidArgument);
  }
}

TEST(MachineCreateTest, RefusesMoreDisksThanSlots) {
  const auto machine = Machine::create(
      {.memory_bytes = kMemoryBytes, .disks = std::vector<DiskFile>(9), .console = [](char) {}});
  EXPECT_EQ(machine.status().code(), absl::StatusCode::kInvalidArgument);
}

}  // namespace
}  // namespace vmrun
