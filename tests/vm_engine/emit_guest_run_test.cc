// Emitted loads, stores, copies and fills of guest memory, executed beside the helpers that
// they stand for.
#include <gtest/gtest.h>

#include <algorithm>
#include <array>
#include <cstring>
#include <random>
#include <string>
#include <tuple>

#include "absl/strings/str_format.h"
#include "tests/vm_engine/emitted_code.h"
#include "tests/vm_engine/machine.h"
#include "vm_engine/emit.h"
#include "vm_engine/fastmem.h"
#include "vm_mem/simd_memcpy.h"

namespace vm_engine {
namespace {

using vm_test::EmittedCode;
using vm_test::id;
using vm_test::kPage;
using vm_test::Machine;
using vm_test::patterned;
using vm_test::RegisterFile;

// Operands, vCPU and result in registers of their own, some of them scratch.
struct Registers {
  explicit Registers(std::mt19937& random) {
    std::array<unsigned, 15> regs{0, 1, 2, 3, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15};
    std::shuffle(regs.begin(), regs.end(), random);
    for (std::size_t i = 0; i < all.size(); ++i) all[i] = static_cast<Reg>(regs[i]);
  }
  std::array<Reg, 6> all;
  Reg a() const { return all[0]; }
  Reg b() const { return all[1]; }
  Reg c() const { return all[2]; }
};

void expect_same_fault(const vme_fault& ours, const vme_fault& theirs) {
  EXPECT_EQ(ours.rc, theirs.rc);
  EXPECT_EQ(ours.access, theirs.access);
  EXPECT_EQ(ours.side, theirs.side);
  EXPECT_EQ(ours.gva, theirs.gva);
  EXPECT_EQ(ours.gpa, theirs.gpa);
  EXPECT_EQ(ours.done, theirs.done);
}

class EmitGuestRunTest : public testing::TestWithParam<AddressMode> {
 protected:
  void SetUp() override {
    if (!vm_mem::has_avx2()) GTEST_SKIP() << "not on this CPU";
    for (Machine* m : {&machine, &twin}) {
      m->put(Machine::kRam, vm_test::noise(8 * kPage, 21));
      m->put(Machine::kTracked, vm_test::noise(4 * kPage, 22));
    }
    config.address_mode = GetParam();
    config.exit = EmittedCode::exit_target();
    if (GetParam() == AddressMode::kFastmem) start_arena();
  }
  void TearDown() override {
    if (arena == nullptr) return;
    arena->detach(machine.cpu.get());
    vme_thread_detach();
  }

  void start_arena() {
    ASSERT_EQ(vme_fault_install(0), VME_OK);
    ASSERT_EQ(vme_thread_attach(machine.cpu.get()), VME_OK);
    arena = FastmemArena::create(*machine.memory,
                                 {.bytes = std::uint64_t{1} << kArenaBits, .guard_bytes = 1 << 20})
                .value();
    ASSERT_EQ(arena->mode(), FastmemMode::kFastmem) << arena->reason();
    ASSERT_TRUE(arena->attach(machine.cpu.get()).ok());
    config.arena_bits = kArenaBits;
  }

  void take(const Registers& registers, std::mt19937& random) {
    config.cpu = registers.all[3];
    config.result = registers.all[4];
    config.fastmem_base = registers.all[5];
    config.gva_bits = random() % 2 == 0 ? 64 : kArenaBits;
    config.scratch = static_cast<RegSet>(random() & random() & 0xffef) | 0x0300;
    if (random() % 2 == 0) config.scratch = kCallerSaved | 0x7000;
    config.scratch_vectors = static_cast<VectorSet>(random() & 0xffff) | 0x10;
    config.level = static_cast<VectorLevel>(random() % (vm_mem::has_avx512() ? 3 : 2));
    config.rsp_mod_16 = random() % 2 == 0 ? 0 : 8;
    config.red_zone_bytes = static_cast<std::uint32_t>(random() % (vm_test::kRedZoneBytes / 8) * 8);
    config.cookie = static_cast<std::uint16_t>(random());
    config.guest_pc = 0x8877665544332211 + random();
  }

