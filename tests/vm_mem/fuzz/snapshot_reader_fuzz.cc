// Changes of a good snapshot file, a full one or one that rests on it. What is refused names the
// file and leaves memory as it was; what is accepted restores to the same bytes twice.
//
// The first byte of the input chooses the file, how it is compressed, and whether its checksums
// are made right after the changes, so that those get past them. Then one change after the other:
// which part of the file, where in it, how many bytes, their value.
#include <unistd.h>

#include <cstdlib>
#include <cstring>
#include <filesystem>
#include <fstream>
#include <iterator>
#include <memory>
#include <span>
#include <stdexcept>
#include <string>
#include <vector>

#include "tests/support/fuzz_target.h"
#include "tests/vm_mem/fuzz/byte_source.h"
#include "tests/vm_mem/snapshot_image.h"
#include "vm_mem/internal/frame_coder.h"
#include "vm_mem/snapshot.h"
#include "vm_mem/snapshot_convert.h"
#include "vm_mem/snapshot_series.h"

namespace {

using vm_mem::GuestRange;
using vm_mem::MemoryManager;
using vm_mem::SnapshotCompression;
using vm_mem::SnapshotIo;
using vm_mem::internal::FrameCodec;

constexpr std::uint64_t kMostBytes = 4 << 20;

void require(bool holds, const std::string& what) {
  if (!holds) throw std::runtime_error(what);
}

// A folder of this process, in memory where the host has such.
class Folder {
 public:
  Folder() {
    path_ = std::filesystem::is_directory("/dev/shm") ? "/dev/shm/vm_XXXXXX" : "/tmp/vm_XXXXXX";
    require(::mkdtemp(path_.data()) != nullptr, path_);
  }
  Folder(const Folder&) = delete;
  Folder& operator=(const Folder&) = delete;
  ~Folder() { std::filesystem::remove_all(path_); }
  std::string file(const char* name) const { return path_ + "/" + name; }

 private:
  std::string path_;
};

std::unique_ptr<MemoryManager> memory_of(std::span<const GuestRange> regions) {
  auto memory = *MemoryManager::create({});
  for (const GuestRange& range : regions) require(memory->add_ram(range).ok(), "add_ram");
  return memory;
}

std::vector<std::byte> bytes_of(const MemoryManager& memory, std::span<const GuestRange> regions) {
  std::vector<std::byte> all;
  for (const GuestRange& range : regions) {
    std::vector<std::byte> some(range.bytes());
    require(memory.read(range.begin(), some).ok(), "read");
    all.insert(all.end(), some.begin(), some.end());
  }
  return all;
}

std::vector<std::byte> read_file(const std::string& path) {
  std::ifstream file(path, std::ios::binary);
  const std::vector<char> chars{std::istreambuf_iterator<char>(file), {}};
  const auto bytes = std::as_bytes(std::span(chars));
  return {bytes.begin(), bytes.end()};
}

// The good files: "p", and "c" that rests on it.
class GoodFiles {
 public:
  explicit GoodFiles(SnapshotCompression compression) {
    const std::vector<GuestRange> regions = {*GuestRange::make(vm_mem::GuestAddress{0}, 0x8000),
                                             *GuestRange::make(kHigh, 0x4000)};
    auto memory = *MemoryManager::create({});
    for (const GuestRange& range : regions) {
      require(memory->add_ram(range, {.dirty_tracking = vm_mem::DirtyTracking::kOn}).ok(), "ram");
    }
    const auto fill = [&](std::uint64_t at, int value, std::uint64_t bytes) {
      require(memory->fill_block(vm_mem::GuestAddress{at}, std::byte(value), bytes).ok(), "fill");
    };
    auto series = *vm_mem::SnapshotSeries::begin(*memory, "fuzz");
    fill(0x1000, 1, 0x2000);
    fill(kHigh.value + 0x1000, 2, 0x1000);
    const std::vector<vm_mem::DeviceState> states = {
        {.id = "cpu", .version = 1, .bytes = std::vector<std::byte>(40)}};
    const std::vector<vm_mem::GuestAddress> first = {vm_mem::GuestAddress{0x2000}, kHigh};
    require(series
                .save_full(folder_.file("p"),
                           {.states = states, .working_set = first, .compression = compression})
                .ok(),
            "saving");
    fill(0x1000, 0, 0x1000);
    fill(0x5000, 3, 0x1000);
    require(
        series.save_incremental(folder_.file("c"), {.states = states, .compression = compression})
            .ok(),
        "saving");
    parent_ = read_file(folder_.file("p"));
    child_ = read_file(folder_.file("c"));
  }

  vm_test::SnapshotImage image(bool child) const {
    return vm_test::SnapshotImage(child ? child_ : parent_);
  }
  std::string file(const char* name) const { return folder_.file(name); }

 private:
  static constexpr vm_mem::GuestAddress kHigh{0x100000};

