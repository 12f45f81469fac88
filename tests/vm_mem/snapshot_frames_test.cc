// Snapshots whose pages are compressed.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cstring>
#include <random>
#include <string>
#include <vector>

#include "tests/support/temporary_file.h"
#include "tests/vm_mem/snapshot_image.h"
#include "tests/vm_mem/snapshot_world.h"
#include "vm_mem/internal/frames.h"
#include "vm_mem/internal/snapshot_chain.h"
#include "vm_mem/lazy_restore.h"
#include "vm_mem/snapshot.h"
#include "vm_mem/snapshot_convert.h"
#include "vm_mem/snapshot_pages.h"
#include "vm_mem/snapshot_series.h"

namespace vm_mem {
namespace {

using internal::FrameCodec;
using internal::SectionKind;
using testing::HasSubstr;
using vm_test::kSnapshotPage;
using vm_test::SnapshotImage;
using vm_test::SnapshotWorld;

constexpr std::uint64_t kPages = 70;  // four frames and a part of one

FrameCodec codec_of(SnapshotCompression compression) {
  return compression == SnapshotCompression::kLz4 ? FrameCodec::kLz4 : FrameCodec::kZstd;
}

class SnapshotFramesTest : public testing::TestWithParam<SnapshotCompression> {
 protected:
  void SetUp() override {
    const auto coder = internal::make_frame_coder(codec_of(GetParam()));
    if (coder.ok()) return;
    const auto refused =
        save_snapshot(world_.memory(), folder_.file("a"), {.compression = GetParam()});
    EXPECT_EQ(refused.status().code(), absl::StatusCode::kUnimplemented);
    EXPECT_EQ(refused.status().message(), coder.status().message());
    GTEST_SKIP() << coder.status().message();
  }

  static std::vector<vm_test::TestRegion> regions() {
    return {{.begin = 0, .pages = 40}, {.begin = 0x100000, .pages = kPages - 40}};
  }
  // A page that compresses, with a number in it.
  void fill(std::uint64_t page, std::uint64_t number) {
    std::vector<std::byte> bytes(kSnapshotPage, std::byte{0x5a});
    std::memcpy(&bytes[100], &number, sizeof number);
    EXPECT_TRUE(world_.memory().write(world_.address_of(page), bytes).ok());
  }
  SnapshotImage good_image() {
    for (std::uint64_t page = 0; page < kPages; ++page) fill(page, page);
    const auto saved = save_snapshot(
        world_.memory(), folder_.file("good"),
        {.states = {{.id = "cpu", .bytes = std::vector<std::byte>(9)}}, .compression = GetParam()});
    EXPECT_TRUE(saved.ok()) << saved.status();
    return SnapshotImage(vm_test::file_bytes(folder_.file("good")));
  }
  // Of a file with these bytes: opened and verified; where that is refused, restored nothing.
  absl::Status use(const SnapshotImage& image) {
    image.write(folder_.file("bad"));
    const auto snapshot = Snapshot::open(folder_.file("bad"));
    if (!snapshot.ok()) return snapshot.status();
    const absl::Status verified = snapshot->verify({.io = SnapshotIo::kBuffered});
    SnapshotWorld other(regions());
    const absl::Status restored = restore_snapshot(other.memory(), *snapshot);
    EXPECT_TRUE(restored.ok() || !verified.ok()) << restored;
    if (!restored.ok()) {
      EXPECT_EQ(other.bytes(), std::vector<std::byte>(kPages * kSnapshotPage));
    }
    return verified;
  }

