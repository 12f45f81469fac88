#include "vm_engine/emit.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <array>
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

TEST(EmitTest, TooFewScratchRegistersAreRefused) {
  EmitConfig config{.scratch = reg_bit(Reg::kRdi) | reg_bit(Reg::kRsi), .scratch_vectors = 3};
  EXPECT_EQ(emit(config, CopySize::constant(15)).status.code(),
            absl::StatusCode::kFailedPrecondition);
  EXPECT_TRUE(emit(config, CopySize::constant(32)).status.ok());
  const Emitted emitted = emit(config, CopySize::constant(33));
  EXPECT_EQ(emitted.status.code(), absl::StatusCode::kFailedPrecondition);
  EXPECT_THAT(std::string(emitted.status.message()), HasSubstr("take 3 scratch vectors"));
  EXPECT_TRUE(emit(config, CopySize::constant(65)).status.ok());
}

}  // namespace
}  // namespace vm_engine
