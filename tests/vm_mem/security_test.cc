// Mistakes that were made in other implementations of guest memory, one class of them a
// test. Those of devices (reentrancy, hostile descriptors) are in tests/vm_device; hosts
// that take pages away, in host_fault_test; torn words, in torn_access_test.
#include <gtest/gtest.h>

#include <algorithm>
#include <array>
#include <cstring>
#include <limits>
#include <memory>
#include <string>
#include <vector>

#include "absl/strings/str_format.h"
#include "tests/support/guest_range.h"
#include "tests/vm_mem/scripted_device.h"
#include "vm_mem/memory_manager.h"
#include "vm_mem/memory_reader.h"

namespace vm_mem {
namespace {

using vm_test::range;

constexpr std::uint64_t kPage = 4096;
constexpr std::uint64_t kEnd = std::numeric_limits<std::uint64_t>::max();

RamOptions guarded() {
  RamOptions options;
  options.host.guards = GuardPages::kBothSides;
  return options;
}

class SecurityTest : public testing::Test {
 protected:
  MemoryManager& mm() { return *memory_; }
  MemoryReader& reader() { return reader_; }

  RegionId add(std::uint64_t begin, std::uint64_t bytes) {
    const auto added = mm().add_ram(range(begin, bytes), guarded());
    EXPECT_TRUE(added.ok()) << added.status();
    return *added;
  }
  const std::byte* host_of(std::uint64_t address) {
    return mm().map()->find(GuestAddress{address})->host;
  }

 private:
  std::unique_ptr<MemoryManager> memory_ = MemoryManager::create({}).value();
  MemoryReader reader_{*memory_};
};

// CVE-2019-18960 (a pointer and a length that ran past the region), CVE-2017-11334,
// CVE-2021-4207: the mapped pages are 0x1000 to 0x4000, between guard pages in the host.
class RangeAtTheEdgeTest : public SecurityTest {
 protected:
  static constexpr std::uint64_t kFirst = kPage;
  static constexpr std::uint64_t kLast = 4 * kPage;

  // How much of [begin, begin + bytes) comes before the first hole.
  static std::uint64_t mapped(std::uint64_t begin, std::uint64_t bytes) {
    if (begin < kFirst || begin >= kLast) return 0;
    return std::min(bytes, kLast - begin);
  }

  void check(const AccessResult& result, std::uint64_t begin, std::uint64_t bytes,
             const std::string& what) {
    const std::uint64_t wanted = mapped(begin, bytes);
    EXPECT_EQ(result.done, wanted) << what << " " << begin << "+" << bytes;
    EXPECT_EQ(result.ok(), wanted == bytes) << what << " " << begin << "+" << bytes;
    if (!result.ok()) {
      EXPECT_EQ(result.fault, AccessFault::kUnmapped) << what;
      EXPECT_EQ(result.at.value, begin + wanted) << what << " " << begin << "+" << bytes;
    }
  }

  template <typename Front>
  void check_bulk(Front& front, std::uint64_t begin, std::uint64_t bytes) {
    std::vector<std::byte> host(bytes, std::byte{0x5a});
    const GuestAddress at{begin};
    check(front.write(at, host), begin, bytes, "write");
    check(front.fill_block(at, std::byte{0x77}, bytes), begin, bytes, "fill");
    check(front.read(at, host), begin, bytes, "read");
    // What could not be read is not touched: no bytes of the host's appear there.
    for (std::uint64_t i = 0; i < bytes; ++i) {
      const std::byte wanted = i < mapped(begin, bytes) ? std::byte{0x77} : std::byte{0x5a};
      ASSERT_EQ(host[i], wanted) << begin << "+" << bytes << " at " << i;
    }
    const GuestAddress inside{kFirst + kPage};
    check(front.copy_block(at, inside, bytes), begin, bytes, "copy to");
    check(front.copy_block(inside, at, bytes), begin, bytes, "copy from");
    int order = 0;
    check(front.compare_block(at, inside, bytes, order), begin, bytes, "compare");
  }

