#include "vm_engine/emit.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <array>
#include <bitset>
#include <cstring>
#include <string>

namespace vm_engine {
namespace {

using testing::HasSubstr;

std::string hex(std::span<const std::byte> bytes) {
  constexpr char kDigits[] = "0123456789abcdef";
  std::string out;
  for (const std::byte byte : bytes) {
    out += kDigits[std::to_integer<unsigned>(byte) >> 4];
    out += kDigits[std::to_integer<unsigned>(byte) & 15];
  }
  return out;
}

struct Emitted {
  absl::Status status;
  std::string code;
};

Emitted emit(const EmitConfig& config, CopySize size, Reg dst = Reg::kRdi, Reg src = Reg::kRsi) {
  std::array<std::byte, 8192> bytes{};
  CodeBuffer buffer{.bytes = bytes, .used = 0, .fault_sites = {}};
  absl::Status status = emit_memcpy_call(buffer, config, dst, src, size);
  EXPECT_TRUE(buffer.fault_sites.empty());
  return {std::move(status), hex(std::span(bytes).first(buffer.used))};
}

TEST(EmitTest, ASizeOfZeroEmitsNothing) {
  const Emitted emitted = emit({}, CopySize::constant(0));
  EXPECT_TRUE(emitted.status.ok());
  EXPECT_EQ(emitted.code, "");
}

TEST(EmitTest, SmallSizesHaveTheExpectedInstructions) {
  // movzx eax, byte [rsi]; mov [rdi], al
  EXPECT_EQ(emit({}, CopySize::constant(1)).code, "0fb6068807");
  // mov rax, [rsi]; mov [rdi], rax; mov eax, [rsi+8]; mov [rdi+8], eax
  EXPECT_EQ(emit({}, CopySize::constant(12)).code,
            "488b06488907"
            "8b4608894708");
  // movdqu xmm0, [rsi]; movdqu [rdi], xmm0
  EXPECT_EQ(emit({}, CopySize::constant(16)).code, "f30f6f06f30f7f07");
}

TEST(EmitTest, ALevelUsesItsVectors) {
  // vmovdqu ymm0, [rsi]; vmovdqu [rdi], ymm0; vzeroupper
  EXPECT_EQ(emit({.level = VectorLevel::kAvx2}, CopySize::constant(32)).code,
            "c5fe6f06c5fe7f07c5f877");
  // vmovdqu64 zmm0, [rsi]; vmovdqu64 [rdi], zmm0; vzeroupper
  EXPECT_EQ(emit({.level = VectorLevel::kAvx512}, CopySize::constant(64)).code,
            "62f1fe486f0662f1fe487f07c5f877");
}

TEST(EmitTest, EveryLoadComesBeforeTheFirstStore) {
  // Four loads to xmm0..3, the last ending at byte 63, then four stores.
  EXPECT_EQ(emit({}, CopySize::constant(63)).code,
            "f30f6f06f30f6f4e10f30f6f5620f30f6f5e2f"
            "f30f7f07f30f7f4f10f30f7f5720f30f7f5f2f");
}

TEST(EmitTest, VectorsInUseKeepTheirUpperHalves) {
  const EmitConfig config{.level = VectorLevel::kAvx2, .scratch_vectors = 1u << 5};
  EXPECT_EQ(emit(config, CopySize::constant(32)).code, "c5fe6f2ec5fe7f2f");
}

TEST(EmitTest, ABufferTooSmallSaysHowMuchIsNeededAndStaysAsItWas) {
  std::array<std::byte, 12> bytes;
  bytes.fill(std::byte{0xee});
  CodeBuffer buffer{.bytes = bytes, .used = 5, .fault_sites = {}};
  const absl::Status status =
      emit_memcpy_call(buffer, {}, Reg::kRdi, Reg::kRsi, CopySize::constant(16));
  EXPECT_EQ(status.code(), absl::StatusCode::kResourceExhausted);
  EXPECT_THAT(std::string(status.message()), HasSubstr("takes 8 bytes; the buffer has 7 left"));
  EXPECT_EQ(buffer.used, 5u);
  for (const std::byte byte : bytes) EXPECT_EQ(byte, std::byte{0xee});

  buffer.used = 4;
  EXPECT_TRUE(emit_memcpy_call(buffer, {}, Reg::kRdi, Reg::kRsi, CopySize::constant(16)).ok());
  EXPECT_EQ(buffer.used, 12u);
}

TEST(EmitTest, BadRegistersAreRefused) {
  const auto refused = [](const Emitted& emitted) {
    return emitted.status.code() == absl::StatusCode::kInvalidArgument && emitted.code.empty();
  };
  const CopySize sixteen = CopySize::constant(16);
  EXPECT_TRUE(refused(emit({}, sixteen, Reg::kRsp, Reg::kRsi)));
  EXPECT_TRUE(refused(emit({}, sixteen, Reg::kRdi, Reg::kRsp)));
  EXPECT_TRUE(refused(emit({}, sixteen, static_cast<Reg>(16), Reg::kRsi)));
  EXPECT_TRUE(refused(emit({}, CopySize::in(Reg::kRsp))));
  EXPECT_TRUE(refused(emit({}, sixteen, Reg::kRsi, Reg::kRsi)));
  EmitConfig guest{.address_mode = AddressMode::kGuest};
  EXPECT_TRUE(emit(guest, sixteen, Reg::kRsi, Reg::kRsi).status.ok());
  guest.cpu = Reg::kRsi;
  EXPECT_TRUE(refused(emit(guest, sixteen)));
  guest.cpu = guest.result;
  EXPECT_TRUE(refused(emit(guest, sixteen)));
  guest.cpu = Reg::kRsp;
  EXPECT_TRUE(refused(emit(guest, sixteen)));
}

TEST(EmitTest, BadConfigsAreRefused) {
  const auto code = [](const EmitConfig& config) {
    return emit(config, CopySize::constant(16)).status.code();
  };
  EXPECT_EQ(code({.rsp_mod_16 = 4}), absl::StatusCode::kInvalidArgument);
  EXPECT_EQ(code({.red_zone_bytes = 100}), absl::StatusCode::kInvalidArgument);
  EXPECT_EQ(code({.inline_max = 1 << 20}), absl::StatusCode::kInvalidArgument);
  EXPECT_EQ(code({.scratch_vectors = 1u << 16}), absl::StatusCode::kInvalidArgument);
  EXPECT_EQ(code({.scratch = reg_bit(Reg::kRsp)}), absl::StatusCode::kInvalidArgument);
}

// The form of a size that the policy has.
EmitForm form_of(const EmitConfig& config, std::uint64_t bytes) {
  const auto policy = emit_policy(config);
  EXPECT_TRUE(policy.ok()) << policy.status();
  for (const EmitPolicyRow& row : *policy) {
    if (bytes <= row.max_bytes) return row.form;
  }
  return EmitForm::kNothing;
}

// Whether that is what is emitted shows in the helper's address.
TEST(EmitTest, ThePolicyIsRightWhereScratchRegistersAreFew) {
  EmitConfig config;
  config.helpers.memcpy_raw = 0x1122334455667788;
  config.red_zone_bytes = 0;
  for (const RegSet scratch : {RegSet{0}, reg_bit(Reg::kRbx), kCallerSaved}) {
    for (const VectorSet vectors : {0u, 1u, 3u, 0x7fu}) {
      for (const std::uint64_t bytes : {1u, 15u, 16u, 17u, 33u, 64u, 65u, 112u, 113u, 300u}) {
        config.scratch = scratch;
        config.scratch_vectors = vectors;
        const Emitted emitted = emit(config, CopySize::constant(bytes));
        ASSERT_TRUE(emitted.status.ok()) << emitted.status;
        const bool called = emitted.code.find("8877665544332211") != std::string::npos;
        EXPECT_EQ(called, form_of(config, bytes) == EmitForm::kCall) << bytes << " " << vectors;
        const bool room =
            bytes < 16 ? scratch != 0 : (bytes + 15) / 16 <= std::bitset<32>(vectors).count();
        EXPECT_EQ(called, !room) << bytes << " " << vectors;
      }
    }
  }
}

TEST(EmitTest, ElementsDecideWhatIsInLine) {
  for (const AddressMode mode : {AddressMode::kSoftTlb, AddressMode::kFastmem}) {
    EmitConfig config{.address_mode = mode};
    for (std::uint32_t log2 = 0; log2 < 8; ++log2) {
      config.flags = log2 << VME_ELEM_SHIFT;
      for (std::uint64_t bytes = 1; bytes <= 64; ++bytes) {
        const bool in_line = log2 <= 3 && bytes % (1u << log2) == 0;
        EXPECT_EQ(form_of(config, bytes) != EmitForm::kCall, in_line) << log2 << " " << bytes;
      }
    }
  }
}

struct Block {
  std::array<std::byte, 4096> bytes{};
  CodeBuffer buffer{.bytes = bytes};

