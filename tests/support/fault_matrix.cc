#include "tests/support/fault_matrix.h"

#include <algorithm>
#include <array>
#include <bit>
#include <cstring>

#include "tests/support/faulty_guest.h"
#include "vm_mem/simd_memcpy.h"

namespace vm_test {
namespace {

using vm_engine::AddressMode;
using vm_engine::ByteOrder;
using vm_engine::CodeBuffer;
using vm_engine::CopySize;
using vm_engine::EmitConfig;
using vm_engine::FillByte;
using vm_engine::MemOp;
using vm_engine::VectorLevel;

constexpr std::uint64_t kPage = FaultyGuest::kPageBytes;
constexpr std::uint64_t kInLine = 256;
constexpr std::array<std::uint64_t, 5> kLongSizes{257, 300, 384, 500, 600};
constexpr std::uint64_t kMaxDistance = 70;
constexpr std::uint64_t kStored = 0x8192a3b4c5d6e7f8;
constexpr std::uint8_t kFilled = 0xa5;
constexpr std::uint64_t kUntouched = 0x5a5a5a5a12345678;

std::byte byte_of(std::uint64_t value, unsigned index) {
  return static_cast<std::byte>(value >> (8 * index));
}

class Matrix {
 public:
  Matrix(const FaultMatrixForms& forms, LandingPads pads, std::uint64_t thinning)
      : functions_(forms.mode, forms.level), pads_(pads), thinning_(thinning) {
    functions_.config().arena_bits = 24;
    functions_.config().gva_bits = 24;
    functions_.config().inline_max = kInLine;
  }

  void copies() {
    std::vector<std::size_t> in_line;
    for (std::uint64_t bytes = 1; bytes <= kInLine; ++bytes) in_line.push_back(add_copy(bytes));
    for (const std::uint64_t bytes : kLongSizes) in_line.push_back(add_copy(bytes));
    const std::size_t any = add_copy_of(CopySize::in(EmittedFunctions::registers().size));
    const std::size_t low = add_copy_of(CopySize::in_low_half(EmittedFunctions::registers().size));
    start();
    for (std::size_t i = 0; i < in_line.size(); ++i) {
      const std::uint64_t bytes = i < kInLine ? i + 1 : kLongSizes[i - kInLine];
      copy_everywhere(in_line[i], bytes, bytes);
      if (bytes % 16 != 1) continue;
      copy_everywhere(any, bytes, bytes);
      copy_everywhere(low, bytes, bytes | 0xabcdef0100000000);
    }
  }

  void fills() {
    std::vector<std::size_t> in_line;
    for (std::uint64_t bytes = 1; bytes <= kInLine; ++bytes) in_line.push_back(add_fill(bytes));
    start();
    for (std::uint64_t bytes = 1; bytes <= kInLine; ++bytes) {
      fill_everywhere(in_line[bytes - 1], bytes);
    }
  }

  void words() {
    struct Word {
      std::size_t load, store;
      MemOp op;
    };
    std::vector<Word> words;
    for (const unsigned bytes : {1u, 2u, 4u, 8u}) {
      for (const ByteOrder order : {ByteOrder::kLittle, ByteOrder::kBig}) {
        const MemOp op{.bytes = bytes, .order = order};
        words.push_back({add_load(op), add_store(op), op});
      }
    }
    start();
    for (const Word& word : words) {
      for_each_place(word.op.bytes, [&](std::uint64_t gva) {
        check_load(word.load, word.op, gva);
        check_store(word.store, word.op, gva);
      });
    }
  }

  void overlaps() {
    constexpr std::array<std::uint64_t, 6> kSizes{7, 16, 40, 64, 100, 200};
    std::vector<std::size_t> copies;
    for (const std::uint64_t bytes : kSizes) copies.push_back(add_copy(bytes));
    start();
    for (std::size_t i = 0; i < kSizes.size(); ++i) {
      for (std::uint64_t apart = 0; apart <= kMaxDistance; ++apart) {
        overlap_everywhere(copies[i], kSizes[i], apart);
      }
    }
  }

  FaultMatrixScore score;

 private:
  FunctionRegisters registers() const { return EmittedFunctions::registers(); }

  // Of copies and fills.
  Complete complete() {
    return functions_.config().address_mode == AddressMode::kGuest ? Complete::kResultIsZero
                                                                   : Complete::kFallsThrough;
  }
  std::size_t add_copy_of(CopySize size) {
    return functions_.add(
        [&](CodeBuffer& buffer, const EmitConfig& config) {
          return emit_memcpy_call(buffer, config, registers().dst, registers().src, size);
        },
        complete());
  }
  std::size_t add_copy(std::uint64_t bytes) { return add_copy_of(CopySize::constant(bytes)); }
  std::size_t add_fill(std::uint64_t bytes) {
    const FillByte value =
        bytes % 2 == 0 ? FillByte::constant(kFilled) : FillByte::in(registers().src);
    return functions_.add(
        [&](CodeBuffer& buffer, const EmitConfig& config) {
          return emit_memset_call(buffer, config, registers().dst, value,
                                  CopySize::constant(bytes));
        },
        complete());
  }
  std::size_t add_load(MemOp op) {
    return functions_.add([&](CodeBuffer& buffer, const EmitConfig& config) {
      return emit_load(buffer, config, registers().loaded, registers().dst, op);
    });
  }
  std::size_t add_store(MemOp op) {
    return functions_.add([&](CodeBuffer& buffer, const EmitConfig& config) {
      return emit_store(buffer, config, registers().dst, registers().src, op);
    });
  }
  void start() { functions_.register_sites(guest_.engine(), pads_); }

