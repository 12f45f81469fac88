// The front end's side of a live migration, without the other machine: memory that a back end
// writes, the log of it, and what has been sent of that memory.
#ifndef TESTS_VM_DEVICE_VHOST_USER_MIGRATION_H_
#define TESTS_VM_DEVICE_VHOST_USER_MIGRATION_H_

#include <array>
#include <atomic>
#include <bit>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <mutex>
#include <span>
#include <vector>

#include "tests/vm_device/shared_file.h"

namespace vm_device {

inline constexpr std::uint64_t kMigrationPage = 4096;

// A bit for each page, taken while the back end sets others.
class MigrationLog {
 public:
  explicit MigrationLog(std::size_t bytes) : file_(bytes) {}

  int fd() const { return file_.fd(); }
  std::size_t bytes() const { return file_.bytes().size(); }
  // Calls take(page) for each page whose bit was set, and clears it.
  template <typename Take>
  void take(Take take) {
    auto* const words = reinterpret_cast<std::uint64_t*>(file_.bytes().data());
    for (std::size_t i = 0; i < bytes() / sizeof *words; ++i) {
      const std::atomic_ref word(words[i]);
      if (word.load(std::memory_order_relaxed) == 0) continue;
      for (std::uint64_t bits = word.exchange(0); bits != 0; bits &= bits - 1) {
        take(i * 64 + static_cast<std::uint64_t>(std::countr_zero(bits)));
      }
    }
  }

 private:
  SharedFile file_;
};

// Guest memory in parts, whose pages are sent to a copy. What the driver writes reaches both at
// once: the two differ in nothing but what the device has written since a page was sent.
//
// Threads:  one driver, one that sends.
class MigratedMemory {
 public:
  struct Part {
    std::uint64_t begin;
    std::uint64_t bytes;
    std::uint64_t file_offset;
  };
  // No part but the first begins at a word of the log.
  static constexpr std::uint64_t kBegin = 0x8000'0000;
  static constexpr std::array<Part, 3> kParts{{
      {kBegin, 2 << 20, 0},
      {kBegin + 0x20'3000, 8 << 20, 2 << 20},
      {kBegin + 0xa0'8000, 1 << 20, 10 << 20},
  }};
  static constexpr std::uint64_t kBytes = 11 << 20;
  static constexpr std::uint64_t kEnd = kParts[2].begin + kParts[2].bytes;

  explicit MigratedMemory(bool sealed) : file_(kBytes, sealed), copy_(kBytes) {}

  int fd() const { return file_.fd(); }

  // The driver's.
  template <typename T>
  T get(std::uint64_t address) const {
    return std::atomic_ref(*at<T>(address)).load(std::memory_order_acquire);
  }
  template <typename T>
  void put(std::uint64_t address, T value) {
    const std::lock_guard lock(mutex_);
    std::atomic_ref(*at<T>(address)).store(value, std::memory_order_release);
    std::memcpy(&copy_[offset_of(address)], &value, sizeof value);
  }
  void put_bytes(std::uint64_t address, std::span<const std::byte> from) {
    const std::lock_guard lock(mutex_);
    std::memcpy(&file_.bytes()[offset_of(address)], from.data(), from.size());
    std::memcpy(&copy_[offset_of(address)], from.data(), from.size());
  }

  // A page by its number, as the log has it. Whether there is such a page.
  bool send(std::uint64_t page) {
    const std::uint64_t address = page * kMigrationPage;
    if (part_of(address) == nullptr) return false;
    send_at(offset_of(address));
    return true;
  }
  void send_all() {
    for (std::uint64_t at = 0; at < kBytes; at += kMigrationPage) send_at(at);
  }
  // The addresses of those that the copy has otherwise.
  // Needs:  no device writes.
  std::vector<std::uint64_t> old_pages() {
    const std::lock_guard lock(mutex_);
    std::vector<std::uint64_t> out;
    for (const Part& part : kParts) {
      for (std::uint64_t at = 0; at < part.bytes; at += kMigrationPage) {
        const std::uint64_t offset = part.file_offset + at;
        if (std::memcmp(&file_.bytes()[offset], &copy_[offset], kMigrationPage) != 0) {
          out.push_back(part.begin + at);
        }
      }
    }
    return out;
  }

 private:
  static const Part* part_of(std::uint64_t address) {
    for (const Part& part : kParts) {
      if (address >= part.begin && address - part.begin < part.bytes) return &part;
    }
    return nullptr;
  }
  static std::uint64_t offset_of(std::uint64_t address) {
    const Part* const part = part_of(address);
    return address - part->begin + part->file_offset;
  }
  template <typename T>
  T* at(std::uint64_t address) const {
    return reinterpret_cast<T*>(&file_.bytes()[offset_of(address)]);
  }
  void send_at(std::uint64_t offset) {
    const std::lock_guard lock(mutex_);
    std::memcpy(&copy_[offset], &file_.bytes()[offset], kMigrationPage);
  }

  SharedFile file_;
  std::mutex mutex_;  // of what the driver writes, and of the copy
  std::vector<std::byte> copy_;
};

}  // namespace vm_device

#endif  // TESTS_VM_DEVICE_VHOST_USER_MIGRATION_H_
