// Torn accesses: two threads on the same guest bytes, one alternating all zeros and all
// ones. An aligned access of 1, 2, 4 or 8 bytes is seen whole, whatever the alignment
// of the host's buffer; a longer one is made of whole aligned words.
#include <gtest/gtest.h>

#include <algorithm>
#include <array>
#include <atomic>
#include <cstring>
#include <functional>
#include <memory>
#include <string>
#include <thread>
#include <tuple>
#include <utility>
#include <vector>

#include "vm_mem/copy_policy.h"
#include "vm_mem/copy_rows.h"
#include "vm_mem/memory_manager.h"
#include "vm_mem/memory_reader.h"

namespace vm_mem {
namespace {

constexpr std::uint64_t kPage = 4096;
constexpr std::uint64_t kWriters = 8 * kPage;   // where one thread's copies come from
constexpr std::uint64_t kReaders = 10 * kPage;  // and where the other's go to
constexpr unsigned kSweeps = 60;

// Runs `sweep` on a thread of its own until this object is gone.
class Sweeping {
 public:
  explicit Sweeping(std::function<void()> sweep)
      : thread_([this, sweep = std::move(sweep)] {
          while (!stop_.load(std::memory_order_relaxed)) {
            sweep();
            sweeps_.fetch_add(1, std::memory_order_relaxed);
          }
        }) {}
  ~Sweeping() {
    stop_.store(true, std::memory_order_relaxed);
    thread_.join();
  }
  unsigned sweeps() const { return sweeps_.load(std::memory_order_relaxed); }

 private:
  std::atomic<bool> stop_{false};
  std::atomic<unsigned> sweeps_{0};
  std::thread thread_;
};

// Calls `look` until both sides have been over everything often enough.
void against(std::function<void()> sweep, const std::function<void()>& look) {
  const Sweeping writer(std::move(sweep));
  for (unsigned looks = 0; looks < kSweeps || writer.sweeps() < kSweeps; ++looks) {
    look();
    if (looks >= kSweeps) std::this_thread::yield();
  }
}

bool is_whole(const std::byte* bytes, std::size_t count) {
  return std::all_of(bytes, bytes + count, [bytes](std::byte byte) { return byte == *bytes; });
}

// Every row that this machine has, by the policy that chooses it. Two of one width are one
// choice (SVE of 16 bytes, and NEON).
std::vector<std::size_t> vector_widths() {
  std::vector<std::size_t> widths;
  for (const CopyRow& row : copy_rows()) {
    const bool known = std::find(widths.begin(), widths.end(), row.vector_width) != widths.end();
    if (!known && row.supported && default_copy_policy(row.vector_width).ok()) {
      widths.push_back(row.vector_width);
    }
  }
  return widths;
}

class RowTest : public testing::Test {
 protected:
  static void choose_row(std::size_t vector_width) {
    ASSERT_TRUE(set_copy_policy(default_copy_policy(vector_width).value()).ok());
  }
  ~RowTest() override { EXPECT_TRUE(set_copy_policy(before_).ok()); }

  // Several sections, so that a sweep crosses from table entry to table entry.
  RowTest() {
    for (std::uint64_t page = 0; page < 4; ++page) {
      EXPECT_TRUE(
          memory_->add_ram(GuestRange::make(GuestAddress{page * kPage}, kPage).value()).ok());
    }
    EXPECT_TRUE(memory_->add_ram(GuestRange::make(GuestAddress{kWriters}, 4 * kPage).value()).ok());
  }
  MemoryManager& memory() { return *memory_; }

 private:
  const CopyPolicy before_ = copy_policy();
  std::unique_ptr<MemoryManager> memory_ = MemoryManager::create({}).value();
};

// By what the bytes are written, and by what read.
enum class Way : std::uint8_t { kManager, kReader, kTypedManager, kTypedReader, kCopyBlock };
constexpr std::array kWays = {Way::kManager, Way::kReader, Way::kTypedManager, Way::kTypedReader,
                              Way::kCopyBlock};

std::string name_of(Way way) {
  static constexpr std::array kNames = {"Manager", "Reader", "TypedManager", "TypedReader",
                                        "CopyBlock"};
  return kNames[static_cast<std::size_t>(way)];
}

template <typename Body>
void with_word(std::size_t bytes, Body body) {
  switch (bytes) {
    case 1: return body(std::uint8_t{});
    case 2: return body(std::uint16_t{});
    case 4: return body(std::uint32_t{});
    default: return body(std::uint64_t{});
  }
}

// One thread's way in or out of guest memory.
class Passage {
 public:
  Passage(MemoryManager& memory, Way way, std::uint64_t scratch)
      : memory_(memory), reader_(memory), way_(way), scratch_(scratch) {}

