// The near stubs on AArch64. All of them work from both ends: so many registers from the
// front and as many that end with the last byte, every load before the first store, so that
// one stub serves every size from the registers' to twice as much.
#include <array>
#include <bit>

#include "absl/strings/str_format.h"
#include "vm_engine/internal/a64_copy_code.h"

namespace vm_engine::internal::aarch64 {
namespace {

namespace a64 = asmjit::a64;

constexpr unsigned kMostVectors = 16;

struct StubCode {
  A64Emission& emission;
  a64::Assembler& code;
  Reg dst, src, size, word;
  std::array<unsigned, kMostVectors> vectors = {};
  unsigned vector_count = 0;

  a64::VecV vector(unsigned index) const { return a64::v(vectors[index]); }

  // From `pairs` * 32 bytes to twice as many.
  void write_pairs(const asmjit::Label& label, unsigned pairs) {
    code.bind(label);
    const auto front = [&](unsigned pair) { return static_cast<std::int32_t>(32 * pair); };
    const auto back = [&](unsigned pair) { return front(pair) - front(pairs); };
    for (unsigned i = 0; i < pairs; ++i) {
      code.ldp(vector(2 * i), vector(2 * i + 1), a64::ptr(x_reg(src), front(i)));
    }
    code.add(x_reg(src), x_reg(src), x_reg(size));
    for (unsigned i = pairs; i < 2 * pairs; ++i) {
      code.ldp(vector(2 * i), vector(2 * i + 1), a64::ptr(x_reg(src), back(i - pairs)));
    }
    for (unsigned i = 0; i < pairs; ++i) {
      code.stp(vector(2 * i), vector(2 * i + 1), a64::ptr(x_reg(dst), front(i)));
    }
    code.add(x_reg(dst), x_reg(dst), x_reg(size));
    for (unsigned i = pairs; i < 2 * pairs; ++i) {
      code.stp(vector(2 * i), vector(2 * i + 1), a64::ptr(x_reg(dst), back(i - pairs)));
    }
    code.ret(a64::x30);
  }

  // 16 to 31 bytes.
  void write_two_vectors(const asmjit::Label& label) {
    code.bind(label);
    code.ldr(vector(0), a64::ptr(x_reg(src)));
    code.add(x_reg(src), x_reg(src), x_reg(size));
    code.ldr(vector(1), a64::ptr(x_reg(src), -16));
    code.str(vector(0), a64::ptr(x_reg(dst)));
    code.add(x_reg(dst), x_reg(dst), x_reg(size));
    code.str(vector(1), a64::ptr(x_reg(dst), -16));
    code.ret(a64::x30);
  }

  // From `bytes` to twice as many, less one.
  void write_two_words(const asmjit::Label& label, unsigned bytes) {
    const auto back = -static_cast<std::int32_t>(bytes);
    code.bind(label);
    emission.line.load(word, a64::ptr(x_reg(src)), {.bytes = bytes});
    code.add(x_reg(src), x_reg(src), x_reg(size));
    emission.line.load(src, a64::ptr(x_reg(src), back), {.bytes = bytes});
    emission.line.store(word, a64::ptr(x_reg(dst)), {.bytes = bytes});
    code.add(x_reg(dst), x_reg(dst), x_reg(size));
    emission.line.store(src, a64::ptr(x_reg(dst), back), {.bytes = bytes});
    code.ret(a64::x30);
  }

  void write_core_call(const asmjit::Label& label) {
    code.bind(label);
    const CopyRequest request{.dst = dst, .src = src, .size = CopySize::in(size)};
    emission.call_host(emission.line, copy_call(emission.config(), request), reg_bit(Reg::kX30));
    code.ret(a64::x30);
  }

  // Bits of the size from the top say where to go: no flags are needed.
  void write_any(Stubs& stubs) {
    std::array<asmjit::Label, 8> power;  // where sizes of 2^i and more, below 2^(i+1), go
    for (asmjit::Label& label : power) label = code.newLabel();
    const asmjit::Label call = code.newLabel();
    const asmjit::Label done = code.newLabel();
    stubs.copy_any = static_cast<std::uint32_t>(emission.line.bytes());
    code.lsr(x_reg(word), x_reg(size), 8);
    code.cbnz(x_reg(word), call);
    for (unsigned bit = 8; bit-- > 1;) {
      const bool fits = bit <= 5 || (4u << (bit - 5)) <= vector_count;
      code.tbnz(x_reg(size), bit, fits ? power[bit] : call);
    }
    code.cbz(x_reg(size), done);
    emission.line.load(word, a64::ptr(x_reg(src)), {.bytes = 1});
    emission.line.store(word, a64::ptr(x_reg(dst)), {.bytes = 1});
    code.bind(done);
    code.ret(a64::x30);
    for (unsigned bit = 1; bit < 4; ++bit) write_two_words(power[bit], 1u << bit);
    write_two_vectors(power[4]);
    write_pairs(power[5], 1);
    if (vector_count >= 8) stubs.copy_128 = write_at(power[6], 2);
    if (vector_count >= 16) stubs.copy_256 = write_at(power[7], 4);
    write_core_call(call);
  }

  std::uint32_t write_at(const asmjit::Label& label, unsigned pairs) {
    const auto offset = static_cast<std::uint32_t>(emission.line.bytes());
    write_pairs(label, pairs);
    return offset;
  }
};

absl::Status check_registers(const EmitConfig& config) {
  constexpr RegSet kLink = reg_bit(Reg::kX30);
  const int regs = std::popcount(config.scratch & ~kLink);
  const int vectors = std::popcount(config.scratch_vectors);
  if (regs >= 4 && vectors >= 4 && (config.scratch & kLink) != 0) return absl::OkStatus();
  return absl::FailedPreconditionError(
      absl::StrFormat("near stubs take x30, 4 more scratch registers and 4 scratch vectors; "
                      "scratch is %#x, scratch_vectors %#x",
                      config.scratch, config.scratch_vectors));
}

}  // namespace

void write_stubs(A64Emission& emission, Stubs& stubs) {
  const EmitConfig& config = emission.config();
  if (absl::Status bad = check_registers(config); !bad.ok()) {
    emission.fail(bad);
    return;
  }
  RegSet taken = reg_bit(Reg::kX30);
  stubs.dst = emission.take_scratch(taken);
  stubs.src = emission.take_scratch(taken);
  stubs.size = emission.take_scratch(taken);
  stubs.changes = config.scratch;
  stubs.changes_vectors = config.scratch_vectors;
  StubCode stub{.emission = emission,
                .code = emission.line.assembler,
                .dst = stubs.dst,
                .src = stubs.src,
                .size = stubs.size,
                .word = emission.take_scratch(taken)};
  for (VectorSet left = config.scratch_vectors; left != 0 && stub.vector_count < kMostVectors;) {
    stub.vectors[stub.vector_count++] = take_lowest(left);
  }
  // An offset of 0 would say that there is no stub.
  stub.code.udf(0);
  stub.write_any(stubs);
}

}  // namespace vm_engine::internal::aarch64
