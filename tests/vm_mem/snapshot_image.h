// The bytes of a snapshot file, to change what is in it and make its checksums right again, so
// that what a reader refuses is the change and not a checksum.
#ifndef TESTS_VM_MEM_SNAPSHOT_IMAGE_H_
#define TESTS_VM_MEM_SNAPSHOT_IMAGE_H_

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <fstream>
#include <span>
#include <string>
#include <utility>
#include <vector>

#include "vm_mem/internal/crc32c.h"
#include "vm_mem/internal/snapshot_format.h"

namespace vm_test {

class SnapshotImage {
 public:
  static constexpr std::size_t kPage = vm_mem::internal::kSnapshotPageBytes;

  explicit SnapshotImage(std::vector<std::byte> bytes) : bytes_(std::move(bytes)) {}

  std::vector<std::byte>& bytes() { return bytes_; }
  std::span<std::byte> superblock() { return std::span(bytes_).first(kPage); }
  std::span<std::byte> footer() { return std::span(bytes_).last(kPage); }
  // The entry in the section table, and the section, of the first of that kind.
  std::span<std::byte> entry(vm_mem::internal::SectionKind kind) {
    const std::span<std::byte> entries = table();
    for (std::size_t at = 0; at < entries.size(); at += kEntry) {
      if (get<std::uint32_t>(entries, at) == static_cast<std::uint32_t>(kind)) {
        return entries.subspan(at, kEntry);
      }
    }
    return {};
  }
  std::span<std::byte> section(vm_mem::internal::SectionKind kind) {
    const std::span<std::byte> about = entry(kind);
    if (about.empty()) return {};
    return inside(get<std::uint64_t>(about, 16), get<std::uint64_t>(about, 24));
  }

  template <typename T>
  static void put(std::span<std::byte> to, std::size_t at, T value) {
    std::memcpy(to.subspan(at, sizeof value).data(), &value, sizeof value);
  }
  template <typename T>
  static T get(std::span<const std::byte> from, std::size_t at) {
    T value;
    std::memcpy(&value, from.subspan(at, sizeof value).data(), sizeof value);
    return value;
  }

  // As far as there is anything to be made right.
  void reseal() {
    if (bytes_.size() < 2 * kPage) return;
    reseal_frames();
    const std::span<std::byte> entries = table();
    for (std::size_t at = 0; at < entries.size(); at += kEntry) {
      const auto bytes = get<std::uint64_t>(entries, at + 24);
      if (bytes > bytes_.size()) continue;
      const auto part =
          inside(get<std::uint64_t>(entries, at + 16), vm_mem::internal::paged(bytes));
      if (!part.empty()) put(entries, at + 12, vm_mem::internal::crc32c(part));
    }
    seal(superblock());
    put(footer(), 52,
        vm_mem::internal::crc32c(inside(table_offset(), vm_mem::internal::paged(entries.size()))));
    put(footer(), 56, get<std::uint32_t>(superblock(), kPage - 4));
    seal(footer());
  }

  void write(const std::string& path) const {
    std::ofstream(path, std::ios::binary)
        .write(reinterpret_cast<const char*>(bytes_.data()),
               static_cast<std::streamsize>(bytes_.size()));
  }

 private:
  static constexpr std::size_t kEntry = vm_mem::internal::kSectionEntryBytes;
  static constexpr std::size_t kFrame = vm_mem::internal::kFrameEntryBytes;

  std::uint64_t table_offset() { return get<std::uint64_t>(footer(), 40); }
  std::span<std::byte> table() {
    return inside(table_offset(), get<std::uint32_t>(footer(), 48) * std::uint64_t{kEntry});
  }
  // Where they lie is told by those before.
  void reseal_frames() {
    const std::span<std::byte> frames = section(vm_mem::internal::SectionKind::kFrames);
    std::uint64_t offset = kPage;
    for (std::size_t at = 0; at + kFrame <= frames.size(); at += kFrame) {
      const std::uint64_t bytes = vm_mem::internal::paged(get<std::uint32_t>(frames, at));
      put(frames, at + 4, vm_mem::internal::crc32c(inside(offset, bytes)));
      offset += bytes;
    }
  }
  // Empty where that is outside.
  std::span<std::byte> inside(std::uint64_t offset, std::uint64_t bytes) {
    if (offset > bytes_.size() || bytes > bytes_.size() - offset) return {};
    return std::span(bytes_).subspan(offset, bytes);
  }
  static void seal(std::span<std::byte> page) {
    put(page, kPage - 4, vm_mem::internal::crc32c(page.first(kPage - 4)));
  }

  std::vector<std::byte> bytes_;
};

}  // namespace vm_test

#endif  // TESTS_VM_MEM_SNAPSHOT_IMAGE_H_