  void write(GuestAddress to, const std::byte* from, std::size_t bytes) {
    switch (way_) {
      case Way::kManager: return require(memory_.write(to, {from, bytes}));
      case Way::kReader: return require(reader_.write(to, {from, bytes}));
      case Way::kTypedManager: return store(memory_, to, from, bytes);
      case Way::kTypedReader: return store(reader_, to, from, bytes);
      case Way::kCopyBlock: break;
    }
    const GuestAddress other = scratch(from);
    require(memory_.write(other, {from, bytes}));
    require(memory_.copy_block(to, other, bytes));
  }

  void read(GuestAddress from, std::byte* to, std::size_t bytes) {
    switch (way_) {
      case Way::kManager: return require(memory_.read(from, {to, bytes}));
      case Way::kReader: return require(reader_.read(from, {to, bytes}));
      case Way::kTypedManager: return load(memory_, from, to, bytes);
      case Way::kTypedReader: return load(reader_, from, to, bytes);
      case Way::kCopyBlock: break;
    }
    // A long copy keeps the words of its source whole where both sides are aligned alike.
    const GuestAddress other = bytes > 8 ? GuestAddress{scratch_ + from.value % 8} : scratch(to);
    require(memory_.copy_block(other, from, bytes));
    require(memory_.read(other, {to, bytes}));
  }

 private:
  static void require(const AccessResult& result) { ASSERT_TRUE(result.ok()); }

  // As far from an aligned address as the host's buffer.
  GuestAddress scratch(const std::byte* host) const {
    return GuestAddress{scratch_ + reinterpret_cast<std::uintptr_t>(host) % 8};
  }
  template <typename Front>
  static void store(Front& front, GuestAddress to, const std::byte* from, std::size_t bytes) {
    with_word(bytes, [&](auto word) {
      std::memcpy(&word, from, sizeof word);
      require(front.store(to, word));
    });
  }
  template <typename Front>
  static void load(Front& front, GuestAddress from, std::byte* to, std::size_t bytes) {
    with_word(bytes, [&](auto word) {
      require(front.load(from, word));
      std::memcpy(to, &word, sizeof word);
    });
  }

  MemoryManager& memory_;
  MemoryReader reader_;
  Way way_;
  std::uint64_t scratch_;
};

// Every way in against the shortest way out, and the other way round; then a few more.
std::vector<std::pair<Way, Way>> pairs_of_ways() {
  std::vector<std::pair<Way, Way>> pairs = {{Way::kManager, Way::kReader},
                                            {Way::kReader, Way::kManager},
                                            {Way::kCopyBlock, Way::kManager}};
  for (const Way way : kWays) {
    pairs.emplace_back(way, Way::kTypedReader);
    if (way != Way::kTypedReader) pairs.emplace_back(Way::kTypedReader, way);
  }
  return pairs;
}

// Vector width and access width.
using TornCase = std::tuple<std::size_t, std::size_t>;

class TornAccessTest : public RowTest, public testing::WithParamInterface<TornCase> {
 protected:
  TornAccessTest() { choose_row(std::get<0>(GetParam())); }

  std::size_t width() const { return std::get<1>(GetParam()); }

  // Each multiple of the width inside a line, and the last before a line and before a page.
  std::vector<GuestAddress> places() const {
    std::vector<GuestAddress> places;
    for (std::uint64_t offset = 0; offset < 64; offset += width()) {
      places.push_back({kPage + 128 + offset});
    }
    places.push_back({2 * kPage - width()});
    places.push_back({2 * kPage});
    places.push_back({3 * kPage + 2048 - width()});
    return places;
  }

  void write_everywhere(Passage& in) const {
    alignas(16) std::array<std::byte, 16> buffer;
    for (std::size_t host = 0; host < 8; ++host) {
      buffer.fill(host % 2 == 0 ? std::byte{0xff} : std::byte{0});
      for (const GuestAddress place : places_) in.write(place, &buffer[host], width());
    }
  }
  int torn_anywhere(Passage& out) const {
    int torn = 0;
    alignas(16) std::array<std::byte, 16> buffer{};
    for (std::size_t host = 0; host < 8; ++host) {
      for (const GuestAddress place : places_) {
        out.read(place, &buffer[host], width());
        torn += is_whole(&buffer[host], width()) ? 0 : 1;
      }
    }
    return torn;
  }

