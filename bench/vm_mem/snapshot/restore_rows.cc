// Eager restores: from a file that is not in the page cache to memory that a guest can go on with.
// All that it takes is timed: making memory, opening the file, checking it.

#include "bench/vm_mem/snapshot/restore_rows.h"

#include <sys/mman.h>

#include <string>
#include <utility>

#include "bench/harness/process.h"
#include "bench/peers/snapshot_restores.h"
#include "bench/vm_mem/snapshot/limits.h"
#include "bench/vm_mem/snapshot/sample_guest.h"
#include "bench/vm_mem/snapshot/turns.h"

namespace vm_bench {
namespace {

constexpr const char* kSparse = "sparse";

double restore_checked(const RestoreFiles& files) {
  files.prepare(files.snapshot(), FileCache::kCold, files.populated_bytes());
  std::unique_ptr<vm_mem::MemoryManager> memory;
  const double ns = wall_ns_of([&] {
    memory = make_guest_memory(files.bytes(), vm_mem::DirtyTracking::kOff);
    const absl::Status restored = restore_snapshot(*memory, files.open_snapshot());
    if (!restored.ok()) give_up(std::string(restored.message()));
  });
  files.touch_all(host_memory_of(*memory));
  return ns;
}

double restore_unchecked(const RestoreFiles& files) {
  files.prepare(files.flat(), FileCache::kCold, 2 * files.populated_bytes());  // and the page cache
  std::unique_ptr<PeerMapping> memory;
  const double ns = wall_ns_of([&] {
    memory = std::make_unique<PeerMapping>(files.bytes(), PROT_READ | PROT_WRITE);
    restore_sparse(files.flat(), memory->bytes());
  });
  files.touch_all(memory->bytes());
  return ns;
}

}  // namespace

Regime eager_restore(std::shared_ptr<SharedRestoreFiles> files, const Session& session) {
  std::string missing = host_missing(session);
  if (missing.empty()) missing = cold_files_missing();
  return {.name = "eager_cold",
          .measure =
              [files = std::move(files)](Session& at) {
                const RestoreFiles& both = files->get(at);
                const Side sides[] = {
                    {.name = "ours", .peer = "", .sample = [&] { return restore_checked(both); }},
                    {.name = kSparse, .peer = kSparse, .sample = [&] {
                       return restore_unchecked(both);
                     }}};
                return beside_the_best(take_turns(sides, rounds_of(at, 3)), kSparse);
              },
          .missing = missing};
}

}  // namespace vm_bench
