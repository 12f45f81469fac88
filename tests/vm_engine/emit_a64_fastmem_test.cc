// Emitted AArch64 code that reaches a guest through the fastmem arena, executed and held to
// what the helpers alone do with the same memory, faults included.
#include <random>

#include "tests/vm_engine/emit_a64_program.h"
#include "tests/vm_engine/fastmem_machine.h"
#include "vm_engine/emit.h"

namespace {

using namespace vm_engine;
using namespace vm_test;

constexpr Reg kDst = Reg::kX19;
constexpr Reg kSrc = Reg::kX20;
constexpr std::uint16_t kCookie = 77;
constexpr std::uint64_t kBlockPc = 0x80001234;
constexpr unsigned kArenaBits = 24;
constexpr std::uint64_t kProtected = kRam + 5 * kPage;

unsigned log2_of(unsigned bytes) { return static_cast<unsigned>(std::countr_zero(bytes)); }

class EmitA64FastmemTest : public FastmemTest {
 protected:
  EmitA64FastmemTest() {
    config_.address_mode = AddressMode::kFastmem;
    config_.exit = ExitTarget::at_offset(Program::kExit);
    config_.cookie = kCookie;
    config_.guest_pc = kBlockPc;
    config_.arena_bits = kArenaBits;
    config_.gva_bits = kArenaBits;
    EXPECT_TRUE(arena_->protect(ram_, kProtected - kRam, kPage).ok());
  }

  // Everything that an access may change.
  struct Guest {
    std::vector<std::byte> ram, tracked;
    std::vector<DeviceAccess> log;
    friend bool operator==(const Guest&, const Guest&) = default;
  };
  void put_noise(unsigned seed) {
    ASSERT_TRUE(memory_->write({kRam}, noise(kRamPages * kPage, seed)).ok());
    ASSERT_TRUE(memory_->write({kTracked}, noise(kRamPages * kPage, seed + 1)).ok());
    device_ = LoggingDevice{};
  }
  Guest guest() const {
    Guest all{.ram = std::vector<std::byte>(kRamPages * kPage),
              .tracked = std::vector<std::byte>(kRamPages * kPage),
              .log = device_.log};
    EXPECT_TRUE(memory_->read({kRam}, all.ram).ok());
    EXPECT_TRUE(memory_->read({kTracked}, all.tracked).ok());
    return all;
  }

  template <typename Emit>
  A64Registers run(std::uint64_t dst, std::uint64_t src, Emit emit) {
    Program program;
    const absl::Status status = emit(program.buffer);
    EXPECT_TRUE(status.ok()) << status;
    program.finish();
    const std::vector<vme_site>& sites = program.buffer.fault_sites;
    vme_code* code = nullptr;
    EXPECT_EQ(vme_code_register(engine_.get(), program.buffer.bytes.data(), program.buffer.used,
                                sites.data(), sites.size(), &code),
              VME_OK);
    A64Registers in = patterned();
    in.x[id(config_.cpu)] = reinterpret_cast<std::uint64_t>(made_);
    in.x[id(config_.fastmem_base)] = reinterpret_cast<std::uint64_t>(arena_->base());
    in.x[id(kDst)] = dst;
    in.x[id(kSrc)] = src;
    const A64Registers out = program.run(in);
    EXPECT_EQ(vme_code_unregister(code), VME_OK);
    RegSet may_change = config_.scratch | reg_bit(config_.result);
    may_change &= ~(reg_bit(config_.cpu) | reg_bit(config_.fastmem_base));
    if (loads_ && out.exited == 0) may_change |= reg_bit(kDst);
    check_survivors(config_, in, out, may_change);
    if (out.exited != 0) {
      EXPECT_EQ(fault().site, kCookie);
      EXPECT_EQ(fault().guest_pc, kBlockPc);
    }
    return out;
  }

  // `out` and the guest's memory are those of `helper`, which returns the bytes left.
  template <typename Helper>
  void check_same(const A64Registers& out, unsigned seed, Helper helper) {
    const vme_fault found = fault();
    const Guest after = guest();
    put_noise(seed);
    const std::uint64_t left = helper();
    EXPECT_TRUE(after == guest());
    EXPECT_EQ(out.exited, left == 0 ? 0u : 1u);
    if (left == 0) return;
    EXPECT_EQ(out.x[id(config_.result)], left);
    EXPECT_EQ(found.rc, fault().rc);
    EXPECT_EQ(found.access, fault().access);
    EXPECT_EQ(found.side, fault().side);
    EXPECT_EQ(found.gva, fault().gva);
    EXPECT_EQ(found.acc_gva, fault().acc_gva);
    EXPECT_EQ(found.done, fault().done);
  }

  // Near an edge of what is there, on either side of it.
  static std::uint64_t some_place(std::mt19937& random) {
    constexpr std::uint64_t kEdges[] = {kRam,
                                        kProtected,
                                        kProtected + kPage,
                                        kRam + kRamPages * kPage,
                                        kTracked,
                                        kTracked + kRamPages * kPage,
                                        kRom + 2 * kPage,
                                        kDevice,
                                        kMirror,
                                        std::uint64_t{1} << kArenaBits};
    return kEdges[random() % std::size(kEdges)] + random() % 160 - 80;
  }

