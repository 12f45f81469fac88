// Lazy restores, from the first call to the last page of the working set: what a user waits for.
// All that it takes is timed: making memory, opening the file, checking what is read of it.

#include "bench/vm_mem/snapshot/working_set_rows.h"

#include <string>
#include <utility>

#include "bench/harness/process.h"
#include "bench/peers/snapshot_restores.h"
#include "bench/vm_mem/snapshot/limits.h"
#include "bench/vm_mem/snapshot/sample_guest.h"
#include "bench/vm_mem/snapshot/turns.h"
#include "vm_mem/lazy_restore.h"

namespace vm_bench {
namespace {

constexpr const char* kPrivate = "MAP_PRIVATE";
constexpr const char* kHandler = "uffd-4k";

// The working set lies first in the file, and is there when start() returns; the rest comes
// meanwhile.
double use_ours(const RestoreFiles& files, FileCache cache) {
  files.prepare(files.snapshot(), cache, 2 * files.working_set_bytes());
  std::unique_ptr<vm_mem::MemoryManager> memory;
  std::unique_ptr<vm_mem::LazyRestore> lazy;
  return wall_ns_of([&] {
    memory = make_guest_memory(files.bytes(), vm_mem::DirtyTracking::kOff);
    auto started = vm_mem::LazyRestore::start(*memory, files.open_snapshot());
    if (!started.ok()) give_up(std::string(started.status().message()));
    lazy = *std::move(started);
    files.touch_working_set(host_memory_of(*memory));
  });
}

template <typename Restore>
double use_peer(const RestoreFiles& files, FileCache cache) {
  const bool cold = cache == FileCache::kCold;  // the page cache takes most of it then
  files.prepare(files.flat(), cache,
                2 * files.working_set_bytes() + (cold ? files.populated_bytes() : 0));
  std::unique_ptr<Restore> restore;
  return wall_ns_of([&] {
    restore = std::make_unique<Restore>(files.flat());
    files.touch_working_set(restore->memory());
  });
}

std::vector<Side> sides_of(const RestoreFiles& files, FileCache cache) {
  std::vector<Side> sides = {
      {.name = "ours", .peer = "", .sample = [&files, cache] { return use_ours(files, cache); }},
      {.name = kPrivate, .peer = kPrivate, .sample = [&files, cache] {
         return use_peer<PrivateRestore>(files, cache);
       }}};
  if (cache == FileCache::kCold) {
    sides.push_back({.name = kHandler, .peer = kHandler, .sample = [&files, cache] {
                       return use_peer<HandlerRestore>(files, cache);
                     }});
  }
  return sides;
}

// Measured once for all rows that are of it.
class WorkingSets {
 public:
  WorkingSets(std::shared_ptr<SharedRestoreFiles> files, FileCache cache)
      : files_(std::move(files)), cache_(cache) {}

  Ratio beside(const char* peer, const Session& session) {
    if (turns_.empty()) {
      turns_ = take_turns(sides_of(files_->get(session), cache_), rounds_of(session, 5));
    }
    return beside_the_best(of_two(turns_, peer), peer);
  }

 private:
  std::shared_ptr<SharedRestoreFiles> files_;
  FileCache cache_;
  std::vector<Turns> turns_;
};

}  // namespace

std::vector<Regime> working_sets(const std::shared_ptr<SharedRestoreFiles>& files,
                                 const Session& session) {
  const std::string missing = host_missing(session);
  const std::string no_faults = userfaultfd_missing();
  const auto row = [&](std::string name, std::shared_ptr<WorkingSets> of, const char* peer,
                       const std::string& no_file) {
    std::string lacks = missing;
    for (const std::string& other : {no_file, no_faults}) {
      if (lacks.empty()) lacks = other;
    }
    return Regime{.name = std::move(name),
                  .measure = [of, peer](Session& at) { return of->beside(peer, at); },
                  .missing = lacks};
  };
  const auto cold = std::make_shared<WorkingSets>(files, FileCache::kCold);
  const auto hot = std::make_shared<WorkingSets>(files, FileCache::kHot);
  return {row("ws_cold_private", cold, kPrivate, cold_files_missing()),
          row("ws_cold_uffd4k", cold, kHandler, cold_files_missing()),
          row("ws_hot_private", hot, kPrivate, "")};
}

}  // namespace vm_bench
