#include "vm_device/dma.h"

#include <gtest/gtest.h>
#include <rapidcheck/gtest.h>

#include <array>
#include <set>
#include <string>
#include <vector>

#include "tests/support/bytes.h"
#include "tests/vm_device/guest.h"
#include "vm_mem/memory_reader.h"

namespace vm_device {
namespace {

using vm_mem::GuestAddress;
using vm_test::noise;

// RAM, a hole, ROM and RAM without a gap; then RAM at the very top.
constexpr std::uint64_t kLow = 0x1'0000;
constexpr std::uint64_t kRom = 0x1'4000;
constexpr std::uint64_t kHigh = 0x1'5000;
constexpr std::uint64_t kTop = UINT64_MAX - 0x1fff;

// What a byte-by-byte DmaSpace would do.
class Model {
 public:
  Model() {
    add(kLow, 0x2000, DmaFault::kNone);
    add(kRom, 0x1000, DmaFault::kReadOnly);
    add(kHigh, 0x1000, DmaFault::kNone);
    add(kTop, 0x1000, DmaFault::kNone);
  }

  struct Part {
    std::uint64_t base;
    std::vector<std::byte> bytes;
    DmaFault on_write;
  };

  DmaResult read(const std::vector<DmaSegment>& list, std::span<std::byte> to) {
    return walk(list, to.size(), [&](std::uint64_t address, std::uint64_t i) {
      const Part* part = find(address);
      if (part == nullptr) return DmaFault::kUnmapped;
      to[i] = part->bytes[address - part->base];
      return DmaFault::kNone;
    });
  }
  DmaResult write(const std::vector<DmaSegment>& list, std::span<const std::byte> from) {
    return walk(list, from.size(),
                [&](std::uint64_t address, std::uint64_t i) { return set(address, from[i]); });
  }
  DmaResult fill(const std::vector<DmaSegment>& list, std::byte value) {
    return walk(list, UINT64_MAX,
                [&](std::uint64_t address, std::uint64_t) { return set(address, value); });
  }

  std::vector<Part> parts;

 private:
  void add(std::uint64_t base, std::size_t bytes, DmaFault on_write) {
    parts.push_back({base, std::vector<std::byte>(bytes), on_write});
    for (std::size_t i = 0; i < bytes; ++i) {
      parts.back().bytes[i] = static_cast<std::byte>(i * 31 + base / 4096 + i / 256);
    }
  }
  Part* find(std::uint64_t address) {
    for (Part& part : parts) {
      if (address - part.base < part.bytes.size()) return &part;
    }
    return nullptr;
  }
  DmaFault set(std::uint64_t address, std::byte value) {
    Part* part = find(address);
    if (part == nullptr) return DmaFault::kUnmapped;
    if (part->on_write == DmaFault::kNone) part->bytes[address - part->base] = value;
    return part->on_write;
  }
  template <typename Step>
  static DmaResult walk(const std::vector<DmaSegment>& list, std::uint64_t total, Step step) {
    std::uint64_t done = 0;
    for (const DmaSegment& it : list) {
      for (std::uint64_t i = 0; i < it.bytes && done < total; ++i, ++done) {
        const DmaFault fault = step(it.address + i, done);
        if (fault != DmaFault::kNone) return {fault, done, it.address + i};
      }
    }
    return {DmaFault::kNone, done};
  }
};

class DmaFixture {
 public:
  DmaFixture()
      : memory(std::move(vm_mem::MemoryManager::create({}).value())),
        dma(*memory),
        reader(*memory, vm_mem::Route::kDma),
        on_reader(reader) {
    for (const Model::Part& it : model.parts) {
      const auto range = guest_range(it.base, it.bytes.size());
      if (it.on_write == DmaFault::kReadOnly) {
        EXPECT_TRUE(memory->add_rom(range, it.bytes).ok());
      } else {
        EXPECT_TRUE(memory->add_ram(range).ok());
        EXPECT_TRUE(memory->write(range.begin(), it.bytes).ok());
      }
    }
  }
  bool memory_equals_model() const {
    for (const Model::Part& it : model.parts) {
      std::vector<std::byte> found(it.bytes.size());
      EXPECT_TRUE(memory->read(GuestAddress{it.base}, found).ok());
      if (found != it.bytes) return false;
    }
    return true;
  }

