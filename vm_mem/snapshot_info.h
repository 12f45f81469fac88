// What a snapshot file says of itself, and what saving and restoring have in common.
#ifndef VM_MEM_SNAPSHOT_INFO_H_
#define VM_MEM_SNAPSHOT_INFO_H_

#include <array>
#include <compare>
#include <cstddef>
#include <cstdint>
#include <functional>
#include <string>
#include <vector>

#include "vm_mem/guest_address.h"

namespace vm_mem {

// A UUID that every snapshot gets when it is saved.
struct SnapshotId {
  std::array<std::byte, 16> bytes{};

  // Errors:  std::bad_alloc alone; without random numbers of the host's the clock serves.
  static SnapshotId make();

  bool is_zero() const { return *this == SnapshotId{}; }
  // Such as "f81d4fae-7dec-41d0-a765-00a0c91e6bf6".
  std::string text() const;

  friend auto operator<=>(const SnapshotId&, const SnapshotId&) = default;
};

// A state of the embedder's, of a device or a vCPU, that goes along with the memory and means
// nothing to this library.
struct DeviceState {
  std::string id;  // 1 to 64 bytes, of which no two states have the same
  std::uint32_t version = 0;
  std::vector<std::byte> bytes = {};
};

// A DeviceState without its bytes.
struct DeviceStateInfo {
  std::string id;
  std::uint32_t version = 0;
  std::uint64_t bytes = 0;
};

// The feature words of a file: see docs/snapshot_format.md.
struct SnapshotFeatures {
  std::uint64_t incompatible = 0;          // a reader has to know
  std::uint64_t read_only_compatible = 0;  // a writer has to know
  std::uint64_t compatible = 0;
};

struct SnapshotInfo {
  SnapshotId id;
  SnapshotId parent;                     // zero: none
  std::string parent_name = {};          // of its file, without a folder
  std::uint32_t depth = 0;               // how many parents are below
  std::int64_t created = 0;              // seconds since 1970, by the clock of the host that saved
  std::vector<GuestRange> regions = {};  // ascending
  std::uint64_t guest_pages = 0;         // of all regions
  std::uint64_t data_pages = 0;          // in this file
  std::uint64_t zero_pages = 0;          // that this file names: zero since the parent
  std::uint64_t extents = 0;
  std::uint64_t working_set_pages = 0;
  std::uint64_t stored_pages = 0;  // what the data pages take; fewer where they are compressed
  std::uint64_t file_bytes = 0;
  std::uint16_t format_major = 0;
  std::uint16_t format_minor = 0;
  SnapshotFeatures features = {};
  std::vector<DeviceStateInfo> states = {};
};

// What a progress callback answers.
enum class SnapshotStep : std::uint8_t { kContinue, kCancel };

// Units:  bytes of guest memory; of a save of those that are looked at.
// Called on the calling thread, the last time with done == total. kCancel makes the call
// fail with kCancelled. Must not throw.
using SnapshotProgress =
    std::function<SnapshotStep(std::uint64_t done_bytes, std::uint64_t total_bytes)>;

// Of data pages, 64 KiB at a time; what does not get smaller is stored as it is. Each needs its
// library when this one is built, to write and to read.
enum class SnapshotCompression : std::uint8_t {
  kNone,  // the fastest save
  kLz4,   // half the bytes of usual memory: a restore from the disk is quicker
  kZstd,  // a third of them, for files that are kept: both ways are slower
};

// How bytes get to a file and back. Each falls back to those after it where the host, or
// the file system, does not have it.
enum class SnapshotIo : std::uint8_t {
  kRing,      // io_uring, past the page cache; reads: where that does not have the file
  kThreads,   // pread(2) and pwrite(2) of two threads, past the page cache
  kBuffered,  // the same through the page cache
};

}  // namespace vm_mem

#endif  // VM_MEM_SNAPSHOT_INFO_H_
