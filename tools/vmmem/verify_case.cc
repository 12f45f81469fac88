#include "tools/vmmem/verify_case.h"

#include <algorithm>
#include <array>
#include <cstring>
#include <span>
#include <vector>

#include <fmt/format.h>

namespace vmmem {
namespace {

using Bytes = std::vector<std::byte>;

// So many bytes on either side of what may change are looked at.
constexpr std::size_t kCanaryBytes = 256;

// splitmix64 (Steele, Lea, Flood: "Fast splittable pseudorandom number generators").
class Random {
 public:
  explicit Random(std::uint64_t seed) : state_(seed) {}
  std::uint64_t next() {
    std::uint64_t z = state_ += 0x9e3779b97f4a7c15;
    z = (z ^ z >> 30) * 0xbf58476d1ce4e5b9;
    z = (z ^ z >> 27) * 0x94d049bb133111eb;
    return z ^ z >> 31;
  }
  std::size_t below(std::size_t bound) { return static_cast<std::size_t>(next() % bound); }

 private:
  std::uint64_t state_;
};

// Half of all copies are small; one in 256 is long enough for every loop.
std::size_t draw_size(Random& random) {
  constexpr std::array<std::size_t, 8> kBelow = {17, 65, 65, 129, 257, 1025, 4200, 9000};
  if (random.below(256) == 0) return random.below(VerifyBench::kArenaBytes / 2);
  return random.below(kBelow[random.below(kBelow.size())]);
}

// At the front of the arena, at its back, across a page's end, or anywhere.
std::size_t draw_offset(Random& random, std::size_t bytes) {
  constexpr std::size_t kPage = 4096;
  const std::size_t last = VerifyBench::kArenaBytes - bytes;
  switch (random.below(4)) {
    case 0: return std::min<std::size_t>(last, random.below(3));
    case 1: return last - std::min<std::size_t>(last, random.below(3));
    case 2: return std::min(last, 3 * kPage - std::min<std::size_t>(bytes, random.below(130)));
    default: return random.below(last + 1);
  }
}

// Near the destination more often than not, so that moves overlap.
std::size_t draw_near(Random& random, std::size_t bytes, std::size_t dst) {
  if (random.below(4) == 0) return draw_offset(random, bytes);
  const std::size_t last = VerifyBench::kArenaBytes - bytes;
  const std::size_t distance = random.below(std::max<std::size_t>(bytes, 128));
  return random.below(2) == 0 ? std::min(last, dst + distance) : dst - std::min(dst, distance);
}

// Never 0, so that a zero byte that leaks in is seen.
void fill(std::span<std::byte> bytes, std::uint64_t seed) {
  Random random(seed);
  for (std::size_t i = 0; i < bytes.size(); i += sizeof(std::uint64_t)) {
    const std::uint64_t word = random.next() | 0x0101010101010101;
    std::memcpy(bytes.data() + i, &word, std::min(bytes.size() - i, sizeof word));
  }
}

// What is compared: `begin` to `begin + bytes`, and canaries around it.
struct Window {
  std::size_t begin;
  std::size_t bytes;