  std::string code() const { return hex(std::span(bytes).first(buffer.used)); }
};

EmitConfig guest_config(AddressMode mode) {
  EmitConfig config{.address_mode = mode};
  config.exit = ExitTarget::at_offset(0x100);
  config.helpers = {.load = 0x1122334455667788, .store = 0x1122334455667799};
  return config;
}

// What a load of 4 bytes at [rdi] into ebx is on a hit: ten instructions.
TEST(EmitTest, ASoftTlbHitIsTenInstructions) {
  Block block;
  const EmitConfig config = guest_config(AddressMode::kSoftTlb);
  ASSERT_TRUE(emit_load(block.buffer, config, Reg::kRbx, Reg::kRdi, {.bytes = 4}).ok());
  EXPECT_EQ(block.code(),
            "4889f9"        // mov rcx, rdi
            "48c1e907"      // shr rcx, 7
            "49230f"        // and rcx, [r15]
            "49034f08"      // add rcx, [r15+8]
            "488d4703"      // lea rax, [rdi+3]
            "482500f0ffff"  // and rax, -4096
            "483b01"        // cmp rax, [rcx]
            "0f8500000000"  // jne slow
            "488b4918"      // mov rcx, [rcx+24]
            "8b1c0f");      // mov ebx, [rdi+rcx]
  EXPECT_TRUE(block.buffer.fault_sites.empty());
}

TEST(EmitTest, AStoreComparesWithTheWriteComparatorOfTheDestinationsMode) {
  Block block;
  EmitConfig config = guest_config(AddressMode::kSoftTlb);
  config.flags = 2u << VME_MMU_DST_SHIFT;
  ASSERT_TRUE(emit_store(block.buffer, config, Reg::kRdi, Reg::kRsi, {.bytes = 1}).ok());
  EXPECT_EQ(block.code(),
            "4889f9"
            "48c1e907"
            "49234f20"  // and rcx, [r15+32]
            "49034f28"  // add rcx, [r15+40]
            "488d07"    // lea rax, [rdi]
            "482500f0ffff"
            "483b4108"  // cmp rax, [rcx+8]
            "0f8500000000"
            "488b4918"
            "4088340f");  // mov [rdi+rcx], sil
}

TEST(EmitTest, AFastmemHitIsOneInstructionAndASite) {
  Block block;
  EmitConfig config = guest_config(AddressMode::kFastmem);
  config.gva_bits = 32;
  config.cookie = 7;
  config.guest_pc = 0x4000;
  ASSERT_TRUE(emit_load(block.buffer, config, Reg::kRbx, Reg::kRdi, {.bytes = 8}).ok());
  ASSERT_TRUE(emit_store(block.buffer, config, Reg::kRdi, Reg::kRbx, {.bytes = 2}).ok());
  // mov rbx, [r14+rdi]; mov [r14+rdi], bx
  EXPECT_EQ(block.code(), "498b1c3e6641891c3e");
  const std::size_t hot = block.buffer.used;
  const std::size_t slow = slow_path_bytes(block.buffer);
  ASSERT_TRUE(emit_slow_paths(block.buffer).ok());
  EXPECT_EQ(block.buffer.used, hot + slow);
  ASSERT_EQ(block.buffer.fault_sites.size(), 2u);
  const vme_site& load = block.buffer.fault_sites[0];
  const vme_site& store = block.buffer.fault_sites[1];
  EXPECT_EQ(load.pc_off, 0u);
  EXPECT_EQ(load.land_off, hot);
  EXPECT_EQ(load.access, VME_ACCESS_READ);
  EXPECT_EQ(load.size_log2, 3u);
  EXPECT_EQ(load.cookie, 7u);
  EXPECT_EQ(load.guest_pc, 0x4000u);
  EXPECT_EQ(store.pc_off, 4u);
  EXPECT_GT(store.land_off, load.land_off);
  EXPECT_LT(store.land_off, block.buffer.used);
  EXPECT_EQ(store.access, VME_ACCESS_WRITE);
  EXPECT_EQ(store.side, VME_SIDE_DESTINATION);
  EXPECT_EQ(store.size_log2, 1u);
}

TEST(EmitTest, AnAddressThatMayExceedTheArenaIsChecked) {
  Block block;
  EmitConfig config = guest_config(AddressMode::kFastmem);
  ASSERT_TRUE(emit_load(block.buffer, config, Reg::kRbx, Reg::kRdi, {.bytes = 8}).ok());
  // mov rax, rdi; shr rax, 36; jne slow; mov rbx, [r14+rdi]
  EXPECT_EQ(block.code(), "4889f848c1e8240f8500000000498b1c3e");
}

TEST(EmitTest, LoadsExtendAndSwap) {
  const auto code_of = [](MemOp op) {
    Block block;
    EXPECT_TRUE(emit_load(block.buffer, {}, Reg::kRbx, Reg::kRdi, op).ok());
    return block.code();
  };
  EXPECT_EQ(code_of({.bytes = 1}), "0fb61f");
  EXPECT_EQ(code_of({.bytes = 1, .extend = Extend::kSign}), "480fbe1f");
  EXPECT_EQ(code_of({.bytes = 4, .extend = Extend::kSign}), "48631f");
  EXPECT_EQ(code_of({.bytes = 8, .order = ByteOrder::kBig}), "488b1f480fcb");
  // movzx ebx, word [rdi]; rol bx, 8; movsx rbx, bx
  EXPECT_EQ(code_of({.bytes = 2, .extend = Extend::kSign, .order = ByteOrder::kBig}),
            "0fb71f66c1c308480fbfdb");
}

TEST(EmitTest, ASizeInARegisterIsOneMaskedVector) {
  const EmitConfig config{.level = VectorLevel::kAvx512, .scratch_vectors = kAllVectors};
  const std::string code = emit(config, CopySize::in(Reg::kRdx)).code;
  EXPECT_EQ(code.substr(0, 2 * 36),
            "4883fa40"        // cmp rdx, 64
            "7722"            // ja the call
            "48c7c0ffffffff"  // mov rax, -1
            "c4e2e8f5c0"      // bzhi rax, rax, rdx
            "c4e1fb92c8"      // kmovq k1, rax
            "62e17fc96f06"    // vmovdqu8 zmm16{k1}{z}, [rsi]
            "62e17f497f07"    // vmovdqu8 [rdi]{k1}, zmm16
            "e9");
}

TEST(EmitTest, SlowPathsThatDoNotFitWait) {
  Block block;
  block.buffer.bytes = std::span(block.bytes).first(60);
  const EmitConfig config = guest_config(AddressMode::kSoftTlb);
  ASSERT_TRUE(emit_load(block.buffer, config, Reg::kRbx, Reg::kRdi, {.bytes = 4}).ok());
  const std::size_t used = block.buffer.used;
  const std::string code = block.code();
  const absl::Status status = emit_slow_paths(block.buffer);
  EXPECT_EQ(status.code(), absl::StatusCode::kResourceExhausted);
  EXPECT_EQ(block.buffer.used, used);
  EXPECT_EQ(block.code(), code);
  block.buffer.bytes = std::span(block.bytes).first(used + slow_path_bytes(block.buffer));
  EXPECT_TRUE(emit_slow_paths(block.buffer).ok());
  EXPECT_EQ(block.buffer.used, block.buffer.bytes.size());
  EXPECT_EQ(slow_path_bytes(block.buffer), 0u);
  EXPECT_NE(block.code().substr(0, code.size()), code);
}

TEST(EmitTest, BadAccessesAreRefused) {
  const auto code = [](const EmitConfig& config, MemOp op, Reg dst = Reg::kRbx) {
    Block block;
    const absl::Status status = emit_load(block.buffer, config, dst, Reg::kRdi, op);
    EXPECT_EQ(block.buffer.used, 0u);
    EXPECT_TRUE(block.buffer.fault_sites.empty() && block.buffer.slow_paths.empty());
    return status.code();
  };
  EmitConfig config = guest_config(AddressMode::kSoftTlb);
  EXPECT_EQ(code(config, {.bytes = 3}), absl::StatusCode::kInvalidArgument);
  EXPECT_EQ(code(config, {.bytes = 16}), absl::StatusCode::kInvalidArgument);
  EXPECT_EQ(code(config, {.bytes = 4}, config.cpu), absl::StatusCode::kInvalidArgument);
  EXPECT_EQ(code(config, {.bytes = 4}, Reg::kRsp), absl::StatusCode::kInvalidArgument);
  config.scratch = reg_bit(Reg::kRax) | reg_bit(Reg::kRdi);
  EXPECT_EQ(code(config, {.bytes = 4}), absl::StatusCode::kFailedPrecondition);
  for (const AddressMode mode :
       {AddressMode::kGuest, AddressMode::kFastmem, AddressMode::kSoftTlb}) {
    config = guest_config(mode);
    for (const int shift : {VME_MMU_SRC_SHIFT, VME_MMU_DST_SHIFT}) {
      config.flags = std::uint32_t{VME_MMU_MODES} << shift;
      EXPECT_EQ(code(config, {.bytes = 4}), absl::StatusCode::kInvalidArgument);
    }
  }
  config = guest_config(AddressMode::kFastmem);
  EXPECT_EQ(code(config, {.bytes = 4}, config.fastmem_base), absl::StatusCode::kInvalidArgument);
  config.arena_bits = 64;
  EXPECT_EQ(code(config, {.bytes = 4}), absl::StatusCode::kInvalidArgument);
  for (const AddressMode mode :
       {AddressMode::kGuest, AddressMode::kFastmem, AddressMode::kSoftTlb}) {
    config = guest_config(mode);
    config.exit = {};
    EXPECT_EQ(code(config, {.bytes = 4}), absl::StatusCode::kInvalidArgument);
  }
  config = {.isa = static_cast<Isa>(2)};
  EXPECT_EQ(code(config, {.bytes = 4}), absl::StatusCode::kInvalidArgument);
}

TEST(EmitTest, AStubOutOfReachIsRefused) {
  Block block;
  Stubs stubs;
  EmitConfig config;
  ASSERT_TRUE(emit_stubs(block.buffer, config, stubs).ok());
  config.stubs = &stubs;
  const CopySize size = CopySize::constant(100);
  EXPECT_TRUE(emit(config, size).status.ok());
  stubs.base -= std::ptrdiff_t{3} << 30;
  const Emitted far = emit(config, size);
  EXPECT_EQ(far.status.code(), absl::StatusCode::kFailedPrecondition);
  EXPECT_EQ(far.code, "");
}

TEST(EmitTest, StubsForOtherCodeAreRefused) {
  Block block;
  Stubs stubs;
  const EmitConfig made{.level = VectorLevel::kAvx2, .stubs = &stubs};
  EmitConfig config = made;
  ASSERT_TRUE(emit_stubs(block.buffer, config, stubs).ok());
  const auto code = [&] { return emit(config, CopySize::constant(100)).status.code(); };
  EXPECT_EQ(code(), absl::StatusCode::kOk);
  config.rsp_mod_16 = 8;
  EXPECT_EQ(code(), absl::StatusCode::kInvalidArgument);
  EXPECT_EQ(emit_policy(config).status().code(), absl::StatusCode::kInvalidArgument);
  config = made;
  config.red_zone_bytes = 0;
  EXPECT_EQ(code(), absl::StatusCode::kInvalidArgument);
  config = made;
  config.level = VectorLevel::kSse2;
  EXPECT_EQ(code(), absl::StatusCode::kInvalidArgument);
  config = default_emit_config(Isa::kAArch64);
  config.stubs = &stubs;
  EXPECT_EQ(code(), absl::StatusCode::kInvalidArgument);
  // Stubs are not made of stubs.
  config = made;
  config.rsp_mod_16 = 8;
  EXPECT_TRUE(emit_stubs(block.buffer, config, stubs).ok());
  EXPECT_EQ(code(), absl::StatusCode::kOk);
}

// With one landing pad for the loads and the first store, and one for each other store.
TEST(EmitTest, HostFaultsOfTheSoftTlbAreSites) {
  Block block;
  EmitConfig config = guest_config(AddressMode::kSoftTlb);
  config.helpers.copy = config.helpers.write = 0x1122334455667788;
  const auto copied = [&] {
    block.buffer = CodeBuffer{.bytes = block.bytes};
    EXPECT_TRUE(
        emit_memcpy_call(block.buffer, config, Reg::kRdi, Reg::kRsi, CopySize::constant(40)).ok());
    const std::string in_line = block.code();
    EXPECT_TRUE(emit_slow_paths(block.buffer).ok());
    return in_line;
  };
  const std::string without = copied();
  EXPECT_TRUE(block.buffer.fault_sites.empty());
  config.host_faults = HostFaults::kCaught;
  EXPECT_EQ(copied(), without);
  const std::vector<vme_site>& sites = block.buffer.fault_sites;
  ASSERT_EQ(sites.size(), 6u);
  const std::array<unsigned, 6> done{0, 0, 0, 0, 16, 32};
  for (std::size_t i = 0; i < sites.size(); ++i) {
    EXPECT_EQ(sites[i].flags, VME_SITE_HOST_POINTER);
    EXPECT_EQ(sites[i].adj, done[i]);
    EXPECT_EQ(sites[i].land_off == sites[0].land_off, i <= 3) << i;
  }
}

TEST(EmitTest, ThePolicyNamesTheFormOfEachSize) {
  Block block;
  Stubs stubs;
  EmitConfig config{.level = VectorLevel::kAvx512, .scratch_vectors = kAllVectors};
  ASSERT_TRUE(emit_stubs(block.buffer, config, stubs).ok());
  config.stubs = &stubs;
  const auto policy = emit_policy(config);
  ASSERT_TRUE(policy.ok());
  std::string table;
  for (const EmitPolicyRow& row : *policy) {
    table += row.in_register ? 'r' : 'c';
    table += std::to_string(row.min_bytes);
    table += ':';
    table += emit_form_name(row.form);
    table += ' ';
    EXPECT_LE(row.min_bytes, row.max_bytes);
    EXPECT_FALSE(row.why.empty());
  }
  EXPECT_EQ(table, "c0:nothing c1:words c16:vectors c65:stub c257:call r0:masked r65:stub ");
  EXPECT_EQ(policy->back().max_bytes, UINT64_MAX);
  config.inline_max = 100000;
  EXPECT_EQ(emit_policy(config).status().code(), absl::StatusCode::kInvalidArgument);
  EXPECT_EQ(emit_form_name(static_cast<EmitForm>(77)), "?");
}

}  // namespace
}  // namespace vm_engine
