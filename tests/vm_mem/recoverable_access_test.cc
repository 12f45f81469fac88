// The access engine over memory that fails: what it reports is held to a model that
// knows of every guest byte which host byte it is, and what the host allows there.
#include <gtest/gtest.h>

#include <algorithm>
#include <array>
#include <cstdlib>
#include <cstring>
#include <optional>
#include <random>
#include <string>
#include <vector>

#include "tests/support/bytes.h"
#include "tests/support/faulty_memory.h"
#include "tests/vm_mem/scripted_device.h"
#include "vm_mem/dirty_log.h"
#include "vm_mem/host_fault.h"
#include "vm_mem/internal/access_engine.h"
#include "vm_mem/internal/word_access.h"
#include "vm_mem/memory_manager.h"
#include "vm_mem/memory_reader.h"

namespace vm_mem::internal {
namespace {

using vm_test::FaultyMemory;
using vm_test::HostFailure;

constexpr std::size_t kPage = FaultyMemory::kPage;
constexpr std::size_t kGuestPages = 7;
constexpr std::uint64_t kGuestBytes = kGuestPages * kPage;
constexpr std::size_t kHostBytes = 5 * kPage;

class RecoverableAccessTest : public testing::TestWithParam<HostFailure> {
 protected:
  RecoverableAccessTest() : memory_(GetParam()), log_(kHostBytes) {}

  void SetUp() override {
    if (!memory_.fails()) GTEST_SKIP() << "the host has huge pages to fill the hole with";
    ASSERT_TRUE(install_host_fault_handler().ok());
  }

  // One host page for each guest page, or none; neighbours in both are one section,
  // unless `split` says otherwise.
  void map_pages(const std::vector<std::optional<std::size_t>>& pages, bool split) {
    std::vector<MapSection> sections;
    for (std::size_t i = 0; i < pages.size(); ++i) {
      if (!pages[i]) continue;
      std::size_t count = 1;
      while (!split && i + count < pages.size() && pages[i + count] == *pages[i] + count) ++count;
      MapSection section;
      section.range = GuestRange::make(GuestAddress{i * kPage}, count * kPage).value();
      section.region = RegionId{1};
      section.recoverable = true;
      section.host = memory_.begin() + *pages[i] * kPage;
      section.region_offset = *pages[i] * kPage;
      section.dirty_log = &log_;
      sections.push_back(section);
      i += count - 1;
    }
    pages_ = pages;
    map_ = MemoryMap(std::move(sections), 1);
  }

  // The host byte that a guest byte is, or nothing.
  std::optional<std::size_t> host_of(std::uint64_t guest) const {
    if (guest >= kGuestBytes || !pages_[guest / kPage]) return std::nullopt;
    return *pages_[guest / kPage] * kPage + guest % kPage;
  }
  bool is_bad(std::size_t host) const { return host / kPage == 2; }
  bool readable(std::uint64_t guest) const {
    return host_of(guest) && (!is_bad(*host_of(guest)) || memory_.allows_reads());
  }
  bool writable(std::uint64_t guest) const { return host_of(guest) && !is_bad(*host_of(guest)); }

  void reset() {
    vm_test::number(std::span(memory_.begin(), memory_.bad()), 0);
    vm_test::number(std::span(memory_.bad_end(), memory_.end()), 5);
    model_ = snapshot();
  }
  // Bytes of the page that fails count as 0 where they cannot be read.
  std::vector<std::byte> snapshot() const {
    std::vector<std::byte> bytes(kHostBytes);
    const auto take = [&](const std::byte* from, const std::byte* end) {
      std::copy(from, end, bytes.begin() + (from - memory_.begin()));
    };
    take(memory_.begin(), memory_.bad());
    if (memory_.allows_reads()) take(memory_.bad(), memory_.bad_end());
    take(memory_.bad_end(), memory_.end());
    return bytes;
  }

  // How many of the first n bytes `done` holds for.
  template <typename Done>
  static std::uint64_t prefix(std::uint64_t n, Done done) {
    std::uint64_t count = 0;
    while (count < n && done(count)) ++count;
    return count;
  }