  // Addresses from which `bytes` bytes reach into a bad page, lie in it, or leave it. Of long
  // ranges those where a piece of 16 bytes begins or ends.
  template <typename Visit>
  static void for_each_place(std::uint64_t bytes, Visit visit) {
    for (const std::uint64_t area : FaultyGuest::kAreas) {
      for (std::uint64_t good = 0; good < bytes; ++good) {
        if (good > 40 && bytes - good > 3 && (good + 1) % 16 > 2) continue;
        visit(area + kPage - good);
      }
      for (const std::uint64_t bad : {std::uint64_t{1}, bytes / 2, bytes - 1}) {
        if (bad != 0 && bad < bytes) visit(area + 2 * kPage - bad);
      }
    }
  }
  // A place where nothing fails, aligned in many ways.
  std::uint64_t plain() { return FaultyGuest::kPlain + kPage + 64 + plain_++ * 37 % 64; }

  void copy_everywhere(std::size_t function, std::uint64_t bytes, std::uint64_t size) {
    for_each_place(bytes, [&](std::uint64_t gva) {
      check_copy(function, gva, plain(), bytes, size);
      check_copy(function, plain(), gva, bytes, size);
    });
    // Both, a byte apart.
    for (std::uint64_t good = 1; good + 1 < bytes; good += 1 + bytes / 8) {
      const std::uint64_t dst = FaultyGuest::kReadOnly + kPage - good;
      for (const std::uint64_t more : {0u, 1u}) {
        check_copy(function, dst - more, FaultyGuest::kHole + kPage - good, bytes, size);
        check_copy(function, dst, FaultyGuest::kLost + kPage - good - more, bytes, size);
      }
    }
  }
  void overlap_everywhere(std::size_t function, std::uint64_t bytes, std::uint64_t apart) {
    const std::uint64_t step = bytes > 40 ? 3 : 1;
    for (const std::uint64_t area : FaultyGuest::kAreas) {
      for (std::uint64_t good = 1 + apart % step; good < bytes + apart; good += step) {
        const std::uint64_t low = area + kPage - good;
        check_copy(function, low + apart, low, bytes, bytes);
        check_copy(function, low, low + apart, bytes, bytes);
      }
    }
  }
  void fill_everywhere(std::size_t function, std::uint64_t bytes) {
    for_each_place(bytes, [&](std::uint64_t gva) {
      GuestOperation fill{.dst = gva, .bytes = bytes, .writes = true};
      fill.content.assign(bytes, std::byte{kFilled});
      check(function, fill, gva, 0x1234567800 | kFilled, 0);
    });
  }

  void check_copy(std::size_t function, std::uint64_t dst, std::uint64_t src, std::uint64_t bytes,
                  std::uint64_t size) {
    check(function, {.dst = dst, .src = src, .bytes = bytes, .reads = true, .writes = true}, dst,
          src, size);
  }
  void check_store(std::size_t function, MemOp op, std::uint64_t gva) {
    GuestOperation store{.dst = gva, .bytes = op.bytes, .writes = true, .whole = true};
    for (unsigned i = 0; i < op.bytes; ++i) {
      store.content.push_back(
          byte_of(kStored, op.order == ByteOrder::kLittle ? i : op.bytes - 1 - i));
    }
    check(function, store, gva, kStored, 0);
  }
  void check_load(std::size_t function, MemOp op, std::uint64_t gva) {
    std::uint64_t value = 0;
    for (unsigned i = 0; i < op.bytes; ++i) {
      const unsigned at = op.order == ByteOrder::kLittle ? op.bytes - 1 - i : i;
      value = value << 8 | std::to_integer<std::uint64_t>(*guest_.expected(gva + at));
    }
    const GuestOperation load{.src = gva, .bytes = op.bytes, .reads = true, .whole = true};
    check(function, load, gva, kUntouched, kUntouched, value);
  }

