// Restores: from a file, in the page cache or not, to memory that a guest can go on with. All that
// a restore takes is timed: making memory, opening the file, checking it.

#include "bench/vm_mem/snapshot/restore_rows.h"

#include <sys/mman.h>

#include <algorithm>
#include <cstring>
#include <memory>
#include <random>
#include <string>
#include <utility>

#include "bench/harness/machine.h"
#include "bench/harness/process.h"
#include "bench/peers/snapshot_restores.h"
#include "bench/peers/snapshot_saves.h"
#include "bench/vm_mem/snapshot/limits.h"
#include "bench/vm_mem/snapshot/sample_guest.h"
#include "bench/vm_mem/snapshot/scratch_folder.h"
#include "bench/vm_mem/snapshot/turns.h"
#include "vm_mem/snapshot.h"

namespace vm_bench {
namespace {

using vm_mem::DirtyTracking;
using vm_mem::Snapshot;

enum class FileCache : std::uint8_t { kCold, kHot };

// Both sides' files of one guest.
class RestoreFiles {
 public:
  RestoreFiles(std::uint64_t bytes, std::uint64_t seed) : bytes_(bytes) {
    SampleGuest guest({.bytes = bytes, .percent = 25, .cluster_pages = 16}, seed);
    pages_ = guest.pages();
    working_set_ = guest.working_set();
    const auto saved =
        save_snapshot(guest.manager(), snapshot(), {.working_set = addresses_of(working_set_)});
    if (!saved.ok()) give_up(std::string(saved.status().message()));
    save_sparse(guest.memory(), flat());
    std::ranges::shuffle(working_set_, std::mt19937_64(seed));
  }

  std::uint64_t bytes() const { return bytes_; }
  std::string snapshot() const { return folder_.path_of("snapshot"); }
  std::string flat() const { return folder_.path_of("flat"); }

  void prepare(const std::string& path, FileCache cache) const {
    folder_.settle();
    cache == FileCache::kCold ? make_cold(path) : make_hot(path);
    warm_host_memory(bytes_ / 2);
  }
  // As the guest would: a read and a write of each page, in no order.
  void touch_working_set(std::span<std::byte> memory) const { touch(memory, working_set_); }
  void check_all(std::span<std::byte> memory) const { touch(memory, pages_); }

 private:
  static void touch(std::span<std::byte> memory, std::span<const std::uint32_t> pages) {
    for (const std::uint32_t page : pages) {
      std::byte* const at = memory.data() + std::uint64_t{page} * kGuestPage;
      std::uint64_t word = 0;
      std::memcpy(&word, at, sizeof word);
      if (word != first_word_of(page)) give_up("a restored page is not what it was");
      *(at + sizeof word) = std::byte{1};
    }
  }

  std::uint64_t bytes_;
  ScratchFolder folder_;
  std::vector<std::uint32_t> pages_;
  std::vector<std::uint32_t> working_set_;
};

// All of it, checked.
double restore_ours(const RestoreFiles& files, FileCache cache) {
  files.prepare(files.snapshot(), cache);
  std::unique_ptr<vm_mem::MemoryManager> memory;
  const double ns = wall_ns_of([&] {
    memory = make_guest_memory(files.bytes(), DirtyTracking::kOff);
    const auto snapshot = Snapshot::open(files.snapshot());
    if (!snapshot.ok()) give_up(std::string(snapshot.status().message()));
    const absl::Status restored = restore_snapshot(*memory, *snapshot);
    if (!restored.ok()) give_up(std::string(restored.message()));
  });
  files.check_all(host_memory_of(*memory));
  return ns;
}

double restore_sparse_peer(const RestoreFiles& files, FileCache cache) {
  files.prepare(files.flat(), cache);
  std::unique_ptr<PeerMapping> memory;
  const double ns = wall_ns_of([&] {
    memory = std::make_unique<PeerMapping>(files.bytes(), PROT_READ | PROT_WRITE);
    restore_sparse(files.flat(), memory->bytes());
  });
  files.check_all(memory->bytes());
  return ns;
}

// Until the working set has been used.
template <typename Restore>
double use_working_set_of(const RestoreFiles& files, FileCache cache) {
  files.prepare(files.flat(), cache);
  std::unique_ptr<Restore> restore;
  return wall_ns_of([&] {
    restore = std::make_unique<Restore>(files.flat());
    files.touch_working_set(restore->memory());
  });
}

class Restores {
 public:
  const RestoreFiles& files(const Session& session) {
    use_all_cpus();
    if (files_ == nullptr) {
      session.progress("writing the files");
      files_ = std::make_unique<RestoreFiles>(guest_bytes(session), session.seed());
    }
    return *files_;
  }

 private:
  std::unique_ptr<RestoreFiles> files_;
};

}  // namespace

std::vector<Regime> restores(const Session& session) {
  const auto all = std::make_shared<Restores>();
  std::string missing = host_missing(session);
  if (missing.empty() && is_on_tmpfs()) missing = "files of tmpfs are always in memory";
  const auto eager = [all](Session& at) {
    const RestoreFiles& files = all->files(at);
    const Side sides[] = {
        {.name = "ours", .sample = [&] { return restore_ours(files, FileCache::kCold); }},
        {.name = "sparse", .sample = [&] { return restore_sparse_peer(files, FileCache::kCold); }}};
    return beside_the_best(take_turns(sides, rounds_of(at, 5)), "sparse");
  };
  return {{.name = "eager_cold", .measure = eager, .missing = missing}};
}

}  // namespace vm_bench
