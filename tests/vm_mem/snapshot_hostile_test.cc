// Files that are damaged, cut off, of another version, or made to deceive: each is refused with
// file, offset and reason, and memory is left as it was.
#include <fcntl.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <unistd.h>

#include <filesystem>
#include <functional>
#include <string>
#include <vector>

#include "tests/support/temporary_file.h"
#include "tests/vm_mem/snapshot_image.h"
#include "tests/vm_mem/snapshot_world.h"
#include "vm_mem/internal/snapshot_chain.h"
#include "vm_mem/snapshot.h"
#include "vm_mem/snapshot_series.h"

namespace vm_mem {
namespace {

using internal::SectionKind;
using testing::HasSubstr;
using vm_test::SnapshotImage;
using vm_test::SnapshotWorld;

// A small file with a section of every kind.
std::vector<std::byte> good_file() {
  const vm_test::TemporaryFolder folder(vm_test::memory_folder());
  SnapshotWorld world({{.begin = 0, .pages = 8}, {.begin = 0x100000, .pages = 8}});
  for (const unsigned page : {1U, 2U, 5U, 9U}) world.fill(page, page);
  const auto saved =
      save_snapshot(world.memory(), folder.file("a"),
                    {.states = {{.id = "cpu", .version = 1, .bytes = std::vector<std::byte>(100)}},
                     .working_set = {world.address_of(5)}});
  EXPECT_TRUE(saved.ok()) << saved.status();
  return vm_test::file_bytes(folder.file("a"));
}

// Open, verify and restore: the first that refuses, after which memory is as it was.
absl::Status use(const std::string& path) {
  const auto snapshot = Snapshot::open(path);
  if (!snapshot.ok()) return snapshot.status();
  const absl::Status verified = snapshot->verify({.io = SnapshotIo::kBuffered});
  for (const bool used : {false, true}) {
    SnapshotWorld world({{.begin = 0, .pages = 8}, {.begin = 0x100000, .pages = 8}});
    if (used) world.fill(3, 77);
    const std::vector<std::byte> before = world.bytes();
    const absl::Status restored =
        restore_snapshot(world.memory(), *snapshot, {.io = SnapshotIo::kBuffered});
    if (restored.ok()) continue;
    EXPECT_FALSE(verified.ok()) << restored;
    EXPECT_EQ(world.bytes(), before) << restored;
  }
  return verified;
}

class SnapshotHostileTest : public testing::Test {
 public:
  static void SetUpTestSuite() { good() = good_file(); }

 protected:
  static std::vector<std::byte>& good() {
    static std::vector<std::byte> bytes;
    return bytes;
  }
  // What comes of the good file with a change, its checksums made right.
  absl::Status changed(const std::function<void(SnapshotImage&)>& change) {
    SnapshotImage image(good());
    change(image);
    image.reseal();
    return written(image);
  }
  absl::Status written(const SnapshotImage& image) {
    image.write(path_);
    return use(path_);
  }
  void expect(const absl::Status& status, absl::StatusCode code, const std::string& text) {
    EXPECT_EQ(status.code(), code) << status;
    EXPECT_THAT(std::string(status.message()), HasSubstr(path_ + ": at 0x"));
    EXPECT_THAT(std::string(status.message()), HasSubstr(text));
  }