  EmitConfig config_ = default_emit_config(Isa::kAArch64);
  bool loads_ = false;
};

TEST_F(EmitA64FastmemTest, CopiesAreVmeCopiesWhereverTheyFault) {
  std::mt19937 random(3);
  for (unsigned round = 0; round < 300; ++round) {
    config_.gva_bits = round % 2 == 0 ? kArenaBits : 64;
    config_.inline_max = round % 3 == 0 ? 300 : 64;
    // In registers that are scratch, too, where they survive.
    config_.cpu = round % 4 < 2 ? Reg::kX28 : Reg::kX1;
    config_.fastmem_base = round % 5 == 0 ? Reg::kX27 : Reg::kX2;
    const auto exit = reinterpret_cast<std::uint64_t>(vm_test_a64_code) + Program::kExit;
    config_.exit =
        round % 2 == 0 ? ExitTarget::at_offset(Program::kExit) : ExitTarget::at_address(exit);
    const std::uint64_t bytes = random() % (round % 3 == 0 ? 300 : 66);
    const std::uint64_t dst = some_place(random);
    const bool overlaps = random() % 2 == 0;
    const std::uint64_t src = overlaps ? dst + random() % 140 - 70 : some_place(random);
    put_noise(round);
    const A64Registers out = run(dst, src, [&](CodeBuffer& b) {
      return emit_memcpy_call(b, config_, kDst, kSrc, CopySize::constant(bytes));
    });
    check_same(out, round, [&] { return vme_copy(made_, dst, src, bytes, 0); });
    ASSERT_FALSE(HasFailure()) << bytes << " bytes from " << std::hex << src << " to " << dst;
  }
}

// Where a store faults, those before it may have overwritten what is still to be copied.
TEST_F(EmitA64FastmemTest, OverlappingCopiesThatFaultHalfWayAreVmeCopies) {
  std::mt19937 random(6);
  config_.inline_max = 300;
  for (unsigned round = 0; round < 150; ++round) {
    const std::uint64_t bytes = 33 + random() % 100;
    const std::uint64_t bad = round % 2 == 0 ? kProtected : kRam + kRamPages * kPage;
    const std::uint64_t dst = bad - 1 - random() % bytes;
    const std::uint64_t src = dst - 1 - random() % 70;
    put_noise(round);
    const A64Registers out = run(dst, src, [&](CodeBuffer& b) {
      return emit_memcpy_call(b, config_, kDst, kSrc, CopySize::constant(bytes));
    });
    check_same(out, round, [&] { return vme_copy(made_, dst, src, bytes, 0); });
    ASSERT_FALSE(HasFailure()) << bytes << " bytes from " << std::hex << src << " to " << dst;
  }
}

TEST_F(EmitA64FastmemTest, FillsAreVmeFillsWhereverTheyFault) {
  std::mt19937 random(4);
  for (unsigned round = 0; round < 150; ++round) {
    config_.gva_bits = round % 2 == 0 ? kArenaBits : 64;
    const std::uint64_t bytes = random() % 66;
    const std::uint64_t dst = some_place(random);
    const auto byte = static_cast<std::uint8_t>(random());
    const bool in_register = round % 3 == 0;
    put_noise(round);
    const A64Registers out = run(dst, byte, [&](CodeBuffer& b) {
      return emit_memset_call(b, config_, kDst,
                              in_register ? FillByte::in(kSrc) : FillByte::constant(byte),
                              CopySize::constant(bytes));
    });
    check_same(out, round, [&] { return vme_fill(made_, dst, byte, bytes, 0); });
    ASSERT_FALSE(HasFailure()) << bytes << " bytes at " << std::hex << dst;
  }
}

TEST_F(EmitA64FastmemTest, LoadsAndStoresGoOnInTheHelper) {
  std::mt19937 random(5);
  for (unsigned round = 0; round < 300; ++round) {
    loads_ = round % 2 == 0;
    config_.gva_bits = round % 4 < 2 ? kArenaBits : 64;
    const MemOp op{.bytes = 1u << random() % 4};
    const std::uint32_t element = log2_of(op.bytes) << VME_ELEM_SHIFT;
    const std::uint64_t gva = some_place(random);
    const std::uint64_t value = 0x0102030405060708u * (round + 1);
    put_noise(round);
    const A64Registers out = run(value, gva, [&](CodeBuffer& b) {
      return loads_ ? emit_load(b, config_, kDst, kSrc, op)
                    : emit_store(b, config_, kSrc, kDst, op);
    });
    check_same(out, round, [&] {
      if (!loads_) return vme_store(made_, gva, value, element);
      const vme_value loaded = vme_load(made_, gva, element);
      EXPECT_EQ(out.x[id(kDst)], loaded.left == 0 ? loaded.value : value);
      return loaded.left;
    });
    ASSERT_FALSE(HasFailure()) << op.bytes << " bytes at " << std::hex << gva;
  }
}

}  // namespace
