// Emitted code, executed: what it copies, and what it leaves alone.
#include <gtest/gtest.h>
#include <sys/mman.h>

#include <algorithm>
#include <cstring>
#include <random>

#include "tests/support/guarded_buffer.h"
#include "tests/vm_engine/emit_trampoline.h"
#include "tests/vm_engine/machine.h"
#include "vm_engine/emit.h"
#include "vm_mem/simd_memcpy.h"

namespace vm_engine {
namespace {

using vm_test::Edge;
using vm_test::GuardedBuffer;
using vm_test::kPage;
using vm_test::Machine;
using vm_test::RegisterFile;

constexpr std::size_t kCodeBytes = 64 << 10;
constexpr std::uint64_t kStatusFlags = 0x8d5;

unsigned id(Reg reg) { return static_cast<unsigned>(reg); }

// One page run of code: written while writable, run while executable.
class CodePages {
 public:
  CodePages()
      : memory_(static_cast<std::byte*>(mmap(nullptr, kCodeBytes, PROT_READ | PROT_WRITE,
                                             MAP_PRIVATE | MAP_ANONYMOUS, -1, 0))) {}
  ~CodePages() { munmap(memory_, kCodeBytes); }
  CodePages(const CodePages&) = delete;
  CodePages& operator=(const CodePages&) = delete;

  // Emits into the pages, with the jump back behind it.
  void emit(const EmitConfig& config, Reg dst, Reg src, CopySize size) {
    ASSERT_EQ(mprotect(memory_, kCodeBytes, PROT_READ | PROT_WRITE), 0);
    CodeBuffer buffer{.bytes = {memory_, kCodeBytes - 64}, .used = 0, .fault_sites = {}};
    const absl::Status status = emit_memcpy_call(buffer, config, dst, src, size);
    ASSERT_TRUE(status.ok()) << status;
    constexpr unsigned char kJumpThroughNext[] = {0xff, 0x25, 0, 0, 0, 0};
    const auto back = reinterpret_cast<std::uint64_t>(&vm_test::vm_test_emitted_done);
    std::memcpy(memory_ + buffer.used, kJumpThroughNext, sizeof(kJumpThroughNext));
    std::memcpy(memory_ + buffer.used + sizeof(kJumpThroughNext), &back, sizeof(back));
    ASSERT_EQ(mprotect(memory_, kCodeBytes, PROT_READ | PROT_EXEC), 0);
  }
  // Emits a function of the ABI: dst in rdi, src in rsi. `adapt` may change its bytes.
  template <typename Adapt>
  void emit_function(const EmitConfig& config, CopySize size, Adapt adapt) {
    CodeBuffer buffer{.bytes = {memory_, kCodeBytes - 64}, .used = 0, .fault_sites = {}};
    const absl::Status status = emit_memcpy_call(buffer, config, Reg::kRdi, Reg::kRsi, size);
    ASSERT_TRUE(status.ok()) << status;
    adapt(buffer.bytes.first(buffer.used));
    memory_[buffer.used] = std::byte{0xc3};  // ret
    ASSERT_EQ(mprotect(memory_, kCodeBytes, PROT_READ | PROT_EXEC), 0);
  }
  const void* begin() const { return memory_; }
  RegisterFile run(const RegisterFile& in, unsigned rsp_mod_16) {
    RegisterFile out;
    vm_test::vm_test_run_emitted(memory_, &in, &out, rsp_mod_16);
    return out;
  }

 private:
  std::byte* memory_;
};

RegisterFile patterned() {
  RegisterFile file;
  for (std::size_t i = 0; i < 16; ++i) file.gpr[i] = 0x1111111111111111 * i + 0xabc0000000;
  for (std::size_t i = 0; i < 16; ++i) {
    for (std::size_t k = 0; k < 32; ++k) {
      file.vector[i][k] = static_cast<std::uint8_t>(i * 32 + k * 5 + 1);
    }
  }
  for (std::size_t i = 0; i < 128; ++i) file.red_zone[i] = static_cast<std::uint8_t>(200 - i);
  return file;
}

class EmitRunTest : public testing::TestWithParam<VectorLevel> {
 protected:
  void SetUp() override {
    const bool runs =
        GetParam() == VectorLevel::kAvx512 ? vm_mem::has_avx512() : vm_mem::has_avx2();
    if (!runs) GTEST_SKIP() << "not on this CPU";
    config.level = GetParam();
  }

  // What survived a run under the promise that emit.h makes. `inlined` code promises
  // more than a call.
  void check_survivors(const RegisterFile& in, const RegisterFile& out, RegSet may_change,
                       bool inlined) const {
    EXPECT_EQ(out.rsp_moved, 0u);
    EXPECT_EQ(out.red_zone, in.red_zone);
    if (inlined) {
      EXPECT_EQ(out.flags & kStatusFlags, vm_test::kFlagsIn);
    }
    for (unsigned i = 0; i < 16; ++i) {
      if (i == id(Reg::kRsp) || (may_change >> i & 1) != 0) continue;
      EXPECT_EQ(out.gpr[i], in.gpr[i]) << "register " << i;
    }
    const std::size_t width = config.level == VectorLevel::kSse2 ? 16 : 32;
    const std::size_t kept = inlined && config.scratch_vectors != kLowVectors ? 32 : width;
    for (unsigned i = 0; i < 16; ++i) {
      if ((config.scratch_vectors >> i & 1) != 0) continue;
      EXPECT_TRUE(
          std::equal(in.vector[i].begin(), in.vector[i].begin() + kept, out.vector[i].begin()))
          << "vector " << i;
    }
  }

