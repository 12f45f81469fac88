// AArch64 code as any host emits it, held to bytes that GNU as makes of the instructions
// named beside them. What it does is emit_a64_run_test's.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <array>
#include <bitset>
#include <string>
#include <vector>

#include "vm_engine/emit.h"

namespace vm_engine {
namespace {

using testing::HasSubstr;

constexpr Reg kDst = Reg::kX19;
constexpr Reg kSrc = Reg::kX20;
constexpr MemOp kSigned2{.bytes = 2, .extend = Extend::kSign};

std::string hex(std::span<const std::byte> bytes) {
  constexpr char kDigits[] = "0123456789abcdef";
  std::string out;
  for (const std::byte byte : bytes) {
    out += kDigits[std::to_integer<unsigned>(byte) >> 4];
    out += kDigits[std::to_integer<unsigned>(byte) & 15];
  }
  return out;
}

EmitConfig config_for(AddressMode mode) {
  EmitConfig config = default_emit_config(Isa::kAArch64);
  config.address_mode = mode;
  config.gva_bits = 32;
  config.exit = ExitTarget::at_address(0xdead0000);
  config.helpers = {.memcpy_raw = 0x1111,
                    .memset_raw = 0x2222,
                    .load = 0x100003333,
                    .store = 0x4444,
                    .copy = 0x5555,
                    .fill = 0x6666,
                    .write = 0x7777};
  return config;
}

// What one call of the emitter made: the code in line, and that out of line.
struct Emitted {
  absl::Status status;
  std::string line;
  std::string slow;
  std::vector<vme_site> sites;

