// The row whose vectors have a length known at run time only: at every length that
// this CPU offers, one after the other in one process.

#include <gtest/gtest.h>
#include <sys/prctl.h>

#include <algorithm>
#include <array>
#include <cstdlib>
#include <cstring>
#include <thread>
#include <vector>

#include "tests/support/guarded_buffer.h"
#include "vm_mem/internal/copy_kernels.h"
#include "vm_mem/internal/cpu_features.h"

namespace vm_mem::internal {
namespace {

using vm_test::Edge;
using vm_test::GuardedBuffer;

constexpr std::size_t kShortest = 16;
constexpr std::size_t kLongest = 256;
constexpr std::array kEdges = {Edge::kFront, Edge::kBack};

std::size_t vector_bytes() {
  return static_cast<std::size_t>(prctl(PR_SVE_GET_VL)) & PR_SVE_VL_LEN_MASK;
}

// Whether this thread's vectors are that long from here on.
bool set_vector_bytes(std::size_t bytes) {
  return prctl(PR_SVE_SET_VL, bytes) >= 0 && vector_bytes() == bytes;
}

class CopySveTest : public testing::Test {
 protected:
  void SetUp() override {
    if (!kSveKernels.supported()) GTEST_SKIP() << "not on this CPU";
    at_start_ = vector_bytes();
    for (const std::span bytes : {a_.all(), b_.all()}) {
      std::fill(bytes.begin(), bytes.end(), std::byte{0});
    }
  }
  void TearDown() override {
    if (at_start_ != 0) set_vector_bytes(at_start_);
  }

  // Calls `check` with every number of bytes to just above two vectors.
  template <typename Check>
  static void at_every_length(Check check) {
    for (std::size_t vector = kShortest; vector <= kLongest; vector += kShortest) {
      if (!set_vector_bytes(vector)) continue;
      for (std::size_t n = 0; n <= 2 * vector + 2; ++n) {
        check(n);
        if (testing::Test::HasFatalFailure()) FAIL() << n << " bytes, vectors of " << vector;
      }
    }
  }

  const GuardedBuffer a_{3 * kLongest};
  const GuardedBuffer b_{3 * kLongest};

 private:
  std::size_t at_start_ = 0;
};

// Registered under emulators that were told a length: see aarch64.cmake.
TEST_F(CopySveTest, StartsWithTheLengthThatTheEmulatorWasTold) {
  const char* const told = std::getenv("VM_TEST_SVE_BYTES");
  if (told == nullptr) GTEST_SKIP() << "no VM_TEST_SVE_BYTES";
  EXPECT_EQ(vector_bytes(), std::strtoul(told, nullptr, 10));
}

TEST_F(CopySveTest, CopiesAtEveryVectorLengthBetweenUnreadablePages) {
  unsigned value = 0;
  at_every_length([&](std::size_t n) {
    for (const Edge edge : kEdges) {
      for (std::byte& byte : b_.all()) byte = static_cast<std::byte>(++value % 251);
      std::fill(a_.all().begin(), a_.all().end(), std::byte{255});
      const std::span to = a_.at(edge, n);
      const std::span from = b_.at(edge, n);
      kSveKernels.copy(to.data(), from.data(), n);
      ASSERT_TRUE(std::equal(to.begin(), to.end(), from.begin()));
      const auto written = std::count_if(a_.all().begin(), a_.all().end(),
                                         [](std::byte byte) { return byte != std::byte{255}; });
      ASSERT_EQ(static_cast<std::size_t>(written), n);
    }
  });
}

TEST_F(CopySveTest, OrdersByTheFirstDifferenceAtEveryVectorLength) {
  at_every_length([&](std::size_t n) {
    for (const Edge edge : kEdges) {
      const std::span a = a_.at(edge, n);
      const std::span b = b_.at(edge, n);
      ASSERT_EQ(kSveKernels.compare(a.data(), b.data(), n), 0);
      ASSERT_TRUE(kSveKernels.equal(a.data(), b.data(), n));
      for (std::size_t at = (n + 6) % 7; at < n; at += 7) {
        a[n - 1] = std::byte{1};
        b[at] = std::byte{0x80};
        ASSERT_EQ(kSveKernels.compare(a.data(), b.data(), n), -1) << at;
        ASSERT_EQ(kSveKernels.compare(b.data(), a.data(), n), 1) << at;
        ASSERT_FALSE(kSveKernels.equal(a.data(), b.data(), n)) << at;
        a[n - 1] = b[at] = std::byte{0};
      }
    }
  });
}

TEST_F(CopySveTest, FindsTheOnlyByteThatIsNotZeroAtEveryVectorLength) {
  at_every_length([&](std::size_t n) {
    for (const Edge edge : kEdges) {
      const std::span bytes = a_.at(edge, n);
      ASSERT_TRUE(kSveKernels.is_zero(bytes.data(), n));
      for (std::size_t at = (n + 2) % 3; at < n; at += 3) {
        bytes[at] = std::byte{1};
        ASSERT_FALSE(kSveKernels.is_zero(bytes.data(), n)) << at;
        bytes[at] = std::byte{0};
      }
    }
  });
}

TEST_F(CopySveTest, IgnoresBytesBesideTheRangeAtEveryVectorLength) {
  std::fill(a_.all().begin(), a_.all().end(), std::byte{1});
  at_every_length([&](std::size_t n) {
    std::byte* const p = a_.all().data() + 1;
    std::fill_n(p, n, std::byte{0});
    ASSERT_TRUE(kSveKernels.is_zero(p, n));
    ASSERT_EQ(kSveKernels.compare(p, b_.all().data(), n), 0);
    ASSERT_TRUE(kSveKernels.equal(p, b_.all().data(), n));
    std::fill_n(p, n, std::byte{1});
  });
}

// A length found once for the process would be wrong for one of the two.
TEST_F(CopySveTest, ServesThreadsOfDifferentVectorLengths) {
  const std::vector<std::byte> source(2 * kLongest, std::byte{9});
  const auto copy_with = [&](std::size_t vector) {
    std::vector<std::byte> target(source.size());
    set_vector_bytes(vector);
    for (int i = 0; i < 1000; ++i) kSveKernels.copy(target.data(), source.data(), source.size());
    EXPECT_EQ(target, source) << vector;
  };
  std::thread other([&] { copy_with(kShortest); });
  copy_with(kLongest);
  other.join();
}

}  // namespace
}  // namespace vm_mem::internal