  FaultyMemory memory_;
  DirtyLog log_;
  MemoryMap map_;
  std::vector<std::optional<std::size_t>> pages_;
  std::vector<std::byte> model_;
};

// Ranges that begin and end near the edges of pages.
class Ranges {
 public:
  explicit Ranges(unsigned seed) : random_(seed) {}
  std::uint64_t below(std::uint64_t limit) {
    return std::uniform_int_distribution<std::uint64_t>(0, limit - 1)(random_);
  }
  std::uint64_t near_edge() {
    const std::uint64_t edge = below(kGuestPages) * kPage + kPage;
    return std::min(edge + below(140) - 70, kGuestBytes - 1);
  }
  std::uint64_t length(std::uint64_t limit) {
    const std::uint64_t most = below(3) == 0 ? limit : std::min<std::uint64_t>(limit, 200);
    return below(most + 1);
  }
  std::vector<std::optional<std::size_t>> pages(bool aliases) {
    std::vector<std::optional<std::size_t>> pages;
    std::array<std::size_t, 5> order = {0, 1, 2, 3, 4};
    if (below(2) == 0) std::shuffle(order.begin(), order.end(), random_);
    for (std::size_t i = 0; i < kGuestPages; ++i) {
      const bool hole = i >= 5 ? !aliases : below(20) == 0;
      const std::size_t page = aliases && below(2) == 0 ? below(5) : order[i % 5];
      pages.push_back(hole ? std::nullopt : std::optional(page));
    }
    return pages;
  }

