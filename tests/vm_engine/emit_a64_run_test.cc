// Emitted AArch64 code, executed: what it copies, and what it leaves alone.
#include <gtest/gtest.h>

#include <algorithm>
#include <random>

#include "tests/support/bytes.h"
#include "tests/support/guarded_buffer.h"
#include "tests/vm_engine/emit_a64_program.h"
#include "vm_engine/emit.h"

namespace vm_engine {
namespace {

using vm_test::A64Registers;
using vm_test::check_survivors;
using vm_test::Edge;
using vm_test::GuardedBuffer;
using vm_test::id;
using vm_test::patterned;
using vm_test::Program;

constexpr Reg kDst = Reg::kX19;
constexpr Reg kSrc = Reg::kX20;
constexpr Reg kSize = Reg::kX21;

struct Operands {
  Reg dst = kDst;
  Reg src = kSrc;
};

class EmitA64RunTest : public testing::Test {
 protected:
  void check_host_copy(std::size_t bytes, CopySize size, Operands operands = {}) {
    const GuardedBuffer from(bytes + 1), to(bytes + 1);
    Program program;
    if (with_stubs) {
      Stubs stubs;
      ASSERT_TRUE(emit_stubs(stub_buffer(program), config, stubs).ok());
      config.stubs = &stubs;
      emit_copy(program, size, operands);
      config.stubs = nullptr;
    } else {
      emit_copy(program, size, operands);
    }
    ASSERT_NO_FATAL_FAILURE(program.finish());
    for (const Edge edge : {Edge::kFront, Edge::kBack}) {
      std::ranges::fill(to.all(), std::byte{0xcc});
      const auto noise = vm_test::noise(bytes, static_cast<unsigned>(bytes) + 1);
      std::ranges::copy(noise, from.at(edge, bytes).begin());
      A64Registers in = patterned();
      in.x[id(operands.dst)] = reinterpret_cast<std::uint64_t>(to.at(edge, bytes).data());
      in.x[id(operands.src)] = reinterpret_cast<std::uint64_t>(from.at(edge, bytes).data());
      if (size.in_register()) in.x[id(size.reg())] = bytes;
      if (size.is_low_half()) in.x[id(size.reg())] |= 0xdead00000000;
      const A64Registers out = program.run(in);
      EXPECT_TRUE(std::ranges::equal(to.at(edge, bytes), noise)) << bytes;
      const auto rest =
          edge == Edge::kFront ? to.all().subspan(bytes) : to.all().first(to.all().size() - bytes);
      EXPECT_TRUE(std::ranges::all_of(rest, [](std::byte b) { return b == std::byte{0xcc}; }));
      check_survivors(config, in, out, config.scratch);
    }
  }

  void emit_copy(Program& program, CopySize size, Operands operands) {
    const absl::Status status =
        emit_memcpy_call(program.buffer, config, operands.dst, operands.src, size);
    ASSERT_TRUE(status.ok()) << status;
  }
  // The stubs share the mapping, behind everything else.
  static CodeBuffer& stub_buffer(Program& program) {
    static CodeBuffer buffer;
    buffer = {};
    buffer.bytes = program.buffer.bytes.subspan(vm_test::kA64CodeBytes / 2);
    return buffer;
  }