  vm_test::TemporaryFolder folder_{vm_test::memory_folder()};
  const std::string path_ = folder_.file("a");
};

TEST_F(SnapshotHostileTest, TheFileItselfIsGood) {
  EXPECT_TRUE(changed([](SnapshotImage&) {}).ok());
}

// In steps that are prime, so that all bits and places of sections are met.
TEST_F(SnapshotHostileTest, NoBitMayChange) {
  std::size_t pages_met = 0;
  for (std::size_t bit = 0; bit < good().size() * 8; bit += 7919) {
    SnapshotImage image(good());
    image.bytes()[bit / 8] ^= std::byte{1} << bit % 8;
    const absl::Status refused = written(image);
    ASSERT_FALSE(refused.ok()) << "bit " << bit;
    ASSERT_THAT(std::string(refused.message()), HasSubstr(path_ + ": at 0x")) << "bit " << bit;
    ++pages_met;
  }
  EXPECT_GE(pages_met, good().size() / 4096 * 4);
}

TEST_F(SnapshotHostileTest, NoEndMayBeMissing) {
  for (std::size_t bytes = 0; bytes < good().size(); bytes += 4096) {
    for (const std::size_t more : {0U, 1U, 2048U}) {
      SnapshotImage image(good());
      image.bytes().resize(bytes + more);
      EXPECT_FALSE(written(image).ok()) << bytes + more;
    }
  }
  SnapshotImage longer(good());
  longer.bytes().resize(good().size() + 4096);
  EXPECT_FALSE(written(longer).ok());
}

TEST_F(SnapshotHostileTest, OtherFormatsAndVersionsAreNamed) {
  const auto put_first = [](std::size_t at, auto value) {
    return [=](SnapshotImage& image) { SnapshotImage::put(image.superblock(), at, value); };
  };
  expect(changed(put_first(0, '#')), absl::StatusCode::kInvalidArgument, "this is no snapshot");
  expect(changed(put_first(8, std::uint16_t{2})), absl::StatusCode::kUnimplemented, "format 2.0");
  expect(changed(put_first(12, std::uint32_t{16})), absl::StatusCode::kUnimplemented, "2^16");
  expect(changed(put_first(16, std::uint64_t{3})), absl::StatusCode::kUnimplemented,
         "features 0x2");
  expect(changed(put_first(88, std::uint32_t{9})), absl::StatusCode::kUnimplemented,
         "checksums of unknown kind");
  // A later minor version, and features that only writers have to know, are read.
  EXPECT_TRUE(changed(put_first(10, std::uint16_t{7})).ok());
  EXPECT_TRUE(changed(put_first(24, std::uint64_t{1})).ok());
  EXPECT_TRUE(changed(put_first(32, std::uint64_t{1})).ok());
}

TEST_F(SnapshotHostileTest, SectionsOfUnknownKindsAreSkippedUnlessTheyAreRequired) {
  const auto rename = [](std::uint32_t flags) {
    return [=](SnapshotImage& image) {
      const auto entry = image.entry(SectionKind::kWorkingSet);
      SnapshotImage::put(entry, 0, std::uint32_t{77});
      SnapshotImage::put(entry, 8, flags);
    };
  };
  EXPECT_TRUE(changed(rename(0)).ok());
  expect(changed(rename(1)), absl::StatusCode::kUnimplemented, "kind 77");
  // They have a checksum, too.
  SnapshotImage image(good());
  const std::span<std::byte> unknown = image.section(SectionKind::kWorkingSet);
  rename(0)(image);
  image.reseal();
  unknown[0] ^= std::byte{1};
  expect(written(image), absl::StatusCode::kDataLoss, "checksum");
}

TEST_F(SnapshotHostileTest, CountsAndOffsetsAreHeldToTheFile) {
  constexpr auto kDamaged = absl::StatusCode::kDataLoss;
  const auto huge = std::uint64_t{1} << 60;
  const auto in_footer = [](std::size_t at, auto value) {
    return [=](SnapshotImage& image) { SnapshotImage::put(image.footer(), at, value); };
  };
  expect(changed(in_footer(24, huge)), kDamaged, "should have");
  expect(changed(in_footer(32, huge)), kDamaged, "data pages");
  expect(changed(in_footer(32, std::uint64_t{10})), kDamaged, "data pages");
  expect(changed(in_footer(40, huge)), kDamaged, "section table");
  expect(changed(in_footer(48, std::uint32_t{1} << 31)), kDamaged, "sections");
  expect(changed(in_footer(48, std::uint32_t{16000})), kDamaged, "section table");
  for (const SectionKind kind : {SectionKind::kRegions, SectionKind::kPageMap,
                                 SectionKind::kPageChecksums, SectionKind::kWorkingSet}) {
    for (const std::uint64_t value : {huge, ~std::uint64_t{0}, ~std::uint64_t{4095}}) {
      for (const std::size_t field : {16U, 24U}) {
        const auto change = [&](SnapshotImage& image) {
          SnapshotImage::put(image.entry(kind), field, value);
        };
        expect(changed(change), kDamaged, "");
      }
    }
    const auto shorter = [&](SnapshotImage& image) {
      const auto entry = image.entry(kind);
      SnapshotImage::put(entry, 24, SnapshotImage::get<std::uint64_t>(entry, 24) - 1);
    };
    expect(changed(shorter), kDamaged, "");
  }
  const auto guest_pages = [&](std::uint64_t pages) {
    return [=](SnapshotImage& image) { SnapshotImage::put(image.superblock(), 80, pages); };
  };
  expect(changed(guest_pages(huge)), kDamaged, "guest pages");
  expect(changed(guest_pages(15)), kDamaged, "more pages than");
  expect(changed(guest_pages(17)), kDamaged, "fewer pages than");
}

// Data pages as many as reach past the table, and a section of an unknown kind that leads back to
// the others by running past 2^64: pages and sections would be one.
TEST_F(SnapshotHostileTest, SectionsMayNotWrapAround) {
  SnapshotImage image(good());
  const auto table = SnapshotImage::get<std::uint64_t>(image.footer(), 40);
  const auto regions = SnapshotImage::get<std::uint64_t>(image.entry(SectionKind::kRegions), 16);
  const std::uint64_t pages = table / 4096;  // one more than there is room for
  SnapshotImage::put(image.section(SectionKind::kPageMap), 36,
                     static_cast<std::uint32_t>(1 + pages - 4));
  SnapshotImage::put(image.entry(SectionKind::kPageChecksums), 24, pages * 4);
  SnapshotImage::put(image.footer(), 32, pages);
  const auto count = SnapshotImage::get<std::uint32_t>(image.footer(), 48);
  const auto entries = std::span(image.bytes()).subspan(table, 4096);
  std::ranges::copy_backward(entries.first(count * 128), entries.begin() + (count + 1) * 128);
  SnapshotImage::put(image.footer(), 48, count + 1);
  SnapshotImage::put(entries, 0, std::uint32_t{77});
  SnapshotImage::put(entries, 8, std::uint32_t{0});
  SnapshotImage::put(entries, 16, table + 4096);
  SnapshotImage::put(entries, 24, regions - (table + 4096));
  image.reseal();
  expect(written(image), absl::StatusCode::kDataLoss, "0xa data pages");
}

// By a few bytes of a file: all of 16 TiB of memory as a working set.
TEST_F(SnapshotHostileTest, WhatTablesStandForIsLimitedToo) {
  const auto pages = (std::uint64_t{1} << 32) - 1;
  const auto change = [&](SnapshotImage& image) {
    SnapshotImage::put(image.superblock(), 80, pages);
    SnapshotImage::put(image.section(SectionKind::kRegions), 40, (pages - 8) * 4096);
    SnapshotImage::put(image.section(SectionKind::kWorkingSet), 0, std::uint32_t{0});
    SnapshotImage::put(image.section(SectionKind::kWorkingSet), 4,
                       static_cast<std::uint32_t>(pages));
  };
  expect(changed(change), absl::StatusCode::kResourceExhausted, "permitted");
  // Several sections are held to it together.
  const auto twice = [](SnapshotImage& image) {
    SnapshotImage::put(image.section(SectionKind::kWorkingSet), 0, std::uint32_t{0});
    SnapshotImage::put(image.section(SectionKind::kWorkingSet), 4, std::uint32_t{16});
    SnapshotImage::put(image.section(SectionKind::kDeviceState), 0, std::uint64_t{1} << 32);
    SnapshotImage::put(image.entry(SectionKind::kDeviceState), 24, std::uint64_t{8});
    SnapshotImage::put(image.entry(SectionKind::kDeviceState), 0, SectionKind::kWorkingSet);
  };
  expect(changed(twice), absl::StatusCode::kDataLoss, "a working set with");
}

TEST_F(SnapshotHostileTest, RegionsMayNotOverlapNorWrap) {
  constexpr auto kDamaged = absl::StatusCode::kDataLoss;
  const auto in_region = [](std::size_t at, auto value) {
    return [=](SnapshotImage& image) {
      SnapshotImage::put(image.section(SectionKind::kRegions), at, value);
    };
  };
  expect(changed(in_region(32, std::uint64_t{0x7000})), kDamaged, "overlaps");
  expect(changed(in_region(32, ~std::uint64_t{4095})), kDamaged, "a region of");
  expect(changed(in_region(8, std::uint64_t{0})), kDamaged, "a region of");
  expect(changed(in_region(8, std::uint64_t{4097})), kDamaged, "a region of");
  expect(changed(in_region(40, ~std::uint64_t{4095})), kDamaged, "a region of");
  expect(changed(in_region(40, std::uint64_t{1} << 60)), kDamaged, "more pages than");
  expect(changed(in_region(48, std::uint32_t{7})), kDamaged, "other pages");
  expect(changed(in_region(20, std::uint32_t{2})), kDamaged, "unknown kind");
}

TEST_F(SnapshotHostileTest, WhatIsUnusedIsIgnored) {
  EXPECT_TRUE(changed([](SnapshotImage& image) {
                SnapshotImage::put(image.section(SectionKind::kRegions), 24, ~std::uint64_t{0});
                SnapshotImage::put(image.superblock(), 104, ~std::uint64_t{0});
                SnapshotImage::put(image.footer(), 100, ~std::uint64_t{0});
                SnapshotImage::put(image.entry(SectionKind::kPageMap), 36, ~std::uint32_t{0});
              }).ok());
}

TEST_F(SnapshotHostileTest, ExtentsAreSortedDisjointAndInside) {
  constexpr auto kDamaged = absl::StatusCode::kDataLoss;
  const auto in_map = [](std::size_t at, auto value) {
    return [=](SnapshotImage& image) {
      SnapshotImage::put(image.section(SectionKind::kPageMap), at, value);
    };
  };
  // The extents are of pages 1 and 2, 5, and 9.
  expect(changed(in_map(16, std::uint32_t{2})), kDamaged, "an extent of 0x1 pages at page 0x2");
  expect(changed(in_map(0, std::uint32_t{6})), kDamaged, "sorted");
  expect(changed(in_map(4, std::uint32_t{0})), kDamaged, "an extent of 0x0");
  expect(changed(in_map(36, ~std::uint32_t{0})), kDamaged, "an extent of 0xffffffff");
  expect(changed(in_map(32, std::uint32_t{16})), kDamaged, "sorted");
  expect(changed(in_map(8, std::uint8_t{0})), kDamaged, "data page 0x0 is of two guest pages");
  expect(changed(in_map(4, std::uint32_t{1})), kDamaged, "data page 0x2 is of no guest page");
  expect(changed(in_map(8, std::uint8_t{4})), kDamaged, "data pages from 0x4");
  expect(changed(in_map(8, (std::uint64_t{1} << 56) | ((std::uint64_t{1} << 56) - 1))), kDamaged,
         "data pages from");
  expect(changed(in_map(15, std::uint8_t{9})), kDamaged, "unknown kind 9");
}

TEST_F(SnapshotHostileTest, WorkingSetsAndStatesAreChecked) {
  constexpr auto kDamaged = absl::StatusCode::kDataLoss;
  const auto in_set = [](std::size_t at, std::uint32_t value) {
    return [=](SnapshotImage& image) {
      SnapshotImage::put(image.section(SectionKind::kWorkingSet), at, value);
    };
  };
  expect(changed(in_set(0, 16)), kDamaged, "a working set");
  expect(changed(in_set(4, 12)), kDamaged, "a working set");
  expect(changed(in_set(4, 0)), kDamaged, "a working set");
  const auto name = [](std::uint32_t bytes) {
    return [=](SnapshotImage& image) {
      SnapshotImage::put(image.entry(SectionKind::kDeviceState), 32, bytes);
    };
  };
  expect(changed(name(65)), kDamaged, "name");
  expect(changed(name(0)), kDamaged, "without a name");
  SnapshotImage image(good());
  SnapshotImage::put(image.section(SectionKind::kDeviceState), 50, 'x');
  image.write(path_);
  const auto snapshot = Snapshot::open(path_);
  ASSERT_TRUE(snapshot.ok());
  expect(snapshot->state("cpu").status(), kDamaged, "checksum");
}

TEST_F(SnapshotHostileTest, TablesMayBeLimited) {
  SnapshotImage(good()).write(path_);
  expect(Snapshot::open(path_, {.max_table_bytes = 64}).status(),
         absl::StatusCode::kResourceExhausted, "permitted");
}

TEST_F(SnapshotHostileTest, OnlyRegularFilesAreOpened) {
  SnapshotImage(good()).write(folder_.file("b"));
  std::filesystem::create_symlink(folder_.file("b"), folder_.file("link"));
  EXPECT_EQ(Snapshot::open(folder_.file("link")).status().code(),
            absl::StatusCode::kInvalidArgument);
  EXPECT_EQ(Snapshot::open(folder_.path()).status().code(), absl::StatusCode::kInvalidArgument);
  ASSERT_EQ(::mkfifo(folder_.file("fifo").c_str(), 0600), 0);
  EXPECT_EQ(Snapshot::open(folder_.file("fifo")).status().code(),
            absl::StatusCode::kInvalidArgument);
  EXPECT_EQ(Snapshot::open(folder_.file("none")).status().code(), absl::StatusCode::kNotFound);
}

// Rests on itself, or on one that rests on it: no honest save makes that.
TEST_F(SnapshotHostileTest, ParentsMayNotBeALoop) {
  SnapshotImage first(good());
  SnapshotImage second(good());
  const auto rest = [](SnapshotImage& image, unsigned char id, unsigned char parent,
                       std::uint32_t depth, std::string_view name) {
    for (std::size_t i = 0; i < 16; ++i) {
      SnapshotImage::put(image.superblock(), 40 + i, id);
      SnapshotImage::put(image.footer(), 8 + i, id);
      SnapshotImage::put(image.superblock(), 56 + i, parent);
    }
    SnapshotImage::put(image.superblock(), 76, depth);
    SnapshotImage::put(image.superblock(), 92, static_cast<std::uint32_t>(name.size()));
    for (std::size_t i = 0; i < name.size(); ++i) {
      SnapshotImage::put(image.superblock(), 128 + i, name[i]);
    }
    image.reseal();
  };
  rest(first, 1, 1, 1, "a");
  expect(written(first), absl::StatusCode::kFailedPrecondition, "loop");
  rest(first, 1, 2, 2, "b");
  rest(second, 2, 1, 1, "a");
  // The seal of the parent is wrong too: there is none that both could have.
  SnapshotImage::put(first.superblock(), 72,
                     SnapshotImage::get<std::uint32_t>(second.footer(), 4092));
  first.reseal();
  second.write(folder_.file("b"));
  EXPECT_THAT(std::string(written(first).message()), HasSubstr("the parents are a loop"));
  rest(first, 1, 2, 40, "b");
  expect(written(first), absl::StatusCode::kFailedPrecondition, "a chain of 40 parents");
  rest(first, 1, 2, 2, "../b");
  expect(written(first), absl::StatusCode::kDataLoss, "name");
  const auto find = [](const SnapshotId&, const std::string& name) -> absl::StatusOr<std::string> {
    ADD_FAILURE() << name;
    return name;
  };
  expect(Snapshot::open(path_, {.find_parent = find}).status(), absl::StatusCode::kDataLoss,
         "name");
  rest(first, 1, 3, 2, "b");
  expect(written(first), absl::StatusCode::kFailedPrecondition, "is wanted");
  rest(first, 1, 2, 2, "none");
  EXPECT_EQ(written(first).code(), absl::StatusCode::kNotFound);
}

}  // namespace
}  // namespace vm_mem