  Folder folder_;
  std::vector<std::byte> parent_;
  std::vector<std::byte> child_;
};

std::span<std::byte> part_of(vm_test::SnapshotImage& image, std::uint64_t number) {
  using vm_mem::internal::SectionKind;
  if (image.bytes().size() < 2 * vm_test::SnapshotImage::kPage) return image.bytes();
  const auto kind = static_cast<SectionKind>(1 + number / 2 % 5);
  switch (number % 16) {
    case 10: return image.superblock();
    case 11: return image.footer();
    case 12: return image.bytes();
    case 14: return image.entry(SectionKind::kFrames);
    case 15: return image.section(SectionKind::kFrames);
    default: return number % 2 == 0 ? image.entry(kind) : image.section(kind);
  }
}

void change(vm_test::SnapshotImage& image, vm_mem::ByteSource& source) {
  const std::uint64_t number = source.below(16);
  if (number == 13) {  // cut off, or made longer
    image.bytes().resize(source.take(2));
    return;
  }
  const std::span<std::byte> part = part_of(image, number);
  const std::uint64_t offset = source.take(part.size() > 256 ? 2 : 1);
  const std::uint64_t width = std::uint64_t{1} << source.below(4);
  const std::uint64_t value = source.take(width);
  if (offset + width > part.size()) return;
  std::memcpy(part.subspan(offset, width).data(), &value, width);
}

void use(const vm_mem::Snapshot& snapshot, const std::string& merged_path) {
  const std::vector<GuestRange>& regions = snapshot.info().regions;
  if (snapshot.info().guest_pages * 4096 > kMostBytes) return;
  (void)snapshot.working_set();
  const bool sound = snapshot.verify({.io = SnapshotIo::kBuffered}).ok();
  const auto fresh = memory_of(regions);
  const absl::Status restored = restore_snapshot(*fresh, snapshot, {.io = SnapshotIo::kBuffered});
  const std::vector<std::byte> once = bytes_of(*fresh, regions);
  const auto used = memory_of(regions);
  for (const GuestRange& range : regions) {
    require(used->fill_block(range.begin(), std::byte{0xee}, range.bytes()).ok(), "fill");
  }
  const std::vector<std::byte> before = bytes_of(*used, regions);
  const absl::Status again = restore_snapshot(*used, snapshot, {.io = SnapshotIo::kBuffered});
  require(restored.ok() == again.ok(), "one restore is refused, another is not");
  require(restored.ok() || !sound, "a sound snapshot is refused: " + restored.ToString());
  if (!restored.ok()) {
    require(once == std::vector<std::byte>(once.size()), "a refused restore wrote");
    require(bytes_of(*used, regions) == before, "a refused restore wrote over memory");
    return;
  }
  require(bytes_of(*used, regions) == once, "two restores differ");
  if (!merge_snapshots(snapshot, merged_path, {.io = SnapshotIo::kBuffered}).ok()) return;
  const auto merged = vm_mem::Snapshot::open(merged_path);
  require(merged.ok(), "a merged snapshot is refused: " + merged.status().ToString());
  const auto other = memory_of(regions);
  require(restore_snapshot(*other, *merged, {.io = SnapshotIo::kBuffered}).ok(), "merged");
  require(bytes_of(*other, regions) == once, "a merged snapshot differs");
}

// Plain ones where this program was built without the library.
const GoodFiles& good_files(SnapshotCompression compression) {
  static const GoodFiles plain(SnapshotCompression::kNone);
  const auto compressed = [](SnapshotCompression with, FrameCodec codec) {
    return vm_mem::internal::make_frame_coder(codec).ok() ? std::make_unique<GoodFiles>(with)
                                                          : nullptr;
  };
  static const auto lz4 = compressed(SnapshotCompression::kLz4, FrameCodec::kLz4);
  static const auto zstd = compressed(SnapshotCompression::kZstd, FrameCodec::kZstd);
  if (compression == SnapshotCompression::kLz4 && lz4 != nullptr) return *lz4;
  return compression == SnapshotCompression::kZstd && zstd != nullptr ? *zstd : plain;
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  vm_mem::ByteSource source(std::span(data, size));
  const std::uint64_t choice = source.take(1);
  const GoodFiles& good = good_files(static_cast<SnapshotCompression>((choice >> 3) % 4 % 3));
  vm_test::SnapshotImage image = good.image((choice & 2) != 0);
  while (!source.empty()) {
    change(image, source);
    if ((choice & 1) != 0) image.reseal();
  }
  const std::string path = good.file("a");
  image.write(path);
  const bool alone = (choice & 4) != 0;
  const auto snapshot = vm_mem::Snapshot::open(
      path, {.parents = alone ? vm_mem::SnapshotParents::kIgnore : vm_mem::SnapshotParents::kOpen,
             .max_table_bytes = kMostBytes});
  if (!snapshot.ok()) {
    require(snapshot.status().message().find(path) != std::string::npos,
            "a refusal without the file: " + snapshot.status().ToString());
  } else if (!alone || snapshot->info().parent.is_zero()) {
    use(*snapshot, good.file("merged"));
  }
  return 0;
}