 private:
  std::mt19937_64 random_;
};

TEST_P(RecoverableAccessTest, ReadsWritesAndFillsStopAtTheFirstByteThatFails) {
  Ranges ranges(1);
  for (int round = 0; round < 400; ++round) {
    map_pages(ranges.pages(round % 2 == 1), ranges.below(2) == 0);
    reset();
    for (int access = 0; access < 8; ++access) {
      const std::uint64_t at = ranges.near_edge();
      const std::uint64_t n = ranges.length(kGuestBytes - at);
      std::vector<std::byte> buffer(n + 9, std::byte{0xee});
      const std::span data = std::span(buffer).subspan(ranges.below(9), n);
      const int kind = access % 3;
      AccessResult result;
      if (kind == 0) result = read_memory(map_, GuestAddress{at}, data);
      if (kind == 1) result = write_memory(map_, GuestAddress{at}, data, WriteCause::kCopy);
      if (kind == 2)
        result = fill_memory(map_, GuestAddress{at}, std::byte{0xee}, n, WriteCause::kCopy);
      const std::uint64_t want =
          prefix(n, [&](auto i) { return kind == 0 ? readable(at + i) : writable(at + i); });
      ASSERT_EQ(result.done, want) << at << ' ' << n;
      ASSERT_EQ(result.ok(), want == n);
      if (want < n) {
        ASSERT_EQ(result.at, GuestAddress{at + want});
        ASSERT_EQ(result.fault,
                  host_of(at + want) ? AccessFault::kHostFault : AccessFault::kUnmapped);
      }
      for (std::uint64_t i = 0; i < n; ++i) {
        const std::byte was = i < want ? model_[*host_of(at + i)] : std::byte{0xee};
        if (kind == 0) {
          ASSERT_EQ(data[i], was) << i;
        } else if (i < want) {
          model_[*host_of(at + i)] = std::byte{0xee};
          ASSERT_TRUE(log_.is_dirty(*host_of(at + i)));
        }
      }
      ASSERT_EQ(snapshot(), model_);
    }
  }
}

TEST_P(RecoverableAccessTest, CopiesLeaveALongestPrefixOrSuffix) {
  Ranges ranges(2);
  int suffixes = 0;
  for (int round = 0; round < 3000; ++round) {
    if (round % 5 == 0) map_pages(ranges.pages(round % 2 == 1), ranges.below(2) == 0);
    reset();
    const std::uint64_t to = ranges.near_edge();
    const bool close = ranges.below(2) == 0;
    const std::uint64_t from =
        close ? std::min(to + ranges.below(300) - std::min<std::uint64_t>(to, 150), kGuestBytes - 1)
              : ranges.near_edge();
    const std::uint64_t n = ranges.length(kGuestBytes - std::max(to, from));
    const AccessResult result =
        copy_memory(map_, GuestAddress{to}, GuestAddress{from}, n, WriteCause::kCopy);
    const auto at = [&](std::uint64_t i) { return result.from_end ? n - 1 - i : i; };
    const std::uint64_t want =
        prefix(n, [&](auto i) { return readable(from + at(i)) && writable(to + at(i)); });
    suffixes += result.from_end;
    ASSERT_EQ(result.done, want) << to << ' ' << from << ' ' << n << ' ' << result.from_end;
    ASSERT_EQ(result.ok(), want == n);
    if (!result.ok()) {
      const bool source = result.side == AccessSide::kSource;
      ASSERT_EQ(result.at, GuestAddress{(source ? from : to) + at(want)});
      ASSERT_FALSE(source ? readable(from + at(want)) : writable(to + at(want)));
    }
    const std::vector<std::byte> before = model_;
    for (std::uint64_t i = result.from_end ? n - want : 0, end = i + want; i < end; ++i) {
      model_[*host_of(to + i)] = before[*host_of(from + i)];
    }
    ASSERT_EQ(snapshot(), model_) << to << ' ' << from << ' ' << n << ' ' << result.from_end;
  }
  EXPECT_GT(suffixes, 10);
}

TEST_P(RecoverableAccessTest, ComparisonsFaultOnlyWhereNothingDifferedBefore) {
  Ranges ranges(3);
  for (int round = 0; round < 2000; ++round) {
    if (round % 5 == 0) map_pages(ranges.pages(true), ranges.below(2) == 0);
    // Alike but for one byte.
    std::fill_n(memory_.begin(), 2 * kPage, std::byte{1});
    std::fill_n(memory_.begin() + 3 * kPage, 2 * kPage, std::byte{1});
    memory_.begin()[(ranges.below(2) == 0 ? 0 : 3 * kPage) + ranges.below(2 * kPage)] =
        std::byte{2};
    model_ = snapshot();
    const std::uint64_t a = ranges.near_edge();
    const std::uint64_t b = ranges.near_edge();
    const std::uint64_t n = ranges.length(kGuestBytes - std::max(a, b));
    int order = 7;
    const AccessResult result = compare_memory(map_, GuestAddress{a}, GuestAddress{b}, n, order);
    const std::uint64_t both =
        prefix(n, [&](auto i) { return readable(a + i) && readable(b + i); });
    const std::uint64_t same =
        prefix(both, [&](auto i) { return model_[*host_of(a + i)] == model_[*host_of(b + i)]; });
    if (same < both) {
      ASSERT_EQ(order < 0, model_[*host_of(a + same)] < model_[*host_of(b + same)]);
      ASSERT_NE(order, 0);
    } else {
      ASSERT_EQ(order, 0);
      ASSERT_EQ(result.done, both);
      ASSERT_EQ(result.ok(), both == n);
    }
    if (result.fault != AccessFault::kHostFault) continue;
    const bool in_b = result.side == AccessSide::kSource;
    ASSERT_EQ(result.at, GuestAddress{(in_b ? b : a) + result.done});
    ASSERT_FALSE(readable((in_b ? b : a) + result.done));
  }
}

constexpr std::uint64_t kBits = 0x8877'6655'4433'2211;

TEST_P(RecoverableAccessTest, TypedAccessIsDoneOrNotAtAll) {
  map_pages({0, 1, 2, 3, 4, std::nullopt, std::nullopt}, false);
  reset();
  for (const std::uint64_t page : {1u, 2u}) {
    for (const unsigned bytes : {1u, 2u, 4u, 8u}) {
      const GuestAddress at{page * kPage + 64};
      const std::uint64_t host = page * kPage + 64;
      const bool reads = readable(at.value);
      const bool writes = writable(at.value);
      const auto check = [&](const AccessResult& result, bool allowed) {
        EXPECT_EQ(result.ok(), allowed) << page << ' ' << bytes;
        EXPECT_EQ(result.done, allowed ? bytes : 0);
        if (!allowed) {
          EXPECT_EQ(result.fault, AccessFault::kHostFault);
          EXPECT_EQ(result.at, at);
        }
      };
      const auto value_there = [&] {
        std::uint64_t value = 0;
        std::memcpy(&value, memory_.begin() + host, bytes);
        return value;
      };
      const std::uint64_t mask = ~std::uint64_t{0} >> (64 - 8 * bytes);
      for (const std::memory_order order :
           {std::memory_order_relaxed, std::memory_order_acquire, std::memory_order_seq_cst}) {
        std::uint64_t bits = 0;
        check(load_word(map_, at, bytes, bits, order), reads);
        if (reads) {
          EXPECT_EQ(bits, value_there());
        }
      }
      for (const std::memory_order order :
           {std::memory_order_relaxed, std::memory_order_release, std::memory_order_seq_cst}) {
        check(store_word(map_, at, bytes, kBits, order, WriteCause::kStore), writes);
        if (writes) {
          EXPECT_EQ(value_there(), kBits & mask);
        }
      }
      for (const WordOperation operation :
           {WordOperation::kExchange, WordOperation::kAdd, WordOperation::kOr, WordOperation::kAnd,
            WordOperation::kXor}) {
        std::uint64_t previous = 99;
        const std::uint64_t was = writes ? value_there() : 99;
        check(modify_word(map_, at, bytes, operation, 0x0f0f'f0f0'1234'5677, previous,
                          WriteCause::kStore),
              writes);
        EXPECT_EQ(previous, was);
        std::uint64_t want = was;
        switch (operation) {
          case WordOperation::kExchange: want = 0x0f0f'f0f0'1234'5677; break;
          case WordOperation::kAdd: want += 0x0f0f'f0f0'1234'5677; break;
          case WordOperation::kOr: want |= 0x0f0f'f0f0'1234'5677; break;
          case WordOperation::kAnd: want &= 0x0f0f'f0f0'1234'5677; break;
          case WordOperation::kXor: want ^= 0x0f0f'f0f0'1234'5677; break;
        }
        if (writes) {
          EXPECT_EQ(value_there(), want & mask);
        }
      }
      std::uint64_t expected = writes ? value_there() : 5;
      bool exchanged = false;
      check(compare_exchange_word(map_, at, bytes, expected, 42, exchanged, WriteCause::kStore),
            writes);
      EXPECT_EQ(exchanged, writes);
      expected = 41;
      check(compare_exchange_word(map_, at, bytes, expected, 43, exchanged, WriteCause::kStore),
            writes);
      if (writes) {
        EXPECT_FALSE(exchanged);
        EXPECT_EQ(expected, 42u);
        EXPECT_EQ(value_there(), 42u);
      } else {
        EXPECT_EQ(expected, 41u);
      }
    }
  }
}

TEST_P(RecoverableAccessTest, UnalignedTypedAccessSaysHowFarItCame) {
  map_pages({0, 1, 2, 3, 4, std::nullopt, std::nullopt}, false);
  for (std::uint64_t before = 1; before < 8; ++before) {
    reset();
    const GuestAddress at{2 * kPage - before};
    std::uint64_t bits = 0;
    const AccessResult loaded = load_word(map_, at, 8, bits, std::memory_order_relaxed);
    EXPECT_EQ(loaded.done, memory_.allows_reads() ? 8 : before);
    const AccessResult stored =
        store_word(map_, at, 8, kBits, std::memory_order_relaxed, WriteCause::kStore);
    EXPECT_EQ(stored.done, before);
    EXPECT_EQ(stored.at, GuestAddress{2 * kPage});
    std::memcpy(model_.data() + 2 * kPage - before, &kBits, before);
    EXPECT_EQ(snapshot(), model_);
  }
}

TEST_P(RecoverableAccessTest, ADevicesElementIsStoredToTheByte) {
  map_pages({0, 1, 2, 3, 4, std::nullopt, std::nullopt}, false);
  ScriptedDevice device;
  std::vector<MapSection> sections(map_.sections().begin(), map_.sections().end());
  MapSection& mmio = sections.emplace_back();
  mmio.range = GuestRange::make(GuestAddress{5 * kPage}, kPage).value();
  mmio.kind = RegionKind::kMmio;
  mmio.handler = &device;
  map_ = MemoryMap(std::move(sections), 2);
  reset();
  const GuestAddress to{2 * kPage - 11};
  const AccessResult result = copy_memory(map_, to, GuestAddress{5 * kPage}, 24, WriteCause::kCopy);
  EXPECT_EQ(result, (AccessResult{AccessFault::kHostFault, AccessSide::kDestination, false, 11,
                                  GuestAddress{2 * kPage}}));
  EXPECT_EQ(device.log().size(), 2u);
  // The other way an element that cannot be read whole does not reach the device.
  device.clear_log();
  const AccessResult back = copy_memory(map_, GuestAddress{5 * kPage}, to, 24, WriteCause::kCopy);
  EXPECT_EQ(back.done, memory_.allows_reads() ? 24u : 8u);
  EXPECT_EQ(device.log().size(), memory_.allows_reads() ? 3u : 1u);
}

// A descriptor of a memfd of two pages.
int two_pages() {
  const int fd = memfd_create("two pages", MFD_CLOEXEC);
  EXPECT_EQ(ftruncate(fd, 2 * kPage), 0);
  return fd;
}

GuestRange first_pages(std::uint64_t count) {
  return GuestRange::make(GuestAddress{0}, count * kPage).value();
}

TEST(HostFaultPolicyTest, AManagerReportsATruncatedFile) {
  const auto manager = MemoryManager::create({}).value();
  const int fd = two_pages();
  ASSERT_TRUE(manager->add_ram(first_pages(2), {.backing = Backing::kFile, .fd = fd}).ok());
  std::array<std::byte, 100> data{};
  ASSERT_TRUE(manager->write(GuestAddress{kPage - 50}, data).ok());
  ASSERT_EQ(ftruncate(fd, kPage), 0);
  const AccessResult want{AccessFault::kHostFault, AccessSide::kDestination, false, 50,
                          GuestAddress{kPage}};
  EXPECT_EQ(manager->write(GuestAddress{kPage - 50}, data), want);
  std::uint64_t value = 0;
  EXPECT_EQ(manager->load(GuestAddress{kPage}, value).fault, AccessFault::kHostFault);
  EXPECT_TRUE(manager->load(GuestAddress{kPage - 8}, value).ok());
  MemoryReader reader(*manager);
  EXPECT_EQ(reader.write(GuestAddress{kPage - 50}, data), want);
  EXPECT_EQ(reader.store(GuestAddress{kPage + 8}, value).fault, AccessFault::kHostFault);
  // The host's recovery is seen at once.
  ASSERT_EQ(ftruncate(fd, 2 * kPage), 0);
  EXPECT_TRUE(reader.store(GuestAddress{kPage + 8}, value).ok());
  close(fd);
}

TEST(HostFaultPolicyTest, AManagerMapsZeroPagesWhereItIsTold) {
  if (std::getenv("VM_TEST_EMULATED") != nullptr) {
    GTEST_SKIP() << "QEMU's user mode does not survive a system call on a page that fails";
  }
  const auto manager = MemoryManager::create({}).value();
  const int fd = two_pages();
  const auto region = manager->add_ram(first_pages(2), {.backing = Backing::kFile,
                                                        .fault_recovery = FaultRecovery::kPlain,
                                                        .host_fault = HostFaultPolicy::kZeroPage,
                                                        .fd = fd});
  ASSERT_TRUE(region.ok()) << region.status();
  ASSERT_TRUE(manager->store(GuestAddress{kPage}, std::uint64_t{9}).ok());
  ASSERT_EQ(ftruncate(fd, 0), 0);
  std::uint64_t value = 1;
  EXPECT_TRUE(manager->load(GuestAddress{kPage}, value).ok());
  EXPECT_EQ(value, 0u);
  std::array<std::byte, 300> data{};
  data.fill(std::byte{4});
  EXPECT_TRUE(manager->write(GuestAddress{kPage - 150}, data).ok());
  EXPECT_TRUE(manager->load(GuestAddress{kPage - 8}, value).ok());
  EXPECT_EQ(value, 0x0404'0404'0404'0404u);
  EXPECT_TRUE(manager->remove_region(*region, RemovePolicy::kRefuse).ok());
  close(fd);
}

std::vector<HostFailure> failures_of_a_page() {
  return {HostFailure::kTruncatedFile, HostFailure::kTruncatedMemfd, HostFailure::kNoAccess,
          HostFailure::kReadOnly};
}

INSTANTIATE_TEST_SUITE_P(PerFailure, RecoverableAccessTest, testing::ValuesIn(failures_of_a_page()),
                         [](const auto& of) { return std::string(vm_test::name_of(of.param)); });

}  // namespace
}  // namespace vm_mem::internal
