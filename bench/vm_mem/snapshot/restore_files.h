// What restores are measured with: a snapshot and a flat file of one guest.
#ifndef BENCH_VM_MEM_SNAPSHOT_RESTORE_FILES_H_
#define BENCH_VM_MEM_SNAPSHOT_RESTORE_FILES_H_

#include <cstddef>
#include <cstdint>
#include <memory>
#include <span>
#include <string>
#include <vector>

#include "bench/harness/suite.h"
#include "bench/peers/snapshot_saves.h"
#include "bench/vm_mem/snapshot/scratch_folder.h"
#include "vm_mem/snapshot.h"

namespace vm_bench {

enum class FileCache : std::uint8_t { kCold, kHot };

// A quarter of the guest is populated, in clusters of 64 KiB; a tenth of that is the working set,
// which the snapshot knows of.
class RestoreFiles {
 public:
  RestoreFiles(std::uint64_t bytes, std::uint64_t seed);

  std::uint64_t bytes() const { return bytes_; }
  std::uint64_t populated_bytes() const { return pages_.size() * kGuestPage; }
  std::uint64_t working_set_bytes() const { return working_set_.size() * kGuestPage; }
  std::string snapshot() const { return folder_.path_of("snapshot"); }
  std::string flat() const { return folder_.path_of("flat"); }
  vm_mem::Snapshot open_snapshot() const;

  // Before `path`, one of them, is restored, which takes up to `memory` bytes of the host.
  void prepare(const std::string& path, FileCache cache, std::uint64_t memory) const;
  // As the guest would: a read and a write of each page, in no order. Ends the program with a
  // line where one is not what it was.
  void touch_working_set(std::span<std::byte> memory) const { touch(memory, working_set_); }
  void touch_all(std::span<std::byte> memory) const { touch(memory, pages_); }

 private:
  static void touch(std::span<std::byte> memory, std::span<const std::uint32_t> pages);

  std::uint64_t bytes_;
  ScratchFolder folder_;
  std::vector<std::uint32_t> pages_;
  std::vector<std::uint32_t> working_set_;
};

// Written when the first row asks for them.
class SharedRestoreFiles {
 public:
  const RestoreFiles& get(const Session& session);

 private:
  std::unique_ptr<RestoreFiles> files_;
};

}  // namespace vm_bench

#endif  // BENCH_VM_MEM_SNAPSHOT_RESTORE_FILES_H_