  void check_host_copy(std::size_t bytes, CopySize size, Reg dst, Reg src) {
    const GuardedBuffer from(bytes + 1), to(bytes + 1);
    CodePages code;
    ASSERT_NO_FATAL_FAILURE(code.emit(config, dst, src, size));
    for (const Edge edge : {Edge::kFront, Edge::kBack}) {
      std::ranges::fill(to.all(), std::byte{0xcc});
      const auto noise = vm_test::noise(bytes, static_cast<unsigned>(bytes) + 1);
      std::ranges::copy(noise, from.at(edge, bytes).begin());
      RegisterFile in = patterned();
      in.gpr[id(dst)] = reinterpret_cast<std::uint64_t>(to.at(edge, bytes).data());
      in.gpr[id(src)] = reinterpret_cast<std::uint64_t>(from.at(edge, bytes).data());
      if (size.in_register()) in.gpr[id(size.reg())] = bytes;
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
  for (std::size_t bytes = 0; bytes <= 300; bytes += 7) {
    check_host_copy(bytes, CopySize::in(Reg::kRdx), Reg::kRdi, Reg::kRsi);
  }
  check_host_copy(100000, CopySize::in(Reg::kR10), Reg::kR11, Reg::kR12);
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

// Makes emitted code call another helper in place of memcpy_raw.
void divert_call(std::span<std::byte> code) {
  const auto helper = reinterpret_cast<std::uint64_t>(&vm_mem::memcpy_raw);
  const auto other = reinterpret_cast<std::uint64_t>(&vm_test::vm_test_wide_helper);
  const std::size_t width = helper >> 32 == 0 ? 4 : 8;
  const auto found =
      std::search(code.begin(), code.end(), reinterpret_cast<const std::byte*>(&helper),
                  reinterpret_cast<const std::byte*>(&helper) + width);
  ASSERT_NE(found, code.end());
  std::memcpy(&*found, &other, width);
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
    CodePages code;
    code.emit_function(config, CopySize::in(Reg::kRdx), divert_call);
    ASSERT_FALSE(HasFatalFailure());
    vm_test::vm_test_run_wide(code.begin(), nullptr, nullptr, 0);
    const std::uint64_t at_call = vm_test::vm_test_wide_helper_rsp + 8;
    EXPECT_EQ(at_call % 16, 0u);
    EXPECT_LE(at_call, vm_test::vm_test_wide_rsp - config.red_zone_bytes);
    for (unsigned i = 0; i < 32; ++i) {
      if ((config.scratch_vectors >> i & 1) != 0) continue;
      EXPECT_EQ(std::memcmp(vm_test::vm_test_wide_in[i], vm_test::vm_test_wide_out[i], 64), 0) << i;
    }
  }
}

TEST_F(EmitWideRunTest, CodeInLineKeepsWholeVectors) {
  std::mt19937 random(11);
  for (std::size_t bytes = 1; bytes <= 256; ++bytes) {
    const auto from = vm_test::noise(bytes, 5);
    std::vector<std::byte> to(bytes);
    EmitConfig config{.level = static_cast<VectorLevel>(bytes % 3), .rsp_mod_16 = 8};
    const bool wide = config.level == VectorLevel::kAvx512;
    config.scratch_vectors = wide ? static_cast<VectorSet>(random()) | 0xf00000 : 0x7fff;
    config.inline_max = 240;
    CodePages code;
    code.emit_function(config, CopySize::constant(bytes), [](std::span<std::byte>) {});
    ASSERT_FALSE(HasFatalFailure());
    vm_test::vm_test_run_wide(code.begin(), to.data(), from.data(), 0);
    EXPECT_EQ(to, from);
    for (unsigned i = 0; i < 32; ++i) {
      // Beyond the bound a call is made, which keeps what its level knows of.
      const std::size_t kept = bytes <= config.inline_max || wide ? 64 : 0;
      if ((config.scratch_vectors >> i & 1) != 0) continue;
      EXPECT_EQ(std::memcmp(vm_test::vm_test_wide_in[i], vm_test::vm_test_wide_out[i], kept), 0)
          << bytes << " vector " << i;
    }
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
    CodePages code;
    const bool constant = bytes % 2 == 0;
    const CopySize size = constant ? CopySize::constant(bytes) : CopySize::in(Reg::kR8);
    ASSERT_NO_FATAL_FAILURE(code.emit(config, Reg::kRcx, Reg::kRdi, size));
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
    CodePages code;
    ASSERT_NO_FATAL_FAILURE(code.emit(config, reg(0), reg(1), CopySize::in(reg(2))));
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
  const CopySize size = CopySize::constant(100);
  EXPECT_TRUE(emit_memcpy_call(buffer, config, Reg::kRdi, Reg::kRsi, size).ok());
}

}  // namespace
}  // namespace vm_engine