  Model model;
  std::unique_ptr<vm_mem::MemoryManager> memory;
  DmaSpace dma;
  vm_mem::MemoryReader reader;
  DmaSpace on_reader;
};

DmaSpace& either(DmaFixture& it) { return *rc::gen::arbitrary<bool>() ? it.dma : it.on_reader; }

// Mostly inside one part, often around an edge; lengths from nothing to several parts.
rc::Gen<std::vector<DmaSegment>> lists() {
  const auto edge = rc::gen::elementOf(std::vector<std::uint64_t>{
      kLow, kLow + 0x1000, kLow + 0x2000, kRom, kHigh, kHigh + 0x1000, kTop, kTop + 0x1000});
  const auto near = rc::gen::inRange<std::int64_t>(-300, 300);
  const auto length = rc::gen::weightedOneOf<std::uint64_t>(
      {{1, rc::gen::just<std::uint64_t>(0)},
       {6, rc::gen::inRange<std::uint64_t>(0, 200)},
       {1, rc::gen::inRange<std::uint64_t>(0, 0x4000)},
       {1, rc::gen::elementOf(std::vector<std::uint64_t>{UINT64_MAX, std::uint64_t{1} << 32})}});
  const auto segment = rc::gen::map(rc::gen::tuple(edge, near, length), [](const auto& it) {
    return DmaSegment{std::get<0>(it) + static_cast<std::uint64_t>(std::get<1>(it)),
                      std::get<2>(it)};
  });
  return rc::gen::container<std::vector<DmaSegment>>(segment);
}

RC_GTEST_PROP(DmaProperty, ReadMovesWhatAByteWalkMoves, ()) {
  DmaFixture it;
  const auto list = *lists();
  std::vector<std::byte> expected(*rc::gen::inRange<std::size_t>(0, 3000), std::byte{0xaa});
  std::vector<std::byte> found = expected;
  const DmaResult wanted = it.model.read(list, expected);
  RC_ASSERT(either(it).read(list, found) == wanted);
  RC_ASSERT(found == expected);
}

RC_GTEST_PROP(DmaProperty, WriteMovesWhatAByteWalkMoves, ()) {
  DmaFixture it;
  const auto list = *lists();
  const auto from = noise(*rc::gen::inRange<std::size_t>(0, 3000));
  const DmaResult wanted = it.model.write(list, from);
  RC_ASSERT(either(it).write(list, from) == wanted);
  RC_ASSERT(it.memory_equals_model());
}

RC_GTEST_PROP(DmaProperty, FillMovesWhatAByteWalkMoves, ()) {
  DmaFixture it;
  const auto list = *lists();
  const DmaResult wanted = it.model.fill(list, std::byte{0x5c});
  RC_ASSERT(either(it).fill(list, std::byte{0x5c}) == wanted);
  RC_ASSERT(it.memory_equals_model());
}

// Runs of one size, most of them of whole words, then of another.
rc::Gen<std::vector<DmaSegment>> lists_of_words() {
  const auto edge = rc::gen::elementOf(
      std::vector<std::uint64_t>{kLow + 0x1000, kLow + 0x1f00, kRom + 0x80, kHigh + 0x800, kTop});
  const auto words = rc::gen::inRange<std::uint64_t>(1, 11);
  const auto many = rc::gen::container<std::vector<std::uint64_t>>(rc::gen::map(
      rc::gen::tuple(edge, rc::gen::inRange<std::uint64_t>(0, 33)), [](const auto& it) {
        return std::get<0>(it) + std::get<1>(it) * 8 + (std::get<1>(it) == 32 ? 3 : 0);
      }));
  return rc::gen::map(rc::gen::tuple(words, many, words, many), [](const auto& it) {
    std::vector<DmaSegment> list;
    for (const std::uint64_t at : std::get<1>(it)) list.push_back({at, std::get<0>(it) * 8});
    for (const std::uint64_t at : std::get<3>(it)) list.push_back({at, std::get<2>(it) * 8 - 5});
    for (const std::uint64_t at : std::get<1>(it)) list.push_back({at, std::get<2>(it) * 8});
    return list;
  });
}

RC_GTEST_PROP(DmaProperty, RunsOfAFewWordsAreMovedAsAnyOthers, ()) {
  DmaFixture it;
  const auto list = *lists_of_words();
  std::vector<std::byte> expected(*rc::gen::inRange<std::size_t>(0, 3000));
  std::vector<std::byte> found(expected.size());
  RC_ASSERT(it.on_reader.read(list, found) == it.model.read(list, expected));
  RC_ASSERT(found == expected);
  const auto from = noise(expected.size());
  RC_ASSERT(it.on_reader.write(list, from) == it.model.write(list, from));
  RC_ASSERT(it.memory_equals_model());
}

RC_GTEST_PROP(DmaProperty, ACursorResumesWhereItStopped, ()) {
  DmaFixture it;
  const auto list = *lists();
  std::vector<std::byte> whole(2000), steps(2000);
  const DmaResult wanted = it.model.read(list, whole);
  SegmentCursor cursor(list);
  std::uint64_t done = 0;
  DmaResult last;
  while (done < steps.size() && last.ok()) {
    const auto step = *rc::gen::inRange<std::size_t>(1, 400);
    const auto room = std::span(steps).subspan(done);
    last = either(it).read(cursor, room.first(std::min(step, room.size())));
    done += last.done;
    if (last.ok() && last.done == 0) break;
  }
  RC_ASSERT(done == wanted.done);
  RC_ASSERT(last.fault == wanted.fault);
  RC_ASSERT(steps == whole);
}

struct DmaSpaceTest : testing::Test, DmaFixture {};

TEST_F(DmaSpaceTest, AListShorterThanTheBufferMovesTheList) {
  std::array<std::byte, 64> to{};
  const std::array<DmaSegment, 2> list{{{kLow, 10}, {kHigh, 10}}};
  EXPECT_EQ(dma.read(list, to), (DmaResult{.done = 20}));
  EXPECT_EQ(to[20], std::byte{0});
}

TEST_F(DmaSpaceTest, AListLongerThanTheBufferMovesTheBuffer) {
  const auto from = noise(15);
  const std::array<DmaSegment, 2> list{{{kLow, 10}, {kHigh, 10}}};
  EXPECT_EQ(dma.write(list, from), (DmaResult{.done = 15}));
  model.write({list.begin(), list.end()}, from);
  EXPECT_TRUE(memory_equals_model());
}

TEST_F(DmaSpaceTest, EmptySegmentsMoveNothingWhereverTheyPoint) {
  std::array<std::byte, 8> to{};
  const std::array<DmaSegment, 4> list{{{0x100, 0}, {kLow, 4}, {UINT64_MAX, 0}, {kHigh, 4}}};
  EXPECT_EQ(dma.read(list, to), (DmaResult{.done = 8}));
  EXPECT_TRUE(dma.read(std::span<const DmaSegment>(), to).ok());
}

TEST_F(DmaSpaceTest, ASegmentThatWrapsFaultsAtTheFirstUnmappedByte) {
  std::vector<std::byte> to(0x3000);
  const std::array<DmaSegment, 1> list{{{kTop + 0xff0, 0x3000}}};
  EXPECT_EQ(dma.read(list, to), (DmaResult{DmaFault::kUnmapped, 0x10, kTop + 0x1000}));
}

TEST_F(DmaSpaceTest, TheBytesOfAListMayExceedSixtyFourBits) {
  const std::array<DmaSegment, 3> list{{{kLow, 16}, {0, UINT64_MAX}, {0, UINT64_MAX}}};
  EXPECT_EQ(dma.fill(list, std::byte{1}), (DmaResult{DmaFault::kUnmapped, 16, 0}));
  SegmentCursor cursor(list);
  cursor.skip(UINT64_MAX);
  EXPECT_EQ(cursor.peek(UINT64_MAX).bytes, 16u);
  cursor.skip(16);
  EXPECT_EQ(cursor.peek(UINT64_MAX).bytes, UINT64_MAX);
  cursor.skip(UINT64_MAX);
  EXPECT_EQ(cursor.peek(1).bytes, 0u);
}

TEST_F(DmaSpaceTest, AFillOfOneRangeIsThatOfAListOfOne) {
  const std::vector<DmaSegment> list{{kTop + 0xff0, 0x3000}};
  const DmaResult wanted = model.fill(list, std::byte{0x5c});
  EXPECT_EQ(dma.fill(kTop + 0xff0, std::byte{0x5c}, 0x3000), wanted);
  EXPECT_EQ(wanted.done, 0x10u);
  EXPECT_TRUE(memory_equals_model());
}

TEST_F(DmaSpaceTest, CopyOfOverlappingRangesIsAMove) {
  auto expected = model.parts[0].bytes;
  std::copy_backward(expected.begin(), expected.begin() + 1000, expected.begin() + 1100);
  EXPECT_EQ(dma.copy(kLow + 100, kLow, 1000), (DmaResult{.done = 1000}));
  model.parts[0].bytes = expected;
  EXPECT_TRUE(memory_equals_model());
}

TEST_F(DmaSpaceTest, CopyStopsAtTheFirstByteThatItCannotMove) {
  EXPECT_EQ(dma.copy(kRom - 0x100, kLow, 0x200), (DmaResult{DmaFault::kUnmapped, 0, kRom - 0x100}));
  EXPECT_EQ(dma.copy(kRom, kLow, 0x200), (DmaResult{DmaFault::kReadOnly, 0, kRom}));
  EXPECT_EQ(dma.copy(kLow, kRom + 0xff0, 0x1100),
            (DmaResult{DmaFault::kUnmapped, 0x1010, kHigh + 0x1000}));
}

TEST_F(DmaSpaceTest, TypedAccessReachesEveryWidth) {
  EXPECT_TRUE(dma.store(kLow, std::uint64_t{0x0807060504030201}).ok());
  std::uint8_t one = 0;
  std::uint16_t two = 0;
  std::uint32_t four = 0;
  EXPECT_TRUE(dma.load(kLow + 7, one).ok());
  EXPECT_TRUE(dma.load(kLow + 6, two, std::memory_order_acquire).ok());
  EXPECT_TRUE(dma.load(kLow + 4, four).ok());
  EXPECT_EQ(one, 0x08);
  EXPECT_EQ(two, 0x0807);
  EXPECT_EQ(four, 0x08070605u);
}

TEST_F(DmaSpaceTest, AFailedLoadLeavesTheValue) {
  std::uint32_t value = 7;
  EXPECT_EQ(dma.load(0x100, value), (DmaResult{DmaFault::kUnmapped, 0, 0x100}));
  EXPECT_EQ(value, 7u);
  EXPECT_EQ(dma.store(kRom, value), (DmaResult{DmaFault::kReadOnly, 0, kRom}));
}

RC_GTEST_PROP(DmaProperty, OneRangeIsAListOfOne, ()) {
  DmaFixture it;
  auto list = *lists();
  RC_PRE(!list.empty());
  list.resize(1);
  list[0].bytes = std::min<std::uint64_t>(list[0].bytes, 0x4000);
  std::vector<std::byte> expected(list[0].bytes);
  std::vector<std::byte> found(list[0].bytes);
  const DmaResult wanted = it.model.read(list, expected);
  RC_ASSERT(either(it).read(list[0].address, found) == wanted);
  RC_ASSERT(found == expected);
  const auto from = noise(list[0].bytes);
  const DmaResult written = it.model.write(list, from);
  RC_ASSERT(either(it).write(list[0].address, from) == written);
  RC_ASSERT(it.memory_equals_model());
}

TEST_F(DmaSpaceTest, AReaderDoesWhatTheManagerDoes) {
  std::uint64_t value = 0;
  EXPECT_TRUE(on_reader.store(kLow + 8, std::uint64_t{77}).ok());
  EXPECT_TRUE(dma.load(kLow + 8, value).ok());
  EXPECT_EQ(value, 77u);
  EXPECT_TRUE(on_reader.fetch_add(kLow + 8, std::uint64_t{3}, value).ok());
  bool exchanged = false;
  value = 80;
  EXPECT_TRUE(on_reader.compare_exchange(kLow + 8, value, std::uint64_t{5}, exchanged).ok());
  EXPECT_TRUE(exchanged);
  EXPECT_EQ(on_reader.copy(kLow + 0x1000, kLow, 0x1000), (DmaResult{.done = 0x1000}));
  int order = 1;
  EXPECT_EQ(on_reader.compare(kLow + 0x1000, kLow, 0x1000, order), (DmaResult{.done = 0x1000}));
  EXPECT_EQ(order, 0);
  EXPECT_EQ(on_reader.read(0x100, {}), DmaResult{});
  EXPECT_EQ(on_reader.write(kLow, {}), DmaResult{});
}

TEST_F(DmaSpaceTest, BulkBytesAreCountedOnTheDmaRoute) {
  const auto bytes_by_dma = [&] {
    const auto statistics = memory->statistics();
    std::uint64_t sum = 0;
    for (const auto& path : statistics.counts[static_cast<std::size_t>(vm_mem::Route::kDma)]) {
      sum += path.bytes;
    }
    return sum;
  };
  const std::uint64_t before = bytes_by_dma();
  std::vector<std::byte> to(2048);
  ASSERT_TRUE(dma.read(kLow, to).ok());
  ASSERT_TRUE(dma.write(kLow, to).ok());
  EXPECT_EQ(bytes_by_dma() - before, 4096u);
}

TEST(DmaFaultTest, EveryFaultHasANameOfItsOwn) {
  std::set<std::string> names;
  int count = 0;
  for (auto fault = DmaFault::kNone; fault <= DmaFault::kNotMapped;
       fault = static_cast<DmaFault>(static_cast<int>(fault) + 1), ++count) {
    names.insert(std::string(dma_fault_name(fault)));
  }
  EXPECT_EQ(names.size(), static_cast<std::size_t>(count));
  EXPECT_EQ(names.count("unknown"), 0u);
  EXPECT_EQ(dma_fault_name(DmaFault::kReentrant), "kReentrant");
}

}  // namespace
}  // namespace vm_device
