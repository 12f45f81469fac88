#include "vm_mem/internal/host_memory_huge.h"

#include <gtest/gtest.h>
#include <sys/stat.h>

#include <algorithm>
#include <string>

#include "tests/support/host_probes.h"
#include "vm_mem/host_mapping.h"

namespace vm_mem::internal {
namespace {

constexpr std::uint64_t kHuge = std::uint64_t{2} << 20;

bool host_has_huge_pages() {
  return vm_test::advice_reaches_the_host() && check_huge_page_size(kHuge).ok() &&
         huge_page_pool(kHuge);
}

TEST(HostMemoryHugeTest, RefusesSizesThatNoHostHas) {
  for (const std::uint64_t bytes : {0ull, 3ull << 20, 4096ull, 1ull}) {
    EXPECT_EQ(check_huge_page_size(bytes).code(), absl::StatusCode::kInvalidArgument);
  }
}

TEST(HostMemoryHugeTest, RefusesASizeThatThisHostLacks) {
  const absl::Status status = HostMapping::hugetlb(std::size_t{1} << 43, 1ull << 42).status();
  EXPECT_EQ(status.code(), absl::StatusCode::kUnimplemented);
  EXPECT_NE(status.message().find("hugepages-4294967296kB"), absl::string_view::npos) << status;
}

TEST(HostMemoryHugeTest, RefusesWhatIsNotAMultipleOfThePage) {
  if (!host_has_huge_pages()) GTEST_SKIP() << "no huge pages of 2 MiB";
  for (const absl::Status& status :
       {HostMapping::hugetlb(kHuge + 4096, kHuge).status(),
        HostMapping::hugetlb(kHuge, kHuge, {.max_bytes = kHuge + 4096}).status()}) {
    EXPECT_EQ(status.code(), absl::StatusCode::kInvalidArgument);
    EXPECT_EQ(status.message(), "0x201000 bytes are not a multiple of the huge page of 0x200000");
  }
}

TEST(HostMemoryHugeTest, APoolThatIsTooSmallIsNamedWithThePagesThatAreMissing) {
  if (!host_has_huge_pages()) GTEST_SKIP() << "no huge pages of 2 MiB";
  const HugePagePool pool = *huge_page_pool(kHuge);
  const std::uint64_t needed = pool.available_pages + 3;
  const int before = vm_test::open_descriptors();
  const absl::Status status = HostMapping::hugetlb(needed * kHuge, kHuge).status();
  EXPECT_EQ(status.code(), absl::StatusCode::kResourceExhausted);
  const std::string wanted = "3 are missing (errno 12): write " +
                             std::to_string(pool.total_pages + 3) + " to " + huge_page_file(kHuge);
  EXPECT_NE(std::string(status.message()).find(wanted), std::string::npos) << status;
  EXPECT_EQ(vm_test::open_descriptors(), before);
}

TEST(HostMemoryHugeTest, EachSizeIsSetInItsOwnFile) {
  EXPECT_EQ(huge_page_file(kHuge), "/sys/kernel/mm/hugepages/hugepages-2048kB/nr_hugepages");
  EXPECT_EQ(huge_page_file(1 << 30), "/sys/kernel/mm/hugepages/hugepages-1048576kB/nr_hugepages");
}

class HugePagesTest : public testing::Test {
 protected:
  void SetUp() override {
    if (!host_has_huge_pages() || huge_page_pool(kHuge)->available_pages < 4) {
      GTEST_SKIP() << "the pool has not 4 huge pages of 2 MiB: write 4 to "
                   << huge_page_file(kHuge);
    }
  }
};

TEST_F(HugePagesTest, AreMappedAlignedSealedAndSetAside) {
  HostMapping mapping = HostMapping::hugetlb(2 * kHuge, kHuge).value();
  EXPECT_EQ(mapping.page_bytes(), kHuge);
  EXPECT_EQ(reinterpret_cast<std::uintptr_t>(mapping.bytes().data()) % kHuge, 0u);
  EXPECT_NE(::ftruncate(mapping.fd(), kHuge), 0);
  std::fill(mapping.bytes().begin(), mapping.bytes().end(), std::byte{7});
  EXPECT_EQ(mapping.bytes()[2 * kHuge - 1], std::byte{7});
}

TEST_F(HugePagesTest, GrowShrinkAndComeBackAsZeros) {
  HostMapping mapping = HostMapping::hugetlb(kHuge, kHuge, {.max_bytes = 2 * kHuge}).value();
  ASSERT_TRUE(mapping.resize(2 * kHuge).ok());
  mapping.bytes()[kHuge] = std::byte{7};
  ASSERT_TRUE(mapping.resize(kHuge).ok());
  EXPECT_FALSE(vm_test::is_readable(mapping.bytes().data() + kHuge));
  ASSERT_TRUE(mapping.resize(2 * kHuge).ok());
  EXPECT_EQ(mapping.bytes()[kHuge], std::byte{0});
  EXPECT_EQ(mapping.discard(0, 4096).code(), absl::StatusCode::kInvalidArgument);
  mapping.bytes()[0] = std::byte{7};
  ASSERT_TRUE(mapping.discard(0, kHuge).ok());
  EXPECT_EQ(mapping.bytes()[0], std::byte{0});
}

TEST_F(HugePagesTest, TakeGuardsAndPrefault) {
  const HostMapping mapping = HostMapping::hugetlb(2 * kHuge, kHuge,
                                                   {.host = {.huge_pages = HugePageAdvice::kAlways,
                                                             .prefault_threads = 2,
                                                             .guards = GuardPages::kBothSides}})
                                  .value();
  EXPECT_EQ(vm_test::resident_pages(mapping.bytes()), 2 * kHuge / vm_test::page_bytes());
  EXPECT_FALSE(vm_test::is_readable(mapping.bytes().data() - 1));
  EXPECT_FALSE(vm_test::is_readable(mapping.bytes().data() + 2 * kHuge));
}

TEST_F(HugePagesTest, AGrowthThatFailsGivesItsPagesBackToThePool) {
  const std::uint64_t available = huge_page_pool(kHuge)->available_pages;
  const std::size_t most = (available + 1) * kHuge;
  HostMapping mapping = HostMapping::hugetlb(kHuge, kHuge, {.max_bytes = most}).value();
  EXPECT_EQ(mapping.resize(most).code(), absl::StatusCode::kResourceExhausted);
  EXPECT_EQ(mapping.bytes().size(), kHuge);
  mapping.bytes()[0] = std::byte{7};
  EXPECT_EQ(huge_page_pool(kHuge)->available_pages, available - 1);
}

}  // namespace
}  // namespace vm_mem::internal
