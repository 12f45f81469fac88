#include "vm_mem/internal/prefault.h"

#include <gtest/gtest.h>
#include <sys/mman.h>

#include <atomic>
#include <thread>
#include <vector>

#include "tests/support/host_probes.h"
#include "vm_mem/host_mapping.h"

namespace vm_mem::internal {
namespace {

using vm_test::page_bytes;
using vm_test::resident_pages;

constexpr std::size_t kBytes = std::size_t{24} << 20;

class PrefaultTest : public testing::TestWithParam<Populate> {
 protected:
  void SetUp() override {
    if (GetParam() == Populate::kAdvice && best_populate() != Populate::kAdvice) {
      GTEST_SKIP() << "no MADV_POPULATE_WRITE";
    }
  }

  static absl::Status run(const HostMapping& mapping, const HostMemoryOptions& options) {
    return prefault({mapping.bytes(), page_bytes()}, options, GetParam());
  }
};

TEST_P(PrefaultTest, EveryPageIsThere) {
  for (const unsigned threads : {1u, 2u, 7u}) {
    for (const HostMapping& mapping :
         {HostMapping::anonymous(kBytes).value(), HostMapping::memfd(kBytes).value()}) {
      ASSERT_TRUE(run(mapping, {.prefault_threads = threads}).ok());
      EXPECT_EQ(resident_pages(mapping.bytes()), kBytes / page_bytes());
    }
  }
}

TEST_P(PrefaultTest, NoThreadsMeanNoPages) {
  const HostMapping mapping = HostMapping::anonymous(kBytes).value();
  ASSERT_TRUE(run(mapping, {}).ok());
  EXPECT_EQ(resident_pages(mapping.bytes()), 0u);
}

TEST_P(PrefaultTest, MoreThreadsThanPagesAreFine) {
  const HostMapping mapping = HostMapping::anonymous(3 * page_bytes()).value();
  ASSERT_TRUE(run(mapping, {.prefault_threads = 64}).ok());
  EXPECT_EQ(resident_pages(mapping.bytes()), 3u);
}

TEST_P(PrefaultTest, ContentStaysWhileOthersWriteIt) {
  const HostMapping mapping = HostMapping::memfd(kBytes).value();
  const auto word_at = [&mapping](std::size_t offset) {
    return std::atomic_ref(*reinterpret_cast<std::uint64_t*>(mapping.bytes().data() + offset));
  };
  std::jthread writer([&word_at] {
    for (std::size_t at = 0; at < kBytes; at += 4096) word_at(at).store(at + 1);
  });
  EXPECT_TRUE(run(mapping, {.prefault_threads = 3}).ok());
  writer.join();
  for (std::size_t at = 0; at < kBytes; at += 4096) ASSERT_EQ(word_at(at).load(), at + 1);
}

TEST_P(PrefaultTest, ProgressGrowsOnTheCallingThreadAndEndsWithTheTotal) {
  const HostMapping mapping = HostMapping::anonymous(kBytes).value();
  std::vector<std::uint64_t> seen;
  const auto caller = std::this_thread::get_id();
  HostMemoryOptions options = {.prefault_threads = 3};
  options.prefault_progress = [&](std::uint64_t done, std::uint64_t total) {
    EXPECT_EQ(std::this_thread::get_id(), caller);
    EXPECT_EQ(total, kBytes);
    seen.push_back(done);
    return PrefaultStep::kContinue;
  };
  ASSERT_TRUE(run(mapping, options).ok());
  EXPECT_TRUE(std::is_sorted(seen.begin(), seen.end()));
  EXPECT_EQ(std::count(seen.begin(), seen.end(), kBytes), 1);
  EXPECT_EQ(seen.back(), kBytes);
}

TEST_P(PrefaultTest, CancellingEndsItEarly) {
  const HostMapping mapping = HostMapping::anonymous(kBytes).value();
  HostMemoryOptions options = {.prefault_threads = 1};
  int calls = 0;
  options.prefault_progress = [&calls](std::uint64_t, std::uint64_t) {
    ++calls;
    return PrefaultStep::kCancel;
  };
  const absl::Status status = run(mapping, options);
  EXPECT_EQ(status.code(), absl::StatusCode::kCancelled);
  EXPECT_EQ(calls, 1);
  EXPECT_LT(resident_pages(mapping.bytes()), kBytes / page_bytes());
}

TEST_P(PrefaultTest, MemoryThatIsOnlyReadIsReadIn) {
  HostMapping mapping = HostMapping::memfd(kBytes).value();
  mapping.bytes()[0] = std::byte{1};
  ASSERT_TRUE(mapping.make_read_only().ok());
  EXPECT_TRUE(prefault({mapping.bytes(), page_bytes(), FileAccess::kReadOnly},
                       {.prefault_threads = 2}, GetParam())
                  .ok());
  EXPECT_EQ(mapping.bytes()[0], std::byte{1});
}

INSTANTIATE_TEST_SUITE_P(, PrefaultTest, testing::Values(Populate::kAdvice, Populate::kTouch),
                         [](const auto& how) {
                           return how.param == Populate::kAdvice ? "advice" : "touch";
                         });

TEST(PrefaultErrorTest, APageThatTheHostCannotGiveIsAStatus) {
  if (best_populate() != Populate::kAdvice) GTEST_SKIP() << "no MADV_POPULATE_WRITE";
  const int fd = ::memfd_create("short", MFD_CLOEXEC);
  ASSERT_EQ(::ftruncate(fd, 0x10000), 0);
  void* at = ::mmap(nullptr, 0x20000, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
  ASSERT_NE(at, MAP_FAILED);
  const std::span memory(static_cast<std::byte*>(at), 0x20000);
  const absl::Status status =
      prefault({memory, page_bytes()}, {.prefault_threads = 1}, Populate::kAdvice);
  EXPECT_EQ(status.code(), absl::StatusCode::kResourceExhausted) << status;
  EXPECT_NE(status.message().find("errno 14"), absl::string_view::npos) << status;
  ::munmap(at, 0x20000);
  ::close(fd);
}

}  // namespace
}  // namespace vm_mem::internal
