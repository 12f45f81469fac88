#include "bench/vm_mem/snapshot/restore_files.h"

#include <algorithm>
#include <cstring>
#include <random>
#include <utility>

#include "bench/harness/machine.h"
#include "bench/harness/process.h"
#include "bench/vm_mem/snapshot/limits.h"
#include "bench/vm_mem/snapshot/sample_guest.h"

namespace vm_bench {

RestoreFiles::RestoreFiles(std::uint64_t bytes, std::uint64_t seed) : bytes_(bytes) {
  SampleGuest guest({.bytes = bytes, .percent = 25, .cluster_pages = 16}, seed);
  pages_ = guest.pages();
  working_set_ = guest.working_set();
  const auto saved =
      save_snapshot(guest.manager(), snapshot(), {.working_set = addresses_of(working_set_)});
  if (!saved.ok()) give_up(std::string(saved.status().message()));
  save_sparse(guest.memory(), flat());
  std::ranges::shuffle(working_set_, std::mt19937_64(seed));
}

vm_mem::Snapshot RestoreFiles::open_snapshot() const {
  auto opened = vm_mem::Snapshot::open(snapshot());
  if (!opened.ok()) give_up(std::string(opened.status().message()));
  return *std::move(opened);
}

void RestoreFiles::prepare(const std::string& path, FileCache cache, std::uint64_t memory) const {
  folder_.settle();
  cache == FileCache::kCold ? make_cold(path) : make_hot(path);
  warm_host_memory(memory);
}

void RestoreFiles::touch(std::span<std::byte> memory, std::span<const std::uint32_t> pages) {
  for (const std::uint32_t page : pages) {
    std::byte* const at = memory.data() + std::uint64_t{page} * kGuestPage;
    std::uint64_t word = 0;
    std::memcpy(&word, at, sizeof word);
    if (word != first_word_of(page)) give_up("a restored page is not what it was");
    *(at + sizeof word) = std::byte{1};
  }
}

const RestoreFiles& SharedRestoreFiles::get(const Session& session) {
  use_all_cpus();
  if (files_ == nullptr) {
    session.progress("writing the files to restore");
    files_ = std::make_unique<RestoreFiles>(guest_bytes(session), session.seed());
  }
  return *files_;
}

}  // namespace vm_bench