  const vm_test::TemporaryFolder folder_{vm_test::memory_folder()};
  SnapshotWorld world_{regions()};
};

TEST_P(SnapshotFramesTest, WhatCompressesTakesLessAndIsRestored) {
  for (std::uint64_t page = 0; page < kPages; ++page) fill(page, page);
  const std::vector<GuestAddress> working_set = {world_.address_of(60), world_.address_of(3)};
  const auto saved = save_snapshot(world_.memory(), folder_.file("a"),
                                   {.working_set = working_set, .compression = GetParam()});
  ASSERT_TRUE(saved.ok()) << saved.status();
  EXPECT_EQ(saved->data_pages, kPages);
  EXPECT_LT(saved->file_bytes, kPages * kSnapshotPage / 2);
  const auto snapshot = Snapshot::open(folder_.file("a"));
  ASSERT_TRUE(snapshot.ok()) << snapshot.status();
  EXPECT_EQ(snapshot->info().features.incompatible, 1);
  EXPECT_EQ(snapshot->info().stored_pages, 5);
  EXPECT_EQ(snapshot->working_set(), working_set);
  EXPECT_TRUE(snapshot->verify().ok());
  for (const SnapshotIo io : {SnapshotIo::kRing, SnapshotIo::kThreads, SnapshotIo::kBuffered}) {
    SnapshotWorld other(regions());
    const absl::Status restored = restore_snapshot(other.memory(), *snapshot, {.io = io});
    EXPECT_TRUE(restored.ok()) << restored;
    EXPECT_EQ(other.bytes(), world_.bytes());
  }
  ASSERT_TRUE(export_flat_image(*snapshot, folder_.file("flat")).ok());
  EXPECT_EQ(vm_test::file_bytes(folder_.file("flat")), world_.bytes());
  const auto imported = import_flat_image(folder_.file("flat"), snapshot->info().regions,
                                          folder_.file("b"), {.compression = GetParam()});
  ASSERT_TRUE(imported.ok()) << imported.status();
  EXPECT_LT(imported->file_bytes, kPages * kSnapshotPage / 2);
}

TEST_P(SnapshotFramesTest, WhatDoesNotCompressIsStoredAsItIs) {
  for (std::uint64_t page = 0; page < 20; ++page) world_.fill(page, page + 1);
  ASSERT_TRUE(save_snapshot(world_.memory(), folder_.file("a"), {.compression = GetParam()}).ok());
  const auto snapshot = Snapshot::open(folder_.file("a"));
  ASSERT_TRUE(snapshot.ok()) << snapshot.status();
  EXPECT_EQ(snapshot->info().stored_pages, 20);
  for (const internal::FrameEntry& frame : snapshot->files().youngest().frames()) {
    EXPECT_EQ(frame.codec, FrameCodec::kPlain);
  }
  SnapshotWorld other(regions());
  ASSERT_TRUE(restore_snapshot(other.memory(), *snapshot).ok());
  EXPECT_EQ(other.bytes(), world_.bytes());
}

TEST_P(SnapshotFramesTest, NothingAtAllIsAFileToo) {
  ASSERT_TRUE(save_snapshot(world_.memory(), folder_.file("a"), {.compression = GetParam()}).ok());
  const auto snapshot = Snapshot::open(folder_.file("a"));
  ASSERT_TRUE(snapshot.ok()) << snapshot.status();
  EXPECT_TRUE(snapshot->verify().ok());
}

// More than a read brings, in an order that is not that of the pages.
TEST_P(SnapshotFramesTest, LongRunsAndScatteredOnesAreRead) {
  SnapshotWorld big({{.begin = 0, .pages = 700}});
  std::mt19937 random(3);
  std::vector<std::byte> bytes(kSnapshotPage, std::byte{1});
  for (std::uint64_t page = 0; page < 700; ++page) {
    if (page % 50 == 49) continue;
    const auto number = static_cast<std::uint32_t>(random());
    std::memcpy(&bytes[number % 1000], &number, sizeof number);
    ASSERT_TRUE(big.memory().write(big.address_of(page), bytes).ok());
  }
  std::vector<GuestAddress> working_set;
  for (std::uint64_t page = 699; page > 3; page -= 3) working_set.push_back(big.address_of(page));
  ASSERT_TRUE(save_snapshot(big.memory(), folder_.file("a"),
                            {.working_set = working_set, .compression = GetParam()})
                  .ok());
  const auto snapshot = Snapshot::open(folder_.file("a"));
  ASSERT_TRUE(snapshot.ok()) << snapshot.status();
  SnapshotWorld other({{.begin = 0, .pages = 700}});
  ASSERT_TRUE(restore_snapshot(other.memory(), *snapshot).ok());
  EXPECT_EQ(other.bytes(), big.bytes());
  const auto merged = merge_snapshots(*snapshot, folder_.file("b"));  // by guest page
  ASSERT_TRUE(merged.ok()) << merged.status();
  const auto diff = diff_snapshots(*snapshot, *Snapshot::open(folder_.file("b")));
  ASSERT_TRUE(diff.ok()) << diff.status();
  EXPECT_TRUE(diff->empty());
}

TEST_P(SnapshotFramesTest, AChainMayMixThemAndBeMergedToEither) {
  auto series = SnapshotSeries::begin(world_.memory(), "snapshots");
  for (std::uint64_t page = 0; page < 50; ++page) fill(page, page);
  ASSERT_TRUE(series->save_full(folder_.file("a")).ok());
  for (std::uint64_t page = 10; page < 60; page += 2) fill(page, 1000 + page);
  ASSERT_TRUE(series->save_incremental(folder_.file("b"), {.compression = GetParam()}).ok());
  world_.fill(10, 0);
  world_.fill(11, 5);
  ASSERT_TRUE(series->save_incremental(folder_.file("c")).ok());
  const auto chain = Snapshot::open(folder_.file("c"));
  ASSERT_TRUE(chain.ok()) << chain.status();
  EXPECT_TRUE(chain->files().has_frames());
  for (const SnapshotCompression compression : {SnapshotCompression::kNone, GetParam()}) {
    const auto merged = merge_snapshots(*chain, folder_.file("d"), {.compression = compression});
    ASSERT_TRUE(merged.ok()) << merged.status();
    const auto alone = Snapshot::open(folder_.file("d"));
    ASSERT_TRUE(alone.ok()) << alone.status();
    EXPECT_EQ(alone->files().has_frames(), compression != SnapshotCompression::kNone);
    for (const Snapshot* snapshot : {&*chain, &*alone}) {
      SnapshotWorld other(regions());
      ASSERT_TRUE(restore_snapshot(other.memory(), *snapshot).ok());
      EXPECT_EQ(other.bytes(), world_.bytes());
    }
  }
}

TEST_P(SnapshotFramesTest, ALazyRestoreRefusesThemAndLeavesMemoryAsItWas) {
  fill(1, 1);
  ASSERT_TRUE(save_snapshot(world_.memory(), folder_.file("a"), {.compression = GetParam()}).ok());
  SnapshotWorld other(regions());
  const auto lazy = LazyRestore::start(other.memory(), *Snapshot::open(folder_.file("a")));
  EXPECT_EQ(lazy.status().code(), absl::StatusCode::kUnimplemented);
  EXPECT_THAT(std::string(lazy.status().message()), HasSubstr("compressed pages"));
  EXPECT_EQ(other.bytes(), std::vector<std::byte>(kPages * kSnapshotPage));
}

TEST_P(SnapshotFramesTest, AChangedByteIsFoundWhereverItIs) {
  const SnapshotImage good = good_image();
  SnapshotImage image = good;
  for (std::size_t at = 7; at < image.bytes().size(); at += 397) {
    image.bytes()[at] ^= std::byte{0x10};
    const absl::Status status = use(image);
    EXPECT_FALSE(status.ok()) << at;
    EXPECT_THAT(std::string(status.message()), HasSubstr("bad: at 0x")) << at;
    image.bytes()[at] ^= std::byte{0x10};
  }
  EXPECT_TRUE(use(image).ok());
}

TEST_P(SnapshotFramesTest, FramesThatDeceiveAreRefused) {
  const SnapshotImage good = good_image();
  // Of the second frame's entry: which byte, what it becomes, and the refusal.
  struct Deceit {
    std::size_t at;
    std::size_t width;
    std::uint64_t value;
    const char* refusal;
  };
  const std::vector<Deceit> deceits = {
      {.at = 0, .width = 4, .value = 0, .refusal = "a frame of 0x0 bytes"},
      {.at = 0, .width = 4, .value = 0xffffffff, .refusal = "a frame of 0xffffffff bytes"},
      {.at = 0, .width = 4, .value = 0xf001, .refusal = "a frame of 0xf001 bytes"},
      {.at = 0, .width = 4, .value = 0x1001, .refusal = "0x"},  // another page: too many in all
      {.at = 0, .width = 4, .value = 3, .refusal = "cannot be decompressed"},
      {.at = 8, .width = 1, .value = 0, .refusal = "a frame of 0x"},  // plain, and too short
      {.at = 8, .width = 1, .value = 3, .refusal = "unknown codec 3"},
      {.at = 8, .width = 1, .value = 255, .refusal = "unknown codec 255"}};
  for (const Deceit& deceit : deceits) {
    SnapshotImage image = good;
    const auto entry = image.section(SectionKind::kFrames).subspan(16, 16);
    std::memcpy(&entry[deceit.at], &deceit.value, deceit.width);
    image.reseal();
    const absl::Status status = use(image);
    EXPECT_FALSE(status.ok()) << deceit.at << " " << deceit.value;
    EXPECT_THAT(std::string(status.message()), HasSubstr(deceit.refusal));
  }
}

// Right checksums about bytes that are no frame, or one of other pages.
TEST_P(SnapshotFramesTest, BytesThatAreNoFrameAreRefused) {
  const SnapshotImage good = good_image();
  std::mt19937 random(5);
  for (int round = 0; round < 200; ++round) {
    SnapshotImage image = good;
    const std::size_t at = SnapshotImage::kPage * (1 + random() % 5) + random() % 300;
    image.bytes()[at] ^= static_cast<std::byte>(1 + random() % 255);
    image.reseal();
    const absl::Status status = use(image);
    // A change may be of a byte that nothing depends on, behind the frame.
    if (!status.ok()) {
      EXPECT_EQ(status.code(), absl::StatusCode::kDataLoss) << status;
    }
  }
  SnapshotImage image = good;
  const auto first = std::span(image.bytes()).subspan(SnapshotImage::kPage, SnapshotImage::kPage);
  const auto last =
      std::span(image.bytes()).subspan(5 * SnapshotImage::kPage, SnapshotImage::kPage);
  std::ranges::copy(last, first.begin());  // of 6 pages, where 16 are wanted
  const auto entries = image.section(SectionKind::kFrames);
  std::ranges::copy(entries.subspan(4 * 16, 4), entries.begin());
  image.reseal();
  EXPECT_THAT(std::string(use(image).message()),
              HasSubstr("bad: at 0x1000: the frame cannot be decompressed to its pages (with guest "
                        "memory at 0x0)"));
}

TEST_P(SnapshotFramesTest, TheFeatureAndTheSectionGoTogether) {
  const SnapshotImage good = good_image();
  SnapshotImage without = good;
  SnapshotImage::put<std::uint64_t>(without.superblock(), 16, 0);
  without.reseal();
  EXPECT_EQ(use(without).code(), absl::StatusCode::kDataLoss);
  SnapshotImage no_section = good;
  SnapshotImage::put<std::uint32_t>(no_section.entry(SectionKind::kFrames), 0, 77);
  no_section.reseal();
  EXPECT_FALSE(use(no_section).ok());
  SnapshotImage many = good;
  SnapshotImage::put<std::uint64_t>(many.footer(), 32, std::uint64_t{1} << 60);
  many.reseal();
  EXPECT_THAT(std::string(use(many).message()), HasSubstr("0x1000000000000000 data pages"));
  SnapshotImage far = good;
  SnapshotImage::put<std::uint64_t>(far.footer(), 64, std::uint64_t{1} << 60);
  far.reseal();
  EXPECT_EQ(use(far).code(), absl::StatusCode::kDataLoss);
}

INSTANTIATE_TEST_SUITE_P(PerLibrary, SnapshotFramesTest,
                         testing::Values(SnapshotCompression::kLz4, SnapshotCompression::kZstd),
                         [](const auto& compression) {
                           return compression.param == SnapshotCompression::kLz4 ? "lz4" : "zstd";
                         });

}  // namespace
}  // namespace vm_mem