 private:
  const std::vector<GuestAddress> places_ = places();
};

// Every place, from or to a host buffer at each distance from an aligned address.
TEST_P(TornAccessTest, AnAlignedAccessIsWholeWhateverTheHostsAlignment) {
  for (const auto& [way_in, way_out] : pairs_of_ways()) {
    Passage in(memory(), way_in, kWriters);
    Passage out(memory(), way_out, kReaders);
    int torn = 0;
    against([&] { write_everywhere(in); }, [&] { torn += torn_anywhere(out); });
    EXPECT_EQ(torn, 0) << "from " << name_of(way_in) << " to " << name_of(way_out);
  }
}

std::string torn_name(const testing::TestParamInfo<TornCase>& torn) {
  return "lanes" + std::to_string(std::get<0>(torn.param)) + "_width" +
         std::to_string(std::get<1>(torn.param));
}

INSTANTIATE_TEST_SUITE_P(Matrix, TornAccessTest,
                         testing::Combine(testing::ValuesIn(vector_widths()),
                                          testing::Values(1u, 2u, 4u, 8u)),
                         torn_name);

// Bulk: the middle [kFirst, kLast) is in every range, the ends are where they fall.
using BulkCase = std::tuple<std::size_t, Way>;

class TornBulkTest : public RowTest, public testing::WithParamInterface<BulkCase> {
 protected:
  static constexpr std::uint64_t kFirst = 64;
  static constexpr std::uint64_t kLast = 1984;

  TornBulkTest() { choose_row(std::get<0>(GetParam())); }

  // The begin and the end of the n-th range.
  static std::uint64_t begin(unsigned n) { return kPage + n * 5 % kFirst; }
  static std::uint64_t end(unsigned n) { return kPage + kLast + n * 7 % 64; }
};

TEST_P(TornBulkTest, WritesNeverTearAnAlignedWord) {
  Passage in(memory(), std::get<1>(GetParam()), kWriters);
  MemoryReader out(memory());
  unsigned n = 0;
  int torn = 0;
  against(
      [&] {
        std::vector<std::byte> buffer(2048 + 8, ++n % 2 == 0 ? std::byte{0} : std::byte{0xff});
        in.write({begin(n)}, &buffer[n % 8], end(n) - begin(n));
      },
      [&] {
        for (std::uint64_t word = kPage + kFirst; word < kPage + kLast; word += 8) {
          std::uint64_t seen = 0;
          ASSERT_TRUE(out.load(GuestAddress{word}, seen).ok());
          torn += seen == 0 || seen == UINT64_MAX ? 0 : 1;
        }
      });
  EXPECT_EQ(torn, 0);
}

TEST_P(TornBulkTest, ReadsNeverTearAnAlignedWord) {
  MemoryReader in(memory());
  Passage out(memory(), std::get<1>(GetParam()), kReaders);
  std::vector<std::byte> buffer(2048 + 16);
  unsigned n = 0;
  int torn = 0;
  against(
      [&, value = std::uint64_t{0}]() mutable {
        value = ~value;
        for (std::uint64_t word = kPage; word < kPage + 2048; word += 8) {
          ASSERT_TRUE(in.store(GuestAddress{word}, value).ok());
        }
      },
      [&] {
        std::byte* const to = &buffer[++n % 8];
        out.read({begin(n)}, to, end(n) - begin(n));
        for (std::uint64_t word = kPage + kFirst; word < kPage + kLast; word += 8) {
          torn += is_whole(to + (word - begin(n)), 8) ? 0 : 1;
        }
      });
  EXPECT_EQ(torn, 0);
}

std::string bulk_name(const testing::TestParamInfo<BulkCase>& bulk) {
  return "lanes" + std::to_string(std::get<0>(bulk.param)) + "_" + name_of(std::get<1>(bulk.param));
}

INSTANTIATE_TEST_SUITE_P(Matrix, TornBulkTest,
                         testing::Combine(testing::ValuesIn(vector_widths()),
                                          testing::Values(Way::kManager, Way::kReader,
                                                          Way::kCopyBlock)),
                         bulk_name);

}  // namespace
}  // namespace vm_mem