  template <typename Word, typename Front>
  void check_word(Front& front, std::uint64_t begin) {
    const bool whole = mapped(begin, sizeof(Word)) == sizeof(Word);
    Word word{};
    EXPECT_EQ(front.load(GuestAddress{begin}, word).ok(), whole) << begin;
    EXPECT_EQ(front.store(GuestAddress{begin}, word).ok(), whole) << begin;
    const bool aligned = begin % sizeof(Word) == 0;
    EXPECT_EQ(front.fetch_add(GuestAddress{begin}, Word{1}, word).ok(), whole && aligned) << begin;
  }

  void check_edges() {
    for (const std::uint64_t edge : {kFirst, 2 * kPage, 3 * kPage, kLast}) {
      for (std::uint64_t begin = edge - 18; begin <= edge + 2; ++begin) {
        for (const std::uint64_t bytes : {1u, 2u, 3u, 7u, 8u, 9u, 16u, 17u, 18u, 19u, 64u, 65u}) {
          check_bulk(mm(), begin, bytes);
          check_bulk(reader(), begin, bytes);
        }
        check_words(mm(), begin);
        check_words(reader(), begin);
      }
    }
  }
  template <typename Front>
  void check_words(Front& front, std::uint64_t begin) {
    check_word<std::uint8_t>(front, begin);
    check_word<std::uint16_t>(front, begin);
    check_word<std::uint32_t>(front, begin);
    check_word<std::uint64_t>(front, begin);
  }
};

TEST_F(RangeAtTheEdgeTest, OneRegionIsNotLeftByAByte) {
  add(kFirst, kLast - kFirst);
  check_edges();
}

// Adjacent in the guest, apart in the host: a run must not go on past the first.
TEST_F(RangeAtTheEdgeTest, RegionsSideBySideAreNotOneHostRange) {
  add(kFirst, kPage);
  add(kFirst + kPage, kPage);
  add(kFirst + 2 * kPage, kPage);
  check_edges();
}

// Adjacent in the host, apart in the guest: windows of one region in another order.
TEST_F(RangeAtTheEdgeTest, WindowsOfOneRegionAreNotOneGuestRange) {
  const RegionId whole = add(0x100'0000, 3 * kPage);
  for (std::uint64_t page = 0; page < 3; ++page) {
    const auto alias =
        mm().add_alias(range(kFirst + page * kPage, kPage), whole, (2 - page) * kPage);
    ASSERT_TRUE(alias.ok()) << alias.status();
  }
  // Content moves about under the copies between windows; the counts stay exact.
  for (const std::uint64_t begin : {kFirst - 1, kFirst, kLast - 9, kLast - 8, kLast}) {
    for (const std::uint64_t bytes : {1u, 8u, 9u, 4096u, 4097u}) {
      std::vector<std::byte> host(bytes);
      check(mm().read({begin}, host), begin, bytes, "read");
      check(reader().write({begin}, host), begin, bytes, "write");
    }
  }
}

// Overflow of an address and a length (unicorn#1590, and the sums of lengths of several
// snapshot loaders).
TEST_F(SecurityTest, AddressesAndLengthsDoNotWrap) {
  add(0, 2 * kPage);
  add(kEnd - 2 * kPage + 1, kPage);
  const std::array<std::uint64_t, 9> numbers = {
      0,        1,   kPage, 2 * kPage - 1, std::uint64_t{1} << 63, kEnd - 2 * kPage, kEnd - kPage,
      kEnd - 1, kEnd};
  const auto mapped = [](std::uint64_t begin, std::uint64_t bytes) {
    if (begin < 2 * kPage) return std::min(bytes, 2 * kPage - begin);
    const std::uint64_t top = kEnd - 2 * kPage + 1;
    if (begin >= top && begin - top < kPage) return std::min(bytes, kPage - (begin - top));
    return std::uint64_t{0};
  };
  for (const std::uint64_t a : numbers) {
    for (const std::uint64_t b : numbers) {
      for (const std::uint64_t bytes : numbers) {
        const std::uint64_t wanted = std::min(mapped(a, bytes), mapped(b, bytes));
        EXPECT_EQ(mm().copy_block({a}, {b}, bytes).done, wanted) << a << " " << b << " " << bytes;
        int order = 0;
        EXPECT_EQ(reader().compare_block({a}, {b}, bytes, order).done, wanted);
        EXPECT_EQ(mm().fill_block({a}, std::byte{1}, bytes).done, mapped(a, bytes));
      }
    }
  }
}

TEST_F(SecurityTest, ALengthOfZeroSucceedsAnywhere) {
  for (const std::uint64_t at : {std::uint64_t{0}, kPage, kEnd}) {
    EXPECT_TRUE(mm().read({at}, {}).ok());
    EXPECT_TRUE(mm().write({at}, {}).ok());
    EXPECT_TRUE(reader().copy_block({at}, {kEnd - at}, 0).ok());
    EXPECT_TRUE(reader().fill_block({at}, std::byte{1}, 0).ok());
  }
}

// Sizes that a hostile snapshot or machine description may ask for.
TEST_F(SecurityTest, RegionsOfAbsurdSizeAreRefusedAndLeaveTheMapAsItWas) {
  const RegionId ram = add(0, kPage);
  const std::uint64_t huge = std::uint64_t{1} << 63;
  EXPECT_EQ(mm().add_ram(range(kPage, 0)).status().code(), absl::StatusCode::kInvalidArgument);
  EXPECT_FALSE(mm().add_ram(range(kPage, huge)).ok());
  EXPECT_FALSE(mm().add_ram(range(kPage, kEnd - 2 * kPage + 1)).ok());
  EXPECT_FALSE(mm().add_rom(range(kPage, huge), {}).ok());
  const std::uint64_t wraps = kEnd - kPage + 1;  // with the window's page: 0
  for (const std::uint64_t offset : {wraps, huge, kEnd, kPage}) {
    EXPECT_EQ(mm().add_alias(range(kPage, kPage), ram, offset).status().code(),
              absl::StatusCode::kInvalidArgument);
  }
  EXPECT_EQ(mm().map()->sections().size(), 1u);
}

// CVE-2026-5747 and its class: what was valid when it was looked up is looked up again.
TEST_F(SecurityTest, AReaderSeesNothingThroughARegionThatIsGone) {
  add(0, kPage);
  const RegionId gone = add(kPage, kPage);
  std::uint64_t word = 0;
  ASSERT_TRUE(reader().load(GuestAddress{kPage}, word).ok());
  ASSERT_TRUE(mm().remove_region(gone, RemovePolicy::kRefuse).ok());
  EXPECT_EQ(reader().load(GuestAddress{kPage}, word).fault, AccessFault::kUnmapped);
  EXPECT_EQ(reader().store(GuestAddress{kPage}, word).fault, AccessFault::kUnmapped);
  std::array<std::byte, 16> bytes{};
  EXPECT_EQ(reader().read(GuestAddress{kPage - 8}, bytes).done, 8u);
}

// CVE-2021-3748 and its fix CVE-2022-26353: memory that is used after it was unmapped.
TEST_F(SecurityTest, AMapThatIsHeldKeepsTheMemoryOfARemovedRegion) {
  const RegionId gone = add(0, kPage);
  ASSERT_TRUE(mm().store(GuestAddress{8}, std::uint64_t{42}).ok());
  const auto held = mm().map();
  const std::weak_ptr<const void> memory = held->sections().front().owner;
  ASSERT_TRUE(mm().remove_region(gone, RemovePolicy::kRefuse).ok());
  std::uint64_t word = 0;
  std::memcpy(&word, held->sections().front().host + 8, sizeof word);
  EXPECT_EQ(word, 42u);
  EXPECT_FALSE(memory.expired());
}

// CVE-2020-13754, CVE-2020-27821: a device is asked for what lies inside it, in sizes that
// its registers can have, up to its last byte.
TEST_F(SecurityTest, ADeviceIsNeverAskedForBytesOutsideIt) {
  ScriptedDevice device;
  ASSERT_TRUE(mm().add_mmio(range(kPage, kPage), &device).ok());
  add(2 * kPage, kPage);
  std::vector<std::byte> host(32);
  for (std::uint64_t begin = kPage - 9; begin <= 2 * kPage; ++begin) {
    if (begin == kPage + 16) begin = 2 * kPage - 16;
    for (std::uint64_t bytes = 1; bytes <= 24; ++bytes) {
      (void)mm().read({begin}, std::span(host).first(bytes));
      (void)reader().write({begin}, std::span(host).first(bytes));
      (void)mm().copy_block({2 * kPage + 64}, {begin}, bytes);
    }
    std::uint64_t word = 0;
    (void)mm().load(GuestAddress{begin}, word);
    (void)reader().store(GuestAddress{begin}, word);
  }
  ASSERT_FALSE(device.log().empty());
  for (const DeviceAccess& access : device.log()) {
    EXPECT_TRUE(access.size == 1 || access.size == 2 || access.size == 4 || access.size == 8);
    EXPECT_LE(access.offset + access.size, kPage) << access;
    EXPECT_EQ(access.offset % access.size, 0u) << access;
  }
}

// CVE-2024-8612: bytes that no device and no memory provided do not leave the host.
TEST_F(SecurityTest, ARefusedReadLeavesTheBufferAsItWas) {
  ScriptedDevice device;
  device.refuse(0x10, AccessFault::kDevice);
  ASSERT_TRUE(mm().add_mmio(range(0, kPage), &device).ok());
  add(kPage, kPage);
  std::vector<std::byte> host(64, std::byte{0x5a});
  const AccessResult read = mm().read({8}, host);
  EXPECT_EQ(read.fault, AccessFault::kDevice);
  EXPECT_EQ(read.done, 8u);
  EXPECT_TRUE(std::all_of(host.begin() + 8, host.end(),
                          [](std::byte byte) { return byte == std::byte{0x5a}; }));
  const AccessResult copied = mm().copy_block({kPage}, {8}, 64);
  EXPECT_EQ(copied.done, 8u);
  std::uint64_t after = 1;
  ASSERT_TRUE(mm().load(GuestAddress{kPage + 8}, after).ok());
  EXPECT_EQ(after, 0u);
  std::uint64_t word = 7;
  EXPECT_EQ(reader().load(GuestAddress{0x10}, word).fault, AccessFault::kDevice);
  EXPECT_EQ(word, 7u);
}

// Unicorn left a ROM writable when a privileged write to it failed.
TEST_F(SecurityTest, ARomStaysReadOnlyAfterEveryFailedWrite) {
  const std::array<std::byte, 3> content{std::byte{1}, std::byte{2}, std::byte{3}};
  ASSERT_TRUE(mm().add_rom(range(0, kPage), content).ok());
  add(kPage, kPage);
  std::vector<std::byte> host(64, std::byte{0xff});
  std::uint64_t word = UINT64_MAX;
  std::uint8_t byte = 0;
  for (int twice = 0; twice < 2; ++twice) {
    EXPECT_EQ(mm().write({0}, host).fault, AccessFault::kReadOnly);
    EXPECT_EQ(reader().write({0}, host).fault, AccessFault::kReadOnly);
    EXPECT_EQ(reader().store(GuestAddress{0}, word).fault, AccessFault::kReadOnly);
    EXPECT_EQ(mm().copy_block({0}, {kPage}, 64).fault, AccessFault::kReadOnly);
    EXPECT_EQ(mm().fill_block({1}, std::byte{9}, 64).fault, AccessFault::kReadOnly);
    EXPECT_EQ(mm().fetch_or(GuestAddress{0}, std::uint8_t{0xff}, byte).fault,
              AccessFault::kReadOnly);
  }
  EXPECT_TRUE(std::equal(content.begin(), content.end(), host_of(0)));
}

// cloud-hypervisor#7190: no address of the host in what a peer, a log or a guest may see.
TEST_F(SecurityTest, NoMessageNamesAHostAddress) {
  const RegionId ram = add(0, 2 * kPage);
  const std::string host = absl::StrFormat("%x", reinterpret_cast<std::uintptr_t>(host_of(0)));
  const std::string page = host.substr(0, host.size() - 4);
  const absl::Status statuses[] = {mm().add_ram(range(kPage, kPage)).status(),
                                   mm().add_alias(range(0, kPage), ram, 0).status(),
                                   mm().add_alias(range(4 * kPage, kPage), ram, kEnd).status(),
                                   mm().region_fd(ram).status(),
                                   mm().dirty_page_count(ram).status(),
                                   mm().add_mmio(range(0, kPage), nullptr).status()};
  for (const absl::Status& status : statuses) {
    ASSERT_FALSE(status.ok());
    EXPECT_EQ(std::string(status.message()).find(page), std::string::npos) << status;
  }
}

}  // namespace
}  // namespace vm_mem
