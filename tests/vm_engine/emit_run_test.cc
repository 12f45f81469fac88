// Emitted code, executed: what it copies, and what it leaves alone.
#include <gtest/gtest.h>

#include <algorithm>
#include <cstring>
#include <random>

#include "tests/support/guarded_buffer.h"
#include "tests/vm_engine/emitted_code.h"
#include "tests/vm_engine/machine.h"
#include "vm_engine/emit.h"
#include "vm_mem/simd_memcpy.h"

namespace vm_engine {
namespace {

using vm_test::Edge;
using vm_test::EmittedCode;
using vm_test::GuardedBuffer;
using vm_test::id;
using vm_test::kPage;
using vm_test::Machine;
using vm_test::patterned;
using vm_test::RegisterFile;

class EmitRunTest : public testing::TestWithParam<VectorLevel> {
 protected:
  void SetUp() override {
    const bool runs =
        GetParam() == VectorLevel::kAvx512 ? vm_mem::has_avx512() : vm_mem::has_avx2();
    if (!runs) GTEST_SKIP() << "not on this CPU";
    config.level = GetParam();
  }

  // `inlined` code promises more than a call.
  void check_survivors(const RegisterFile& in, const RegisterFile& out, RegSet may_change,
                       bool inlined) const {
    if (inlined) {
      EXPECT_EQ(out.flags & vm_test::kStatusFlags, vm_test::kFlagsIn);
    }
    const bool keeps_upper = inlined && config.scratch_vectors != kLowVectors;
    vm_test::expect_survivors(config, in, out, may_change,
                              keeps_upper || config.level != VectorLevel::kSse2 ? 32 : 16);
  }

  void emit_copy(EmittedCode& code, Reg dst, Reg src, CopySize size) {
    if (with_stubs) {
      const absl::Status stubs_status = emit_stubs(code.buffer(), config, stubs);
      config.stubs = stubs_status.ok() ? &stubs : nullptr;
    }
    code.start();
    const absl::Status status = emit_memcpy_call(code.buffer(), config, dst, src, size);
    ASSERT_TRUE(status.ok()) << status;
    code.finish();
  }

  void check_host_copy(std::size_t bytes, CopySize size, Reg dst, Reg src) {
    const GuardedBuffer from(bytes + 1), to(bytes + 1);
    EmittedCode code;
    ASSERT_NO_FATAL_FAILURE(emit_copy(code, dst, src, size));
    for (const Edge edge : {Edge::kFront, Edge::kBack}) {
      std::ranges::fill(to.all(), std::byte{0xcc});
      const auto noise = vm_test::noise(bytes, static_cast<unsigned>(bytes) + 1);
      std::ranges::copy(noise, from.at(edge, bytes).begin());
      RegisterFile in = patterned();
      in.gpr[id(dst)] = reinterpret_cast<std::uint64_t>(to.at(edge, bytes).data());
      in.gpr[id(src)] = reinterpret_cast<std::uint64_t>(from.at(edge, bytes).data());
      if (size.in_register()) in.gpr[id(size.reg())] = bytes | size_garbage;
      const RegisterFile out = code.run(in, config.rsp_mod_16);
      EXPECT_TRUE(std::ranges::equal(to.at(edge, bytes), noise)) << bytes;
      const auto touched =
          std::ranges::count_if(to.all(), [](std::byte byte) { return byte != std::byte{0xcc}; });
      EXPECT_LE(static_cast<std::size_t>(touched), bytes);
      const auto rest =
          edge == Edge::kFront ? to.all().subspan(bytes) : to.all().first(to.all().size() - bytes);
      EXPECT_TRUE(std::ranges::all_of(rest, [](std::byte b) { return b == std::byte{0xcc}; }));
      const bool inlined = !size.in_register() && bytes <= config.inline_max;
      check_survivors(in, out, config.scratch, inlined);
    }
  }