  std::size_t instructions() const { return line.size() / 8; }
};

template <typename Emit>
Emitted emitted(Emit emit) {
  std::array<std::byte, 8192> bytes{};
  CodeBuffer buffer;
  buffer.bytes = bytes;
  Emitted made;
  made.status = emit(buffer);
  const std::size_t line = buffer.used;
  if (made.status.ok()) made.status = emit_slow_paths(buffer);
  made.line = hex(std::span(bytes).first(line));
  made.slow = hex(std::span(bytes).first(buffer.used).subspan(line));
  made.sites = buffer.fault_sites;
  return made;
}

Emitted copy(const EmitConfig& config, CopySize size) {
  return emitted([&](CodeBuffer& b) { return emit_memcpy_call(b, config, kDst, kSrc, size); });
}
Emitted fill(const EmitConfig& config, FillByte value, std::uint64_t bytes) {
  return emitted([&](CodeBuffer& b) {
    return emit_memset_call(b, config, kDst, value, CopySize::constant(bytes));
  });
}
Emitted load(const EmitConfig& config, MemOp op) {
  return emitted([&](CodeBuffer& b) { return emit_load(b, config, kDst, kSrc, op); });
}
Emitted store(const EmitConfig& config, MemOp op) {
  return emitted([&](CodeBuffer& b) { return emit_store(b, config, kSrc, kDst, op); });
}

TEST(EmitA64Test, HostCopiesHaveTheExpectedInstructions) {
  const EmitConfig config = config_for(AddressMode::kHostPointer);
  const auto code = [&](std::uint64_t n) { return copy(config, CopySize::constant(n)).line; };
  EXPECT_EQ(code(0), "");
  // ldrb w0,[x20]; strb w0,[x19]
  EXPECT_EQ(code(1), "8002403960020039");
  // ldr x0,[x20]; str x0,[x19]; ldr w0,[x20,#8]; str w0,[x19,#8]
  EXPECT_EQ(code(12), "800240f9600200f9800a40b9600a00b9");
  // ldr q0,[x20]; str q0,[x19]
  EXPECT_EQ(code(16), "8002c03d6002803d");
  // ldp q0,q1,[x20]; ldr q2,[x20,#32]; ldur q3,[x20,#47]; and the same with stores
  EXPECT_EQ(code(63),
            "800640ad820ac03d83f2c23c"
            "600600ad620a803d63f2823c");
  // ldp q0,q1,[x20]; ldp q2,q3,[x20,#32]; stp q0,q1,[x19]; stp q2,q3,[x19,#32]
  EXPECT_EQ(code(64), "800640ad820e41ad600600ad620e01ad");
}

TEST(EmitA64Test, AnEndOutOfReachIsSplitIntoPowersOfTwo) {
  EmitConfig config = config_for(AddressMode::kHostPointer);
  config.inline_max = 400;
  // ldr q24,[x20,#256]; ldr d25,[x20,#272]; s26,[#280]; h27,[#284]; b28,[#286]
  EXPECT_THAT(copy(config, CopySize::constant(287)).line,
              HasSubstr("9842c03d998a40fd9a1a41bd9b3a427d9c7a443d"));
}

TEST(EmitA64Test, FillsHaveTheExpectedInstructions) {
  const EmitConfig config = config_for(AddressMode::kHostPointer);
  // dup v0.16b,w21; stp q0,q0,[x19]; stur q0,[x19,#24]
  EXPECT_EQ(fill(config, FillByte::in(Reg::kX21), 40).line, "a00e014e600200ad6082813c");
  // movi v0.16b,#0xa5; str d0,[x19]; str s0,[x19,#8]; str h0,[x19,#12]; str b0,[x19,#14]
  EXPECT_EQ(fill(config, FillByte::constant(0xa5), 15).line,
            "a0e4054f600200fd600a00bd601a007d603a003d");
}

TEST(EmitA64Test, AHitInTheSoftTlbTakesTenInstructions) {
  EmitConfig config = config_for(AddressMode::kSoftTlb);
  // ldp x0,x2,[x28]; and x0,x0,x20,lsr #7; add x2,x2,x0; ldr x0,[x2]; ldr x2,[x2,#24];
  // add x1,x20,#7; and x1,x1,#~0xfff; eor x0,x0,x1; cbnz x0,slow; ldr x19,[x20,x2]
  EXPECT_EQ(load(config, {.bytes = 8}).line,
            "800b40a9001c548a4200008b400040f9420c40f9"
            "811e009121cc7492000001ca400000b5936a62f8");
  // The comparator of writes; add x1,x20,#3; str w19,[x20,x2]
  EXPECT_EQ(store(config, {.bytes = 4}).line,
            "800b40a9001c548a4200008b400440f9420c40f9"
            "810e009121cc7492000001ca400000b5936a22b8");
  // The table of mode 5; one byte cannot cross a page; ldrsb x19,[x20,x2]
  config.flags = 5u << VME_MMU_SRC_SHIFT;
  EXPECT_EQ(load(config, {.bytes = 1, .extend = Extend::kSign}).line,
            "800b45a9001c548a4200008b400040f9420c40f9"
            "81ce7492000001ca400000b5936aa238");
  for (const unsigned bytes : {1u, 2u, 4u, 8u}) {
    for (const Extend extend : {Extend::kZero, Extend::kSign}) {
      EXPECT_LE(load(config, {.bytes = bytes, .extend = extend}).instructions(), 10u);
      EXPECT_LE(store(config, {.bytes = bytes, .extend = extend}).instructions(), 10u);
    }
  }
}

TEST(EmitA64Test, AHitInTheArenaTakesOneInstruction) {
  const EmitConfig config = config_for(AddressMode::kFastmem);
  EXPECT_EQ(load(config, {.bytes = 8}).line, "736b74f8");   // ldr x19,[x27,x20]
  EXPECT_EQ(load(config, kSigned2).line, "736bb478");       // ldrsh x19,[x27,x20]
  EXPECT_EQ(load(config, {.bytes = 4}).line, "736b74b8");   // ldr w19,[x27,x20]
  EXPECT_EQ(store(config, {.bytes = 1}).line, "736b3438");  // strb w19,[x27,x20]
}

TEST(EmitA64Test, TheOtherByteOrderTakesOneMoreAndTheSignAnother) {
  const EmitConfig config = config_for(AddressMode::kFastmem);
  MemOp op = kSigned2;
  op.order = ByteOrder::kBig;
  // ldrh w19,[x27,x20]; rev16 w19,w19; sxth x19,w19
  EXPECT_EQ(load(config, op).line, "736b74787306c05a733e4093");
  // rev x0,x19; str x0,[x27,x20]
  EXPECT_EQ(store(config, {.bytes = 8, .order = ByteOrder::kBig}).line, "600ec0da606b34f8");
}

TEST(EmitA64Test, AnAddressThatMayBeAboveTheArenaIsChecked) {
  EmitConfig config = config_for(AddressMode::kFastmem);
  config.gva_bits = 64;
  // lsr x0,x20,#36; cbnz x0,slow; ldr x19,[x27,x20]
  EXPECT_EQ(load(config, {.bytes = 8}).line, "80fe64d3400000b5736b74f8");
}

TEST(EmitA64Test, OrderIsABarrierBehindLoadsAndBeforeStores) {
  EmitConfig config = config_for(AddressMode::kFastmem);
  for (const std::uint32_t order : {VME_ORDER_ACQREL_ENDS, VME_ORDER_TSO_ELEM}) {
    config.flags = order;
    EXPECT_EQ(load(config, {.bytes = 8}).line, "736b74f8bf3903d5");   // ...; dmb ishld
    EXPECT_EQ(store(config, {.bytes = 8}).line, "bf3b03d5736b34f8");  // dmb ish; ...
  }
}

TEST(EmitA64Test, ASlowPathKeepsWhatTheConfigDoesNotGive) {
  EmitConfig config = config_for(AddressMode::kSoftTlb);
  config.cookie = 7;
  config.guest_pc = 0x80001234;
  EXPECT_EQ(load(config, {.bytes = 8}).slow,
            // sub sp,sp,#0xb0; str x18,[sp,#32]; stp q8,q9,[sp,#48]; ... q14,q15
            "ffc302d1f21300f9e8a701adeaaf02adecb703adeebf04ad"
            // mov x0,x28; mov x1,x20; mov x2,#0x300
            "e0031caae10314aa026080d2"
            // mrs x16,nzcv; str x16,[sp]; str x0,[sp,#8]
            "10423bd5f00300f9e00700f9"
            // mov x16,#0x3333; movk x16,#1,lsl #32; blr x16; ldr x16,[sp]; msr nzcv,x16
            "706686d23000c0f200023fd6f00340f910421bd5"
            // cbnz x1,failed; mov x19,x0; everything back; b behind the access
            "210100b5f30300aae8a741adeaaf42adecb743adeebf44adf21340f9ffc30291e7ffff17"
            // failed: ldr x9,[sp,#8]; the site's cookie and guest_pc to the fault
            "e90740f9ea0080d22a2d01798a4682d20a00b0f22a6500f9"
            // mov x0,x1; everything back; b to the exit; mov x16,#0xdead0000; br x16
            "e00301aae8a741adeaaf42adecb743adeebf44adf21340f9ffc3029101000014"
            "b0d5bbd200021fd6");
}

TEST(EmitA64Test, EveryStoreOfAnArenaCopyHasItsOwnLandingPad) {
  const Emitted made = copy(config_for(AddressMode::kFastmem), CopySize::constant(60));
  ASSERT_TRUE(made.status.ok()) << made.status;
  ASSERT_EQ(made.sites.size(), 6u);
  EXPECT_EQ(made.line.substr(0, 16), "6003148b6103138b");  // add x0,x27,x20; add x1,x27,x19
  const std::array<unsigned, 3> done{0, 32, 48};
  const std::array<unsigned, 3> log2{5, 4, 4};
  for (unsigned i = 0; i < 3; ++i) {
    const vme_site& from = made.sites[i];
    const vme_site& to = made.sites[3 + i];
    EXPECT_EQ(from.pc_off, 8u + 4 * i);
    EXPECT_EQ(to.pc_off, 20u + 4 * i);
    EXPECT_EQ(from.access, VME_ACCESS_READ);
    EXPECT_EQ(to.access, VME_ACCESS_WRITE);
    EXPECT_EQ(from.side, VME_SIDE_SOURCE);
    EXPECT_EQ(to.side, VME_SIDE_DESTINATION);
    EXPECT_EQ(from.adj, 0u);
    EXPECT_EQ(to.adj, done[i]);
    EXPECT_EQ(to.size_log2, log2[i]);
    EXPECT_EQ(from.land_off, made.line.size() / 2);
    EXPECT_GT(to.land_off, i == 0 ? from.land_off : made.sites[2 + i].land_off);
  }
}

TEST(EmitA64Test, StubsAreReachedByOneBranch) {
  std::array<std::byte, 2048> bytes{};
  CodeBuffer buffer;
  buffer.bytes = bytes;
  EmitConfig config = config_for(AddressMode::kHostPointer);
  Stubs stubs;
  ASSERT_TRUE(emit_stubs(buffer, config, stubs).ok());
  config.stubs = &stubs;
  const std::size_t at = buffer.used;
  ASSERT_TRUE(emit_memcpy_call(buffer, config, kDst, kSrc, CopySize::constant(100)).ok());
  EXPECT_LT(at, 512u);
  // mov x0,x19; mov x1,x20; mov x2,#100; bl
  EXPECT_EQ(hex(std::span(bytes).subspan(at, 12)), "e00313aae10314aa820c80d2");
  EXPECT_EQ(buffer.used - at, 16u);
  std::uint32_t branch = 0;
  for (std::size_t i = 4; i-- > 0;) {
    branch = branch << 8 | std::to_integer<std::uint32_t>(bytes[at + 12 + i]);
  }
  EXPECT_EQ(branch >> 26, 0x25u);
  const auto words = static_cast<std::int32_t>(branch << 6) >> 6;
  EXPECT_EQ(static_cast<std::int64_t>(at + 12) + 4 * words, std::int64_t{stubs.copy_128});
  config.scratch &= ~reg_bit(Reg::kX30);
  EXPECT_EQ(emit_stubs(buffer, config, stubs).code(), absl::StatusCode::kFailedPrecondition);
  EXPECT_EQ(emit_policy(config).value().back().form, EmitForm::kCall);
}

TEST(EmitA64Test, ThePolicyNamesEveryFormOfASize) {
  const Stubs stubs{.copy_128 = 4,
                    .copy_256 = 8,
                    .copy_any = 12,
                    .isa = Isa::kAArch64,
                    .level = VectorLevel::kNeon};
  EmitConfig config = config_for(AddressMode::kHostPointer);
  config.stubs = &stubs;
  const std::vector<EmitPolicyRow> rows = emit_policy(config).value();
  ASSERT_EQ(rows.size(), 6u);
  const std::array<std::uint64_t, 6> last{0, 15, 64, 256, ~0ull, ~0ull};
  const std::array<EmitForm, 6> forms{EmitForm::kNothing, EmitForm::kWords, EmitForm::kVectors,
                                      EmitForm::kStub,    EmitForm::kCall,  EmitForm::kStub};
  for (std::size_t i = 0; i < rows.size(); ++i) {
    EXPECT_EQ(rows[i].max_bytes, last[i]) << i;
    EXPECT_EQ(rows[i].form, forms[i]) << i;
    EXPECT_EQ(rows[i].in_register, i == 5) << i;
    EXPECT_FALSE(rows[i].why.empty());
  }
}

TEST(EmitA64Test, FlagsThatNeedTheHelperGetIt) {
  const auto form = [](AddressMode mode, std::uint32_t flags, std::uint64_t bytes) {
    EmitConfig config = config_for(mode);
    config.flags = flags;
    const std::vector<EmitPolicyRow> rows = emit_policy(config).value();
    for (const EmitPolicyRow& row : rows) {
      if (bytes <= row.max_bytes) return row.form;
    }
    return EmitForm::kNothing;
  };
  for (const AddressMode mode : {AddressMode::kSoftTlb, AddressMode::kFastmem}) {
    EXPECT_EQ(form(mode, VME_OVERLAP_DISJOINT | VME_NO_MMIO, 24), EmitForm::kVectors);
    EXPECT_EQ(form(mode, VME_OVERLAP_PROPAGATE, 24), EmitForm::kCall);
    EXPECT_EQ(form(mode, VME_ORDER_TSO_ELEM, 24), EmitForm::kCall);
    EXPECT_EQ(form(mode, 3u << VME_ELEM_SHIFT, 24), EmitForm::kVectors);
    EXPECT_EQ(form(mode, 3u << VME_ELEM_SHIFT, 20), EmitForm::kCall);
    EXPECT_EQ(form(mode, 4u << VME_ELEM_SHIFT, 32), EmitForm::kCall);
  }
  for (const std::uint32_t flags : {VME_BACKWARD, VME_ATOMIC_OR_NOTHING, VME_ONCE}) {
    EXPECT_EQ(form(AddressMode::kSoftTlb, flags, 32), EmitForm::kVectors);
    EXPECT_EQ(form(AddressMode::kFastmem, flags, 32), EmitForm::kCall);
  }
  EXPECT_EQ(form(AddressMode::kSoftTlb, VME_ONCE, 33), EmitForm::kCall);
}

TEST(EmitA64Test, BadInputIsRefused) {
  const auto code = [](const EmitConfig& config) {
    const Emitted made = copy(config, CopySize::constant(24));
    EXPECT_EQ(made.line, "");
    return made.status.code();
  };
  const auto changed = [&](auto change) {
    EmitConfig config = config_for(AddressMode::kSoftTlb);
    change(config);
    return code(config);
  };
  const auto kBad = absl::StatusCode::kInvalidArgument;
  // Another ISA's processes have helpers of their own.
  if (default_emit_config().isa != Isa::kAArch64) {
    EXPECT_EQ(changed([](EmitConfig& c) { c.helpers.copy = 0; }), kBad);
  }
  EXPECT_EQ(changed([](EmitConfig& c) { c.level = VectorLevel::kSse2; }), kBad);
  EXPECT_EQ(changed([](EmitConfig& c) { c.scratch |= reg_bit(Reg::kX18); }), kBad);
  EXPECT_EQ(changed([](EmitConfig& c) { c.scratch |= 1u << 31; }), kBad);
  EXPECT_EQ(changed([](EmitConfig& c) { c.rsp_mod_16 = 8; }), kBad);
  EXPECT_EQ(changed([](EmitConfig& c) { c.red_zone_bytes = 8; }), kBad);
  EXPECT_EQ(changed([](EmitConfig& c) { c.cpu = kSrc; }), kBad);
  EXPECT_EQ(changed([](EmitConfig& c) { c.exit = ExitTarget::at_offset(2); }), kBad);
}

TEST(EmitA64Test, TooFewScratchRegistersAreRefusedWhereNoCallServes) {
  const auto kTooFew = absl::StatusCode::kFailedPrecondition;
  EmitConfig config = config_for(AddressMode::kSoftTlb);
  config.scratch = 3;
  EXPECT_EQ(load(config, {.bytes = 8}).status.code(), kTooFew);
  EXPECT_EQ(fill(config, FillByte::constant(1), 24).status.code(), absl::StatusCode::kOk);
  config.scratch = 7;
  EXPECT_TRUE(load(config, {.bytes = 8}).status.ok());
  const std::string call = copy(config, CopySize::constant(24)).line;
  config.inline_max = 0;
  EXPECT_EQ(call, copy(config, CopySize::constant(24)).line);
}

// blr x16 is in a call and nowhere else.
TEST(EmitA64Test, ThePolicyIsRightWhereScratchRegistersAreFew) {
  EmitConfig config = config_for(AddressMode::kHostPointer);
  for (const RegSet scratch : {RegSet{0}, reg_bit(Reg::kX5)}) {
    for (const VectorSet vectors : {0u, 1u, 7u}) {
      config.scratch = scratch;
      config.scratch_vectors = vectors;
      const std::vector<EmitPolicyRow> rows = emit_policy(config).value();
      for (const std::uint64_t bytes : {1u, 15u, 16u, 24u, 48u, 49u, 64u}) {
        const Emitted made = copy(config, CopySize::constant(bytes));
        ASSERT_TRUE(made.status.ok()) << made.status;
        const auto row = std::ranges::find_if(
            rows, [&](const EmitPolicyRow& each) { return bytes <= each.max_bytes; });
        const bool called = made.line.find("00023fd6") != std::string::npos;
        EXPECT_EQ(called, row->form == EmitForm::kCall) << bytes;
        const bool room =
            bytes < 16 ? scratch != 0 : (bytes + 15) / 16 <= std::bitset<32>(vectors).count();
        EXPECT_EQ(called, !room) << bytes;
      }
    }
  }
}

// What the code needs, or promises to leave alone, is not where the exit's address goes.
TEST(EmitA64Test, AnExitTakesARegisterThatNobodyNeeds) {
  EmitConfig config = config_for(AddressMode::kFastmem);
  const auto ends_in_br = [&](unsigned reg) {
    const std::uint32_t branch = 0xd61f0000 | reg << 5;
    std::string bytes;
    for (int i = 0; i < 4; ++i) {
      bytes += hex(std::array{static_cast<std::byte>(branch >> (8 * i))});
    }
    const Emitted made = load(config, {.bytes = 8});
    return made.status.ok() && made.slow.ends_with(bytes);
  };
  EXPECT_TRUE(ends_in_br(16));
  config.scratch &= ~reg_bit(Reg::kX16);
  EXPECT_TRUE(ends_in_br(17));
  config.scratch = 0xff | reg_bit(kDst) | reg_bit(kSrc);
  config.cpu = Reg::kX1;
  config.fastmem_base = Reg::kX2;
  EXPECT_TRUE(ends_in_br(3));
  config.result = Reg::kX3;
  EXPECT_TRUE(ends_in_br(0));
  config.scratch = 0xe | reg_bit(kDst) | reg_bit(kSrc);
  EXPECT_EQ(load(config, {.bytes = 8}).status.code(), absl::StatusCode::kFailedPrecondition);
}

TEST(EmitA64Test, SlowPathsStartAtAMultipleOfFour) {
  std::array<std::byte, 1024> bytes{};
  CodeBuffer buffer;
  buffer.bytes = bytes;
  ASSERT_TRUE(emit_load(buffer, config_for(AddressMode::kSoftTlb), kDst, kSrc, {.bytes = 8}).ok());
  const std::size_t used = buffer.used;
  const auto before = bytes;
  buffer.used += 2;
  EXPECT_EQ(emit_slow_paths(buffer).code(), absl::StatusCode::kFailedPrecondition);
  EXPECT_EQ(buffer.used, used + 2);
  EXPECT_EQ(bytes, before);
  buffer.used += 2;
  EXPECT_TRUE(emit_slow_paths(buffer).ok());
}

TEST(EmitA64Test, CodeStartsAtAMultipleOfFour) {
  std::array<std::byte, 64> bytes{};
  CodeBuffer buffer;
  buffer.bytes = bytes;
  buffer.used = 6;
  const EmitConfig config = config_for(AddressMode::kHostPointer);
  EXPECT_EQ(emit_memcpy_call(buffer, config, kDst, kSrc, CopySize::constant(8)).code(),
            absl::StatusCode::kInvalidArgument);
  EXPECT_EQ(buffer.used, 6u);
}

}  // namespace
}  // namespace vm_engine