  // `dst`, `src` and `size` are the arguments. `value`: of a load that completes; one that does
  // not leaves its register alone.
  void check(std::size_t function, const GuestOperation& operation, std::uint64_t dst,
             std::uint64_t src, std::uint64_t size, std::uint64_t value = 0) {
    if (tried_++ % thinning_ != 0) return;
    ++score.cases;
    const GuestOutcome wanted = guest_.expected_of(operation);
    const EmittedFunctions::Result got = functions_.call(function, guest_.cpu(), dst, src, size);
    const bool nothing = may_do_nothing(operation, wanted) && got.left == operation.bytes;
    guest_.expect(operation, nothing ? 0 : wanted.done);
    const bool right =
        (nothing ? guest_.cpu()->fault.rc == VME_BUS : is_as(wanted, operation, got)) &&
        (operation.writes || got.value == (got.left == 0 ? value : kUntouched)) &&
        holds_what_it_should(operation, wanted);
    guest_.restore(operation);
    if (!right && score.wrong++ == 0) tell(operation, wanted, got.left);
  }
  // A word that reaches into a page that the host has lost may be half written.
  bool holds_what_it_should(const GuestOperation& operation, const GuestOutcome& wanted) {
    if (guest_.is_as_expected(operation)) return true;
    if (!operation.whole || wanted.rc != VME_BUS) return false;
    guest_.expect(operation, wanted.gva - operation.dst);
    return guest_.is_as_expected(operation);
  }
  // A copy from its end to its start, as overlap makes it, does not find out first what the
  // host has lost.
  static bool may_do_nothing(const GuestOperation& operation, const GuestOutcome& wanted) {
    return wanted.rc == VME_BUS && operation.reads && operation.writes &&
           operation.dst - operation.src - 1 < operation.bytes - 1;
  }
  bool is_as(const GuestOutcome& wanted, const GuestOperation& operation,
             const EmittedFunctions::Result& got) const {
    const vme_fault& fault = guest_.cpu()->fault;
    if (got.left != operation.bytes - wanted.done) return false;
    return got.left == 0 || (fault.rc == wanted.rc && fault.side == wanted.side &&
                             fault.gva == wanted.gva && fault.done == wanted.done);
  }
  void tell(const GuestOperation& operation, const GuestOutcome& wanted, std::uint64_t left) {
    const vme_fault& fault = guest_.cpu()->fault;
    score.first_wrong = std::to_string(operation.bytes) + " bytes";
    const auto say = [&](const char* what, std::uint64_t number) {
      score.first_wrong += std::string(", ") + what + " " + std::to_string(number);
    };
    say("dst", operation.dst);
    say("src", operation.src);
    say("to be done", wanted.done);
    say("rc", wanted.rc);
    say("fault at", wanted.gva);
    say("got left", left);
    say("rc", fault.rc);
    say("side", fault.side);
    say("fault at", fault.gva);
    say("done", fault.done);
  }

  FaultyGuest guest_;
  EmittedFunctions functions_;
  LandingPads pads_;
  std::uint64_t thinning_;
  std::uint64_t tried_ = 0;
  std::uint64_t plain_ = 0;
};

void add(FaultMatrixScore& sum, const FaultMatrixScore& one) {
  if (sum.wrong == 0) sum.first_wrong = one.first_wrong;
  sum.cases += one.cases;
  sum.wrong += one.wrong;
}

FaultMatrixScore run(const FaultMatrixForms& forms, LandingPads pads, std::uint64_t thinning,
                     void (Matrix::*part)()) {
  Matrix matrix(forms, pads, thinning);
  (matrix.*part)();
  return matrix.score;
}

}  // namespace

std::vector<FaultMatrixForms> fault_matrix_forms() {
  const VectorLevel best = vm_engine::default_emit_config().level;
  std::vector<VectorLevel> levels{best};
  while (levels.back() != VectorLevel::kNeon && levels.back() != VectorLevel::kSse2) {
    levels.push_back(static_cast<VectorLevel>(static_cast<int>(levels.back()) - 1));
  }
  std::vector<FaultMatrixForms> all{{AddressMode::kGuest, best}};
  for (const VectorLevel level : levels) {
    all.push_back({AddressMode::kFastmem, level});
    all.push_back({AddressMode::kSoftTlb, level});
  }
  return all;
}

const char* fault_matrix_name(const FaultMatrixForms& forms) {
  if (forms.mode == AddressMode::kGuest) return "guest";
  const bool arena = forms.mode == AddressMode::kFastmem;
  switch (forms.level) {
    case VectorLevel::kSse2: return arena ? "fastmem_sse2" : "softtlb_sse2";
    case VectorLevel::kAvx2: return arena ? "fastmem_avx2" : "softtlb_avx2";
    case VectorLevel::kAvx512: return arena ? "fastmem_avx512" : "softtlb_avx512";
    default: return arena ? "fastmem_neon" : "softtlb_neon";
  }
}

FaultMatrixScore run_fault_matrix(const FaultMatrixForms& forms, std::uint64_t thinning) {
  FaultMatrixScore sum;
  for (const auto part : {&Matrix::copies, &Matrix::fills, &Matrix::words, &Matrix::overlaps}) {
    add(sum, run(forms, LandingPads::kAsEmitted, thinning, part));
  }
  return sum;
}

FaultMatrixScore run_overlap_matrix(LandingPads pads, std::uint64_t thinning) {
  const VectorLevel best = vm_engine::default_emit_config().level;
  return run({AddressMode::kFastmem, best}, pads, thinning, &Matrix::overlaps);
}

}  // namespace vm_test