  // Runs what `emit` writes; false: there are too few scratch registers for it.
  template <typename Emit>
  bool run(Emit emit, RegisterFile in) {
    code.start_anew();
    const absl::Status status = emit(code.buffer());
    if (status.code() == absl::StatusCode::kFailedPrecondition) return false;
    EXPECT_TRUE(status.ok()) << status;
    code.finish();
    in.gpr[id(config.cpu)] = reinterpret_cast<std::uint64_t>(machine.cpu.get());
    if (arena != nullptr) {
      in.gpr[id(config.fastmem_base)] = reinterpret_cast<std::uint64_t>(machine.cpu->fastmem_base);
    }
    const std::uint64_t before = code.exits();
    entered = in;
    run_registered();
    exited = code.exits() != before;
    return true;
  }

  void run_registered() {
    const std::vector<vme_site>& sites = code.buffer().fault_sites;
    EXPECT_TRUE(sites.empty() || arena != nullptr);
    vme_code* registered = nullptr;
    if (!sites.empty()) {
      ASSERT_EQ(vme_code_register(machine.engine.get(), code.memory(), EmittedCode::kCodeBytes,
                                  sites.data(), sites.size(), &registered),
                VME_OK);
    }
    out = code.run(entered, config.rsp_mod_16);
    if (registered != nullptr) {
      EXPECT_EQ(vme_code_unregister(registered), VME_OK);
    }
  }

  void check_rest(RegSet may_change) const {
    const RegSet changed = config.scratch & ~reg_bit(config.cpu);
    const RegSet result = exited || GetParam() == AddressMode::kGuest ? reg_bit(config.result) : 0;
    vm_test::expect_survivors(config, entered, out, changed | may_change | result,
                              config.level == VectorLevel::kSse2 ? 16 : 32);
    if (!exited) return;
    EXPECT_EQ(machine.cpu->fault.site, config.cookie);
    EXPECT_EQ(machine.cpu->fault.guest_pc, config.guest_pc);
  }

  static std::vector<std::byte> all_of(Machine& m) {
    std::vector<std::byte> all = m.bytes(Machine::kRam, 8 * kPage);
    const std::vector<std::byte> tracked = m.bytes(Machine::kTracked, 4 * kPage);
    all.insert(all.end(), tracked.begin(), tracked.end());
    return all;
  }
  // Says where they differ.
  // After a copy or fill of which the twin's helper left `left` bytes.
  void check_bulk(std::uint64_t left, const std::string& what) {
    if (GetParam() == AddressMode::kGuest) {
      EXPECT_FALSE(exited);
      EXPECT_EQ(out.gpr[id(config.result)], left);
    } else {
      EXPECT_EQ(exited, left != 0);
      if (exited) {
        EXPECT_EQ(out.gpr[id(config.result)], left);
      }
    }
    if (left != 0) expect_same_fault(machine.cpu->fault, twin.cpu->fault);
    check_rest(0);
    check_memory(what);
  }
  void check_memory(const std::string& what) {
    const std::vector<std::byte> ours = all_of(machine), theirs = all_of(twin);
    if (std::memcmp(ours.data(), theirs.data(), ours.size()) == 0) return;
    const auto differs = std::ranges::mismatch(ours, theirs).in1 - ours.begin();
    FAIL() << what << ": byte " << differs << " differs";
  }

  // Addresses that the register may have beside those that the guest uses.
  std::uint64_t maybe_far(std::uint64_t gva, std::mt19937& random) const {
    if (config.gva_bits != 64 || random() % 16 != 0) return gva;
    return gva | std::uint64_t{1} << (kArenaBits + random() % (64 - kArenaBits));
  }

  static constexpr unsigned kArenaBits = 24;