  EmitConfig config;
  bool with_stubs = false;
  std::uint64_t size_garbage = 0;
  Stubs stubs;
};

std::string level_name(const testing::TestParamInfo<VectorLevel>& level) {
  constexpr const char* kNames[] = {"sse2", "avx2", "avx512"};
  return kNames[static_cast<int>(level.param)];
}

INSTANTIATE_TEST_SUITE_P(PerLevel, EmitRunTest,
                         testing::Values(VectorLevel::kSse2, VectorLevel::kAvx2,
                                         VectorLevel::kAvx512),
                         level_name);

TEST_P(EmitRunTest, CopiesEveryConstantSize) {
  for (std::size_t bytes = 0; bytes <= 300; ++bytes) {
    check_host_copy(bytes, CopySize::constant(bytes), Reg::kRdi, Reg::kRsi);
  }
}

TEST_P(EmitRunTest, CopiesEveryConstantSizeWithAHigherLimit) {
  config.inline_max = 256;
  for (std::size_t bytes = 0; bytes <= 300; ++bytes) {
    check_host_copy(bytes, CopySize::constant(bytes), Reg::kR9, Reg::kRbx);
  }
}

TEST_P(EmitRunTest, CopiesARegisterOfBytes) {
  for (std::size_t bytes = 0; bytes <= 300; bytes += bytes < 66 ? 1 : 7) {
    check_host_copy(bytes, CopySize::in(Reg::kRdx), Reg::kRdi, Reg::kRsi);
  }
  check_host_copy(100000, CopySize::in(Reg::kR10), Reg::kR11, Reg::kR12);
}

TEST_P(EmitRunTest, StubsCopyEverySize) {
  with_stubs = true;
  for (std::size_t bytes = 0; bytes <= 300; bytes += bytes < 140 ? 1 : 5) {
    check_host_copy(bytes, CopySize::constant(bytes), Reg::kR9, Reg::kRbx);
    check_host_copy(bytes, CopySize::in(Reg::kRcx), Reg::kRdi, Reg::kRsi);
  }
  check_host_copy(100000, CopySize::in(Reg::kRdi), Reg::kRdx, Reg::kRsi);
}

TEST_P(EmitRunTest, StubsChangeOnlyWhatIsDeclared) {
  with_stubs = true;
  std::mt19937 random(13);
  for (int round = 0; round < 300; ++round) {
    config.scratch = static_cast<RegSet>((random() & 0xffef) | 0x7000);
    config.rsp_mod_16 = random() % 2 == 0 ? 0 : 8;
    const std::size_t bytes = random() % 300;
    check_host_copy(bytes, CopySize::constant(bytes), Reg::kRdi, Reg::kRsi);
    check_host_copy(bytes, CopySize::in(Reg::kRcx), Reg::kRdx, Reg::kRax);
  }
}

TEST_P(EmitRunTest, OnlyTheLowHalfOfASizeCounts) {
  for (with_stubs = false;; with_stubs = true) {
    for (const std::uint32_t bytes : {0u, 5u, 64u, 65u, 100u, 1000u}) {
      size_garbage = 0xdeadbeef00000000;
      check_host_copy(bytes, CopySize::in_low_half(Reg::kRbx), Reg::kRdi, Reg::kRsi);
    }
    if (with_stubs) break;
  }
}

TEST_P(EmitRunTest, AnyRegistersServeAsOperands) {
  std::mt19937 random(7);
  for (int round = 0; round < 300; ++round) {
    std::array<unsigned, 15> regs{0, 1, 2, 3, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15};
    std::shuffle(regs.begin(), regs.end(), random);
    const std::size_t bytes = random() % 200;
    check_host_copy(bytes, CopySize::in(static_cast<Reg>(regs[2])), static_cast<Reg>(regs[0]),
                    static_cast<Reg>(regs[1]));
  }
}

TEST_P(EmitRunTest, OnlyWhatIsDeclaredChanges) {
  std::mt19937 random(8);
  for (int round = 0; round < 300; ++round) {
    config.scratch = static_cast<RegSet>(random() & 0xffef) | reg_bit(Reg::kR8);
    config.scratch_vectors = static_cast<VectorSet>((random() & 0xffff) | 0xf);
    config.rsp_mod_16 = random() % 2 == 0 ? 0 : 8;
    const std::size_t bytes = random() % 200;
    check_host_copy(bytes, CopySize::constant(bytes), Reg::kRdi, Reg::kRsi);
    check_host_copy(bytes, CopySize::in(Reg::kRcx), Reg::kRdx, Reg::kRax);
  }
}

// dst in rdi, src in rsi.
void* function_of(EmittedCode& code, const EmitConfig& config, CopySize size) {
  EXPECT_TRUE(emit_memcpy_call(code.buffer(), config, Reg::kRdi, Reg::kRsi, size).ok());
  return code.finish_function();
}

class EmitWideRunTest : public testing::Test {
 protected:
  void SetUp() override {
    if (!vm_mem::has_avx512()) GTEST_SKIP() << "not on this CPU";
    const auto noise = vm_test::noise(sizeof(vm_test::vm_test_wide_in), 12);
    std::memcpy(vm_test::vm_test_wide_in, noise.data(), noise.size());
  }
};

TEST_F(EmitWideRunTest, ACallIsAlignedBelowTheRedZoneAndKeepsWholeVectors) {
  std::mt19937 random(10);
  for (int round = 0; round < 200; ++round) {
    EmitConfig config{.level = VectorLevel::kAvx512, .rsp_mod_16 = 8};
    config.scratch_vectors = static_cast<VectorSet>(random());
    config.scratch = static_cast<RegSet>(kCallerSaved & random());
    config.red_zone_bytes = static_cast<std::uint32_t>(8 * (random() % 40));
    config.helpers.memcpy_raw = reinterpret_cast<std::uint64_t>(&vm_test::vm_test_wide_helper);
    EmittedCode code;
    vm_test::vm_test_run_wide(function_of(code, config, CopySize::in(Reg::kRdx)), nullptr, nullptr,
                              65);
    const std::uint64_t at_call = vm_test::vm_test_wide_helper_rsp + 8;
    EXPECT_EQ(at_call % 16, 0u);
    EXPECT_LE(at_call, vm_test::vm_test_wide_rsp - config.red_zone_bytes);
    for (unsigned i = 0; i < 32; ++i) {
      if ((config.scratch_vectors >> i & 1) != 0) continue;
      EXPECT_EQ(std::memcmp(vm_test::vm_test_wide_in[i], vm_test::vm_test_wide_out[i], 64), 0) << i;
    }
  }
}

// The helper that is called changes every vector.
TEST_F(EmitWideRunTest, CodeInLineKeepsWholeVectorsAndACallThoseOfItsLevel) {
  std::mt19937 random(11);
  for (std::size_t bytes = 1; bytes <= 256; ++bytes) {
    const auto from = vm_test::noise(bytes, 5);
    std::vector<std::byte> to(bytes);
    EmitConfig config{.level = static_cast<VectorLevel>(bytes % 3), .rsp_mod_16 = 8};
    const bool wide = config.level == VectorLevel::kAvx512;
    const std::size_t width = config.level == VectorLevel::kAvx2 ? 32 : 16;
    config.inline_max = config.stub_max = 240;
    const bool called = bytes > config.inline_max;
    const auto any_low = static_cast<VectorSet>(random() & 0xffff);
    config.scratch_vectors = called ? any_low : 0x7fff;
    if (wide) config.scratch_vectors = static_cast<VectorSet>(random()) | 0xf00000;
    config.helpers.memcpy_raw = reinterpret_cast<std::uint64_t>(&vm_test::vm_test_wide_helper);
    EmittedCode code;
    vm_test::vm_test_run_wide(function_of(code, config, CopySize::constant(bytes)), to.data(),
                              from.data(), 0);
    EXPECT_EQ(to == from, !called);
    for (unsigned i = 0; i < 32; ++i) {
      if ((config.scratch_vectors >> i & 1) != 0 || (called && !wide && i >= 16)) continue;
      const std::size_t kept = called && !wide ? width : 64;
      EXPECT_EQ(std::memcmp(vm_test::vm_test_wide_in[i], vm_test::vm_test_wide_out[i], kept), 0)
          << bytes << " vector " << i;
    }
  }
}

TEST_P(EmitRunTest, FillsEverySize) {
  std::mt19937 random(14);
  const GuardedBuffer to(301);
  for (std::size_t bytes = 0; bytes <= 300; ++bytes) {
    config.inline_max = random() % 300;
    config.scratch = static_cast<RegSet>(random() & 0xffef);
    config.scratch_vectors = static_cast<VectorSet>(random() & 0xffff);
    config.rsp_mod_16 = random() % 2 == 0 ? 0 : 8;
    const Edge edge = bytes % 2 == 0 ? Edge::kFront : Edge::kBack;
    const auto byte = static_cast<std::uint8_t>(random() % 4 == 0 ? 0 : random());
    std::ranges::fill(to.all(), std::byte{0xcc});
    RegisterFile in = patterned();
    in.gpr[id(Reg::kRdi)] = reinterpret_cast<std::uint64_t>(to.at(edge, bytes).data());
    in.gpr[id(Reg::kRsi)] = 0xabcdef00 | byte;
    in.gpr[id(Reg::kRdx)] = bytes;
    const CopySize size = random() % 3 != 0 ? CopySize::constant(bytes) : CopySize::in(Reg::kRdx);
    const FillByte value = random() % 2 == 0 ? FillByte::constant(byte) : FillByte::in(Reg::kRsi);
    EmittedCode code;
    ASSERT_TRUE(emit_memset_call(code.buffer(), config, Reg::kRdi, value, size).ok());
    code.finish();
    const RegisterFile out = code.run(in, config.rsp_mod_16);
    std::vector<std::byte> expected(to.all().size(), std::byte{0xcc});
    const std::size_t front = edge == Edge::kFront ? 0 : expected.size() - bytes;
    std::fill_n(expected.begin() + static_cast<std::ptrdiff_t>(front), bytes, std::byte{byte});
    EXPECT_TRUE(std::ranges::equal(to.all(), expected)) << bytes;
    check_survivors(in, out, config.scratch, false);
  }
}

TEST_P(EmitRunTest, GuestCopiesReportTheBytesNotDone) {
  Machine m;
  m.put(Machine::kRam, vm_test::noise(2 * kPage, 3));
  config.address_mode = AddressMode::kGuest;
  config.result = Reg::kRbx;
  config.rsp_mod_16 = 8;
  config.scratch = 0;
  config.scratch_vectors = 0;
  const std::uint64_t end = Machine::kRam + 8 * kPage;
  for (std::uint64_t bytes = 0; bytes <= 300; ++bytes) {
    EmittedCode code;
    const bool constant = bytes % 2 == 0;
    const CopySize size = constant ? CopySize::constant(bytes) : CopySize::in(Reg::kR8);
    ASSERT_NO_FATAL_FAILURE(emit_copy(code, Reg::kRcx, Reg::kRdi, size));
    RegisterFile in = patterned();
    in.gpr[id(Reg::kR15)] = reinterpret_cast<std::uint64_t>(m.cpu.get());
    in.gpr[id(Reg::kRcx)] = end - 100;
    in.gpr[id(Reg::kRdi)] = Machine::kRam + 7;
    in.gpr[id(Reg::kR8)] = bytes;
    const RegisterFile out = code.run(in, config.rsp_mod_16);
    const std::uint64_t done = std::min<std::uint64_t>(bytes, 100);
    EXPECT_EQ(out.gpr[id(Reg::kRbx)], bytes - done);
    EXPECT_EQ(m.bytes(end - 100, done), m.bytes(Machine::kRam + 7, done));
    if (done != bytes) {
      EXPECT_EQ(m.cpu->fault.gva, end);
      EXPECT_EQ(m.cpu->fault.done, 100u);
    }
    check_survivors(in, out, reg_bit(Reg::kRbx), bytes == 0);
  }
}

TEST_P(EmitRunTest, AnyRegistersServeAsGuestOperands) {
  Machine m;
  m.put(Machine::kRam, vm_test::noise(kPage, 4));
  config.address_mode = AddressMode::kGuest;
  config.flags = VME_BACKWARD | 2u << VME_ELEM_SHIFT;
  std::mt19937 random(9);
  for (int round = 0; round < 300; ++round) {
    std::array<unsigned, 15> regs{0, 1, 2, 3, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15};
    std::shuffle(regs.begin(), regs.end(), random);
    const auto reg = [&](int i) { return static_cast<Reg>(regs[static_cast<std::size_t>(i)]); };
    config.cpu = reg(3);
    config.result = reg(4);
    config.scratch = static_cast<RegSet>(random() & 0xffef);
    EmittedCode code;
    ASSERT_NO_FATAL_FAILURE(emit_copy(code, reg(0), reg(1), CopySize::in(reg(2))));
    RegisterFile in = patterned();
    in.gpr[id(reg(0))] = Machine::kTracked - 8;
    in.gpr[id(reg(1))] = Machine::kRam + 64;
    in.gpr[id(reg(2))] = 32;
    in.gpr[id(reg(3))] = reinterpret_cast<std::uint64_t>(m.cpu.get());
    const RegisterFile out = code.run(in, 0);
    EXPECT_EQ(out.gpr[id(reg(4))], 8u);
    EXPECT_EQ(m.bytes(Machine::kTracked, 24), m.bytes(Machine::kRam + 72, 24));
    check_survivors(in, out, static_cast<RegSet>(config.scratch | reg_bit(reg(4))), false);
  }
}

TEST(EmitDefaultTest, TheDefaultLevelIsTheCpus) {
  const EmitConfig config = default_emit_config();
  EXPECT_EQ(config.isa, Isa::kX86_64);
  EXPECT_EQ(config.level == VectorLevel::kAvx512, vm_mem::has_avx512());
  EXPECT_EQ(config.level != VectorLevel::kSse2, vm_mem::has_avx2());
  EXPECT_EQ(config.inline_max, 64u);
  EXPECT_EQ(config.scratch_vectors, vm_mem::has_avx512() ? kAllVectors : kLowVectors);
  // Nothing to save: the call is what it would be by hand.
  std::array<std::byte, 48> bytes{};
  CodeBuffer buffer{.bytes = bytes};
  const CopySize size = CopySize::constant(300);
  EXPECT_TRUE(emit_memcpy_call(buffer, config, Reg::kRdi, Reg::kRsi, size).ok());
}

}  // namespace
}  // namespace vm_engine