  EmitConfig config = default_emit_config(Isa::kAArch64);
  bool with_stubs = false;
};

TEST_F(EmitA64RunTest, TheDefaultConfigIsThisCpus) {
  const EmitConfig here = default_emit_config();
  EXPECT_EQ(here.isa, Isa::kAArch64);
  EXPECT_EQ(here.level, VectorLevel::kNeon);
  EXPECT_EQ(here.scratch, config.scratch);
  EXPECT_EQ(here.scratch_vectors, config.scratch_vectors);
}

TEST_F(EmitA64RunTest, CopiesEveryConstantSize) {
  for (std::size_t bytes = 0; bytes <= 300; ++bytes) {
    check_host_copy(bytes, CopySize::constant(bytes));
  }
}

TEST_F(EmitA64RunTest, CopiesEveryConstantSizeInLine) {
  config.inline_max = 300;
  for (std::size_t bytes = 0; bytes <= 300; ++bytes) {
    check_host_copy(bytes, CopySize::constant(bytes), {Reg::kX9, Reg::kX30});
  }
}

TEST_F(EmitA64RunTest, CopiesEverySizeByStubs) {
  with_stubs = true;
  for (std::size_t bytes = 0; bytes <= 300; ++bytes) {
    check_host_copy(bytes, CopySize::in(kSize));
    if (bytes > 64) check_host_copy(bytes, CopySize::constant(bytes));
  }
  check_host_copy(100000, CopySize::in(Reg::kX2), {Reg::kX1, Reg::kX0});
}

TEST_F(EmitA64RunTest, StubsWithFewVectorsCallTheCore) {
  with_stubs = true;
  config.scratch_vectors = 0x00ff0000;
  for (std::size_t bytes = 120; bytes <= 136; ++bytes) {
    check_host_copy(bytes, CopySize::in(kSize));
    check_host_copy(bytes, CopySize::constant(bytes));
  }
  config.scratch_vectors = 0xf0000000;
  for (std::size_t bytes = 60; bytes <= 68; ++bytes) check_host_copy(bytes, CopySize::in(kSize));
}

TEST_F(EmitA64RunTest, TheUpperHalfOfASizeMayBeAnything) {
  for (const bool stubs : {false, true}) {
    with_stubs = stubs;
    for (const std::size_t bytes : {0u, 5u, 100u, 1000u}) {
      check_host_copy(bytes, CopySize::in_low_half(kSize));
    }
  }
}

TEST_F(EmitA64RunTest, AnyRegistersServeAsOperands) {
  std::mt19937 random(7);
  for (int round = 0; round < 200; ++round) {
    with_stubs = round % 2 == 0;
    std::array<unsigned, 30> regs{};
    for (unsigned i = 0; i < 30; ++i) regs[i] = i < 18 ? i : i + 1;
    std::shuffle(regs.begin(), regs.end(), random);
    check_host_copy(random() % 200, CopySize::in(static_cast<Reg>(regs[2])),
                    {static_cast<Reg>(regs[0]), static_cast<Reg>(regs[1])});
  }
}

TEST_F(EmitA64RunTest, OnlyWhatIsDeclaredChanges) {
  std::mt19937 random(8);
  for (int round = 0; round < 200; ++round) {
    config.scratch = static_cast<RegSet>(random() & 0x7ffbffff) | reg_bit(Reg::kX8);
    config.scratch_vectors = static_cast<VectorSet>(random()) | 0xf00;
    config.red_zone_bytes = static_cast<std::uint32_t>(random() % 5 * 16);
    const std::size_t bytes = random() % 200;
    check_host_copy(bytes, CopySize::constant(bytes));
    check_host_copy(bytes, CopySize::in(Reg::kX3), {Reg::kX2, Reg::kX1});
  }
}

// Every call, with a helper that changes what it may.
struct CallCase {
  AddressMode mode;
  unsigned operation;  // a copy, a fill, a load, a store
  bool exits() const {
    return mode == AddressMode::kSoftTlb || (mode == AddressMode::kGuest && operation >= 2);
  }
  absl::Status emit(CodeBuffer& buffer, const EmitConfig& config) const {
    switch (operation) {
      case 0: return emit_memcpy_call(buffer, config, kDst, kSrc, CopySize::constant(400));
      case 1:
        return emit_memset_call(buffer, config, kDst, FillByte::in(kSrc), CopySize::in(kSize));
      case 2: return emit_load(buffer, config, kDst, kSrc, {.bytes = 4});
      default: return emit_store(buffer, config, kDst, kSrc, {.bytes = 4});
    }
  }
};

TEST_F(EmitA64RunTest, ACalleeMayChangeWhatTheAbiLetsItChange) {
  vme_tlb_entry never{~0ull, ~0ull, ~0ull, 0};
  vme_cpu cpu{};
  for (vme_tlb& tlb : cpu.tlb) tlb = {.mask = 0, .table = &never};
  const auto trash = reinterpret_cast<std::uint64_t>(&vm_test::vm_test_a64_trash);
  config.helpers = {trash, trash, trash, trash, trash, trash, trash};
  config.exit = ExitTarget::at_offset(Program::kExit);
  std::mt19937 random(9);
  for (unsigned round = 0; round < 600; ++round) {
    const CallCase call{.mode = static_cast<AddressMode>(round % 2 == 0 ? 3 : random() % 2),
                        .operation = round / 2 % 4};
    if (call.mode == AddressMode::kHostPointer && call.operation >= 2) continue;
    config.address_mode = call.mode;
    config.cookie = 5;
    config.scratch = static_cast<RegSet>(random() & 0x7fe3ffff) | 0xf00;
    config.scratch_vectors = static_cast<VectorSet>(random());
    config.red_zone_bytes = static_cast<std::uint32_t>(random() % 5 * 16);
    config.result = static_cast<Reg>(random() % 18);
    vm_test::vm_test_a64_trash_result = random() % 2 * 9;
    Program program;
    const absl::Status status = call.emit(program.buffer, config);
    ASSERT_TRUE(status.ok()) << status;
    ASSERT_NO_FATAL_FAILURE(program.finish());
    A64Registers in = patterned();
    in.x[id(config.cpu)] = reinterpret_cast<std::uint64_t>(&cpu);
    const A64Registers out = program.run(in);
    const bool left = vm_test::vm_test_a64_trash_result != 0;
    const bool guest = call.mode != AddressMode::kHostPointer;
    EXPECT_EQ(out.exited, call.exits() && left ? 1u : 0u);
    RegSet may_change = config.scratch;
    if (guest) may_change = (may_change & ~reg_bit(config.cpu)) | reg_bit(config.result);
    if (call.operation == 2 && !left) may_change |= reg_bit(kDst);
    check_survivors(config, in, out, may_change);
    if (guest && (left || !call.exits())) {
      EXPECT_EQ(out.x[id(config.result)], vm_test::vm_test_a64_trash_result);
    }
    EXPECT_EQ(cpu.fault.site, call.exits() && left ? 5 : 0);
    cpu.fault.site = 0;
    EXPECT_EQ(vm_test::vm_test_a64_trash_sp % 16, 0u);
    ASSERT_FALSE(HasFailure()) << "round " << round;
  }
}

TEST_F(EmitA64RunTest, FillsEverySize) {
  config.red_zone_bytes = 64;
  const GuardedBuffer to(301);
  for (const std::size_t inline_max : {64u, 300u}) {
    config.inline_max = inline_max;
    for (std::size_t bytes = 0; bytes <= 300; bytes += inline_max == 64 ? 7 : 1) {
      const auto byte = static_cast<std::uint8_t>(bytes * 3 + 1);
      const bool in_register = bytes % 2 == 0;
      Program program;
      ASSERT_TRUE(emit_memset_call(program.buffer, config, kDst,
                                   in_register ? FillByte::in(kSrc) : FillByte::constant(byte),
                                   CopySize::constant(bytes))
                      .ok());
      ASSERT_NO_FATAL_FAILURE(program.finish());
      std::ranges::fill(to.all(), std::byte{0xcc});
      const std::span<std::byte> place = to.at(Edge::kBack, bytes);
      A64Registers in = patterned();
      in.x[id(kDst)] = reinterpret_cast<std::uint64_t>(place.data());
      in.x[id(kSrc)] = 0xffffffffffffff00 | byte;
      const A64Registers out = program.run(in);
      EXPECT_TRUE(std::ranges::all_of(place, [&](std::byte b) { return b == std::byte{byte}; }))
          << bytes;
      const auto rest = to.all().first(to.all().size() - bytes);
      EXPECT_TRUE(std::ranges::all_of(rest, [](std::byte b) { return b == std::byte{0xcc}; }));
      check_survivors(config, in, out, config.scratch);
    }
  }
}

}  // namespace
}  // namespace vm_engine
