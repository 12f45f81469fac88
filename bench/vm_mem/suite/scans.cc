#include "bench/vm_mem/suite/scans.h"

#include <fmt/core.h>

#include <algorithm>
#include <cstdlib>
#include <cstring>
#include <vector>

#include "bench/harness/copy_contest.h"
#include "bench/harness/page_buffer.h"
#include "vm_mem/simd_memcpy.h"

namespace vm_bench {
namespace {

// The operations in the form of copies. One that only looks passes its answer to
// forget(), or the compiler would leave it out.
struct FillRaw {
  static void copy(std::byte* dst, const std::byte*, std::size_t n) {
    vm_mem::memset_raw(dst, 0, n);
  }
};

struct FillLibc {
  static void copy(std::byte* dst, const std::byte*, std::size_t n) { std::memset(dst, 0, n); }
};

struct ZeroCore {
  static bool test(const std::byte*, const std::byte* src, std::size_t n) {
    return vm_mem::is_zero({src, n});
  }
};

struct ZeroByMemcmp {
  static bool test(const std::byte*, const std::byte* src, std::size_t n) {
    return src[0] == std::byte{0} && std::memcmp(src, src + 1, n - 1) == 0;
  }
};

struct EqualCore {
  static bool test(const std::byte* a, const std::byte* b, std::size_t n) {
    return vm_mem::equal_raw(a, b, n);
  }
};

struct EqualLibc {
  static bool test(const std::byte* a, const std::byte* b, std::size_t n) {
    return std::memcmp(a, b, n) == 0;
  }
};

template <class Test>
struct Answered {
  static void copy(std::byte* dst, const std::byte* src, std::size_t n) {
    int answer = Test::test(dst, src, n);
    forget(answer);
  }
};

void require(bool right, const char* what, std::size_t n) {
  if (right) return;
  fmt::print(stderr, "{} is wrong with {} bytes\n", what, n);
  std::exit(1);
}

template <class Fill>
void check_fill(std::size_t n) {
  constexpr std::byte kBefore{0xa5};
  std::vector<std::byte> bytes(n + 2, kBefore);
  Fill::copy(bytes.data() + 1, nullptr, n);
  const auto is_zero = [](std::byte b) { return b == std::byte{0}; };
  require(std::all_of(bytes.begin() + 1, bytes.end() - 1, is_zero) && bytes.front() == kBefore &&
              bytes.back() == kBefore,
          "memset", n);
}

// True for zeros; false where any one byte of some differs.
template <class Test>
void check_test(const char* what, std::size_t n) {
  const std::vector<std::byte> zeros(n);
  std::vector<std::byte> bytes(n);
  require(Test::test(zeros.data(), bytes.data(), n), what, n);
  for (std::size_t i = 0; i < n; i = 2 * i + 1) {
    for (const std::size_t at : {i, n - 1 - i}) {
      bytes[at] = std::byte{1};
      require(!Test::test(zeros.data(), bytes.data(), n), what, n);
      bytes[at] = std::byte{0};
    }
  }
}

// The source is zeros, and so is what copies and fills leave in the destination.
template <class Ours, class Peer>
Outcome compare_at(std::size_t n, const Session& session) {
  return compare(repeated_unchecked({&LoopsOf<Ours>::kLoops, &LoopsOf<Peer>::kLoops}, n),
                 session.effort());
}

}  // namespace

Regime large_fills(std::string name) {
  return {std::move(name), [](Session& session) {
            std::vector<Outcome> outcomes;
            for (const std::size_t mib : {std::size_t{16}, std::size_t{32}, std::size_t{64}}) {
              check_fill<FillRaw>(mib << 20);
              outcomes.push_back(compare_at<FillRaw, FillLibc>(mib << 20, session));
            }
            return Ratio{combine(outcomes)};
          }};
}

Regime zero_page(std::string name) {
  return {std::move(name), [](Session& session) {
            check_test<ZeroCore>("is_zero", kPage);
            check_test<ZeroByMemcmp>("memcmp(p, p + 1)", kPage);
            return Ratio{
                .outcome = compare_at<Answered<ZeroCore>, Answered<ZeroByMemcmp>>(kPage, session),
                .peer = "memcmp(p,p+1)"};
          }};
}

Regime equal_buffers(std::string name) {
  return {std::move(name), [](Session& session) {
            std::vector<Outcome> outcomes;
            for (std::size_t n = 64; n <= std::size_t{1} << 20; n *= 2) {
              check_test<EqualCore>("equal_raw", n);
              check_test<EqualLibc>("memcmp", n);
              outcomes.push_back(compare_at<Answered<EqualCore>, Answered<EqualLibc>>(n, session));
            }
            return Ratio{combine(outcomes)};
          }};
}

}  // namespace vm_bench