  static Window around(std::size_t begin, std::size_t end) {
    const std::size_t low = begin - std::min(begin, kCanaryBytes);
    return {low, std::min(VerifyBench::kArenaBytes, end + kCanaryBytes) - low};
  }
  std::span<std::byte> in(const GuardedArena& arena) const {
    return arena.bytes().subspan(begin, bytes);
  }
};

std::optional<std::string> difference(std::span<const std::byte> want,
                                      std::span<const std::byte> got, std::size_t base,
                                      std::string_view where) {
  const auto [expected, found] = std::mismatch(want.begin(), want.end(), got.begin());
  if (expected == want.end()) return std::nullopt;
  return fmt::format("{} offset {}: want 0x{:02x}, got 0x{:02x}", where,
                     base + static_cast<std::size_t>(expected - want.begin()),
                     std::to_integer<unsigned>(*expected), std::to_integer<unsigned>(*found));
}

// The byte loops. The barrier keeps the compiler from calling libc for them.
void byte_move(std::byte* dst, const std::byte* src, std::size_t n) {
  const bool forward = dst <= src;
  for (std::size_t i = 0; i < n; ++i) {
    const std::size_t at = forward ? i : n - 1 - i;
    dst[at] = src[at];
    __asm__ volatile("" ::: "memory");
  }
}
int byte_compare(std::span<const std::byte> a, std::span<const std::byte> b) {
  for (std::size_t i = 0; i < a.size(); ++i) {
    if (a[i] != b[i]) return a[i] < b[i] ? -1 : 1;
  }
  return 0;
}

int sign(int value) { return static_cast<int>(value > 0) - static_cast<int>(value < 0); }

auto copy_of(const vm_mem::CopyRow& row, Operation operation) {
  if (operation == Operation::kStream) return row.stream;
  return operation == Operation::kCopyWords ? row.copy_words : row.copy;
}

// Rows copy sizes that came several times before by other code: every fourth case asks
// for that.
int copies_of(const VerifyCase& drawn) { return drawn.content % 4 == 0 ? 6 : 1; }

constexpr const char* kFault = "touched memory outside its buffers, or an illegal instruction";

}  // namespace

std::string_view operation_name(Operation operation) {
  constexpr std::array<std::string_view, kOperationCount> kNames = {
      "copy", "copy_words", "move", "set", "compare", "equal", "is_zero", "stream"};
  return kNames[static_cast<std::size_t>(operation)];
}

VerifyCase draw_case(std::uint64_t seed, std::uint64_t number) {
  Random random(Random(seed).next() ^ number * 0xd1342543de82ef95);
  VerifyCase drawn{.number = number,
                   .operation = static_cast<Operation>(number % kOperationCount),
                   .bytes = draw_size(random)};
  drawn.dst = draw_offset(random, drawn.bytes);
  drawn.src = drawn.operation == Operation::kMove ? draw_near(random, drawn.bytes, drawn.dst)
                                                  : draw_offset(random, drawn.bytes);
  drawn.content = random.next();
  return drawn;
}

std::optional<std::string> VerifyBench::check(const vm_mem::CopyRow& row, const VerifyCase& drawn) {
  switch (drawn.operation) {
    case Operation::kMove: return check_move(row, drawn);
    case Operation::kSet: return check_set(row, drawn);
    case Operation::kCompare:
    case Operation::kEqual: return check_compare(row, drawn);
    case Operation::kIsZero: return check_is_zero(row, drawn);
    case Operation::kCopy:
    case Operation::kCopyWords:
    case Operation::kStream: break;
  }
  return check_copy(row, drawn);
}

std::optional<std::string> VerifyBench::check_copy(const vm_mem::CopyRow& row,
                                                   const VerifyCase& drawn) {
  const auto function = copy_of(row, drawn.operation);
  const Window target = Window::around(drawn.dst, drawn.dst + drawn.bytes);
  const auto source = src_.bytes().subspan(drawn.src, drawn.bytes);
  fill(target.in(dst_), drawn.content);
  fill(source, ~drawn.content);
  const auto before = target.in(dst_);
  Bytes want(before.begin(), before.end());
  const Bytes source_before(source.begin(), source.end());
  byte_move(want.data() + (drawn.dst - target.begin), source.data(), drawn.bytes);
  std::byte* const dst = dst_.bytes().data() + drawn.dst;
  const int times = copies_of(drawn);
  const auto copy = [&] {
    for (int i = 0; i < times; ++i) function(dst, source.data(), drawn.bytes);
  };
  if (!trap_.run(copy)) return kFault;
  if (auto wrong = difference(want, target.in(dst_), target.begin, "destination")) return wrong;
  return difference(source_before, source, drawn.src, "source");
}

std::optional<std::string> VerifyBench::check_move(const vm_mem::CopyRow& row,
                                                   const VerifyCase& drawn) {
  const Window touched =
      Window::around(std::min(drawn.dst, drawn.src), std::max(drawn.dst, drawn.src) + drawn.bytes);
  fill(touched.in(dst_), drawn.content);
  const auto before = touched.in(dst_);
  Bytes want(before.begin(), before.end());
  byte_move(want.data() + (drawn.dst - touched.begin), want.data() + (drawn.src - touched.begin),
            drawn.bytes);
  std::byte* const base = dst_.bytes().data();
  if (!trap_.run([&] { row.move(base + drawn.dst, base + drawn.src, drawn.bytes); })) return kFault;
  return difference(want, touched.in(dst_), touched.begin, "memory");
}

std::optional<std::string> VerifyBench::check_set(const vm_mem::CopyRow& row,
                                                  const VerifyCase& drawn) {
  const Window target = Window::around(drawn.dst, drawn.dst + drawn.bytes);
  const auto value = static_cast<std::byte>(drawn.content);
  fill(target.in(dst_), drawn.content);
  const auto before = target.in(dst_);
  Bytes want(before.begin(), before.end());
  for (std::size_t i = 0; i < drawn.bytes; ++i) want[drawn.dst - target.begin + i] = value;
  std::byte* const dst = dst_.bytes().data() + drawn.dst;
  if (!trap_.run([&] { row.set(dst, value, drawn.bytes); })) return kFault;
  return difference(want, target.in(dst_), target.begin, "destination");
}

// Equal, or, every other time, different in at least one byte.
std::optional<std::string> VerifyBench::check_compare(const vm_mem::CopyRow& row,
                                                      const VerifyCase& drawn) {
  const auto left = dst_.bytes().subspan(drawn.dst, drawn.bytes);
  const auto right = src_.bytes().subspan(drawn.src, drawn.bytes);
  fill(left, drawn.content);
  fill(right, drawn.content);
  Random random(drawn.content);
  if (drawn.bytes != 0 && random.below(2) == 0) {
    const auto changed = static_cast<std::byte>(1 + random.below(255));
    right[random.below(drawn.bytes)] ^= changed;
    if (random.below(2) == 0) left[random.below(drawn.bytes)] ^= changed;
  }
  const int order = byte_compare(left, right);
  const bool equal = drawn.operation == Operation::kEqual;
  const int want = equal ? static_cast<int>(order == 0) : order;
  int got = 0;
  const auto body = [&] {
    got = equal ? static_cast<int>(row.equal(left.data(), right.data(), drawn.bytes))
                : row.compare(left.data(), right.data(), drawn.bytes);
  };
  if (!trap_.run(body)) return kFault;
  if (sign(got) == want) return std::nullopt;
  return fmt::format("want {}{}, got {}", equal ? "" : "a result of sign ", want, got);
}

// Zeros between bytes that are not, and every other time one among them that is not.
std::optional<std::string> VerifyBench::check_is_zero(const vm_mem::CopyRow& row,
                                                      const VerifyCase& drawn) {
  const Window target = Window::around(drawn.dst, drawn.dst + drawn.bytes);
  const auto zeros = dst_.bytes().subspan(drawn.dst, drawn.bytes);
  fill(target.in(dst_), drawn.content);
  std::fill(zeros.begin(), zeros.end(), std::byte{0});
  Random random(drawn.content);
  const bool want = drawn.bytes == 0 || random.below(2) == 0;
  if (!want) zeros[random.below(drawn.bytes)] = static_cast<std::byte>(1u << random.below(8));
  bool got = false;
  if (!trap_.run([&] { got = row.is_zero(zeros.data(), drawn.bytes); })) return kFault;
  if (got == want) return std::nullopt;
  return fmt::format("want {}, got {}", want, got);
}

}  // namespace vmmem