  EmitConfig config;
  EmittedCode code;
  Machine machine{{}, vm_mem::Backing::kMemfd}, twin{{}, vm_mem::Backing::kMemfd};
  std::unique_ptr<FastmemArena> arena;
  RegisterFile entered, out;
  bool exited = false;
};

std::string mode_name(const testing::TestParamInfo<AddressMode>& mode) {
  constexpr const char* kNames[] = {"host", "guest", "fastmem", "softtlb"};
  return kNames[static_cast<int>(mode.param)];
}

INSTANTIATE_TEST_SUITE_P(PerMode, EmitGuestRunTest,
                         testing::Values(AddressMode::kGuest, AddressMode::kFastmem,
                                         AddressMode::kSoftTlb),
                         mode_name);

// An address of RAM, ROM, a device or a hole, often next to the end of a page.
std::uint64_t any_address(std::mt19937& random) {
  constexpr std::array<std::uint64_t, 8> kPages{
      Machine::kRam,     Machine::kRam + kPage, Machine::kRam + 7 * kPage, Machine::kTracked,
      Machine::kTracked, Machine::kRom,         Machine::kDevice + kPage,  Machine::kBehind};
  const std::uint64_t page = kPages[random() % kPages.size()];
  if (random() % 3 == 0) return page + kPage - 1 - random() % 70;
  return page + random() % (kPage - 80);
}

MemOp any_op(std::mt19937& random) {
  return {.bytes = 1u << random() % 4,
          .extend = random() % 2 == 0 ? Extend::kZero : Extend::kSign,
          .order = random() % 2 == 0 ? ByteOrder::kLittle : ByteOrder::kBig};
}

std::uint64_t converted(std::uint64_t value, MemOp op) {
  if (op.order == ByteOrder::kBig) value = __builtin_bswap64(value) >> (64 - 8 * op.bytes);
  const unsigned unused = 64 - 8 * op.bytes;
  value <<= unused;
  return op.extend == Extend::kSign
             ? static_cast<std::uint64_t>(static_cast<std::int64_t>(value) >> unused)
             : value >> unused;
}

std::uint32_t element(MemOp op) {
  return static_cast<std::uint32_t>(std::countr_zero(op.bytes)) << VME_ELEM_SHIFT;
}

TEST_P(EmitGuestRunTest, LoadsAreTheHelpers) {
  std::mt19937 random(31);
  int ran = 0;
  for (int round = 0; round < 1500; ++round) {
    const Registers registers(random);
    take(registers, random);
    const MemOp op = any_op(random);
    const std::uint64_t gva = maybe_far(any_address(random), random);
    const Reg dst = random() % 4 == 0 ? registers.b() : registers.a();
    RegisterFile in = patterned();
    in.gpr[id(registers.b())] = gva;
    const auto emit = [&](CodeBuffer& buffer) {
      return emit_load(buffer, config, dst, registers.b(), op);
    };
    if (!run(emit, in)) continue;
    ++ran;
    const vme_value expected = vme_load(twin.cpu.get(), gva, element(op));
    EXPECT_EQ(exited, expected.left != 0);
    if (exited) {
      EXPECT_EQ(out.gpr[id(config.result)], expected.left);
      expect_same_fault(machine.cpu->fault, twin.cpu->fault);
      if (dst != config.result) {
        EXPECT_EQ(out.gpr[id(dst)], in.gpr[id(dst)]) << "kept, scratch or not";
      }
      check_rest(0);
    } else {
      EXPECT_EQ(out.gpr[id(dst)], converted(expected.value, op)) << op.bytes;
      check_rest(reg_bit(dst));
    }
  }
  EXPECT_GT(ran, 1000);
  EXPECT_EQ(machine.device.log, twin.device.log);
}

TEST_P(EmitGuestRunTest, StoresAreTheHelpers) {
  std::mt19937 random(32);
  int ran = 0;
  for (int round = 0; round < 1500; ++round) {
    const Registers registers(random);
    take(registers, random);
    const MemOp op = any_op(random);
    const std::uint64_t gva = maybe_far(any_address(random), random);
    RegisterFile in = patterned();
    in.gpr[id(registers.a())] = gva;
    in.gpr[id(registers.b())] = 0x123456789abcdef0 * (random() | 1);
    const std::uint64_t value = in.gpr[id(registers.b())];
    const auto emit = [&](CodeBuffer& buffer) {
      return emit_store(buffer, config, registers.a(), registers.b(), op);
    };
    if (!run(emit, in)) continue;
    ++ran;
    const std::uint64_t stored =
        converted(value & (~0ull >> (64 - 8 * op.bytes)), {op.bytes, Extend::kZero, op.order});
    const std::uint64_t left = vme_store(twin.cpu.get(), gva, stored, element(op));
    EXPECT_EQ(exited, left != 0);
    if (exited) {
      EXPECT_EQ(out.gpr[id(config.result)], left);
      expect_same_fault(machine.cpu->fault, twin.cpu->fault);
    }
    check_rest(0);
    const std::uint64_t page = gva / kPage * kPage;
    if (gva < 1 << kArenaBits && page != Machine::kRom && page != Machine::kDevice + kPage) {
      const std::size_t there = std::min<std::size_t>(op.bytes, page + kPage - gva);
      EXPECT_EQ(machine.bytes(gva, there), twin.bytes(gva, there));
    }
  }
  EXPECT_GT(ran, 1000);
  check_memory("at the end");
  EXPECT_EQ(machine.device.log, twin.device.log);
}

std::uint32_t any_flags(std::mt19937& random) {
  constexpr std::array<std::uint32_t, 8> kFlags{0,
                                                0,
                                                VME_OVERLAP_DISJOINT,
                                                VME_BACKWARD,
                                                VME_OVERLAP_PROPAGATE,
                                                VME_ATOMIC_OR_NOTHING,
                                                VME_ONCE,
                                                VME_POLL | VME_NO_MMIO};
  const std::uint32_t element_log2 = random() % 4 == 0 ? random() % 8 : 0;
  return kFlags[random() % kFlags.size()] | element_log2 << VME_ELEM_SHIFT;
}

TEST_P(EmitGuestRunTest, CopiesAreTheHelpers) {
  std::mt19937 random(33);
  for (int round = 0; round < 3000; ++round) {
    const Registers registers(random);
    take(registers, random);
    config.flags = any_flags(random);
    config.inline_max = random() % 200;
    const std::uint64_t bytes =
        random() % (random() % 2 == 0 ? 100 : 13) * (random() % 3 == 0 ? 8 : 1);
    const std::uint64_t src = maybe_far(any_address(random), random);
    bool overlap = random() % 2 == 0;
    const std::uint64_t dst =
        overlap ? src + random() % 100 - 50 : maybe_far(any_address(random), random);
    overlap = dst - src < bytes || src - dst < bytes;
    if (overlap) config.flags &= ~std::uint32_t{VME_OVERLAP_DISJOINT};
    const bool low_half = random() % 2 == 0;
    RegisterFile in = patterned();
    in.gpr[id(registers.a())] = dst;
    in.gpr[id(registers.b())] = src;
    in.gpr[id(registers.c())] = bytes | (low_half ? 0xabcdef0100000000 : 0);
    const CopySize in_register =
        low_half ? CopySize::in_low_half(registers.c()) : CopySize::in(registers.c());
    const CopySize size = random() % 3 != 0 ? CopySize::constant(bytes) : in_register;
    ASSERT_TRUE(run(
        [&](CodeBuffer& buffer) {
          return emit_memcpy_call(buffer, config, registers.a(), registers.b(), size);
        },
        in));
    const std::uint64_t left = vme_copy(twin.cpu.get(), dst, src, bytes, config.flags);
    const std::string what = absl::StrFormat(
        "%d bytes from %#x to %#x, flags %#x, level %d, in line to %d, %d left", bytes, src, dst,
        config.flags, static_cast<int>(config.level), config.inline_max, left);
    ASSERT_NO_FATAL_FAILURE(check_bulk(left, what));
  }
  check_memory("at the end");
  EXPECT_EQ(machine.device.log, twin.device.log);
}

TEST_P(EmitGuestRunTest, FillsAreTheHelpers) {
  std::mt19937 random(34);
  for (int round = 0; round < 2000; ++round) {
    const Registers registers(random);
    take(registers, random);
    config.inline_max = random() % 200;
    const std::uint64_t bytes = random() % 100;
    const std::uint64_t dst = maybe_far(any_address(random), random);
    const auto byte = static_cast<std::uint8_t>(random() % 3 == 0 ? 0 : random());
    RegisterFile in = patterned();
    in.gpr[id(registers.a())] = dst;
    in.gpr[id(registers.b())] = 0x1234567890abcd00 | byte;
    in.gpr[id(registers.c())] = 0xabcdef0100000000 | bytes;
    const CopySize size =
        random() % 4 != 0 ? CopySize::constant(bytes) : CopySize::in_low_half(registers.c());
    const FillByte value =
        random() % 2 == 0 ? FillByte::constant(byte) : FillByte::in(registers.b());
    ASSERT_TRUE(run(
        [&](CodeBuffer& buffer) {
          return emit_memset_call(buffer, config, registers.a(), value, size);
        },
        in));
    const std::uint64_t left = vme_fill(twin.cpu.get(), dst, byte, bytes, 0);
    const std::string what =
        absl::StrFormat("%d bytes at %#x, level %d, in line to %d, %d left", bytes, dst,
                        static_cast<int>(config.level), config.inline_max, left);
    ASSERT_NO_FATAL_FAILURE(check_bulk(left, what));
  }
  check_memory("at the end");
  EXPECT_EQ(machine.device.log, twin.device.log);
}

// With helpers that cannot be called.
TEST_P(EmitGuestRunTest, AHitCallsNothing) {
  if (GetParam() == AddressMode::kGuest) GTEST_SKIP() << "it always calls";
  std::uint64_t word = 0;
  ASSERT_EQ(store(*machine.cpu, Machine::kRam + 64, word), VME_OK);
  config.helpers = {.load = 16, .store = 16, .copy = 16, .fill = 16, .write = 16};
  RegisterFile in = patterned();
  in.gpr[id(Reg::kRdi)] = Machine::kRam + 64;
  in.gpr[id(Reg::kRsi)] = Machine::kRam + 1000;
  const auto emit = [&](CodeBuffer& buffer) {
    absl::Status status =
        emit_memcpy_call(buffer, config, Reg::kRdi, Reg::kRsi, CopySize::constant(60));
    status.Update(emit_load(buffer, config, Reg::kRax, Reg::kRdi, {.bytes = 8}));
    status.Update(
        emit_memset_call(buffer, config, Reg::kRsi, FillByte::constant(7), CopySize::constant(20)));
    status.Update(emit_store(buffer, config, Reg::kRsi, Reg::kRax, {.bytes = 4}));
    return status;
  };
  config.result = Reg::kRbx;
  config.scratch &= ~reg_bit(Reg::kRax);
  ASSERT_TRUE(run(emit, in));
  EXPECT_FALSE(exited);
  const auto noise = vm_test::noise(8 * kPage, 21);
  EXPECT_TRUE(std::equal(noise.begin() + 1000, noise.begin() + 1004,
                         machine.bytes(Machine::kRam + 1000, 4).begin()));
  EXPECT_EQ(machine.bytes(Machine::kRam + 1004, 16), std::vector<std::byte>(16, std::byte{7}));
}

TEST_P(EmitGuestRunTest, AnExitMayBeAnywhere) {
  config.exit = ExitTarget::at_address(reinterpret_cast<std::uint64_t>(code.memory()));
  RegisterFile in = patterned();
  in.gpr[id(Reg::kRdi)] = 0x7777;
  config.rsp_mod_16 = 8;
  ASSERT_TRUE(run(
      [&](CodeBuffer& buffer) {
        return emit_load(buffer, config, Reg::kRbx, Reg::kRdi, {.bytes = 2});
      },
      in));
  EXPECT_TRUE(exited);
  EXPECT_EQ(out.gpr[id(Reg::kRax)], 2u);
  EXPECT_EQ(out.gpr[id(Reg::kRbx)], in.gpr[id(Reg::kRbx)]);
  EXPECT_EQ(machine.cpu->fault.gva, 0x7777u);
}

}  // namespace
}  // namespace vm_engine
