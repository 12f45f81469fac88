// Saves: from memory to a file that is on the disk, checksums included.

#include "bench/vm_mem/snapshot/save_rows.h"

#include <fcntl.h>
#include <fmt/core.h>
#include <sys/mman.h>

#include <algorithm>
#include <functional>
#include <memory>
#include <optional>
#include <random>
#include <string>
#include <utility>

#include "bench/harness/machine.h"
#include "bench/harness/process.h"
#include "bench/peers/peer_file.h"
#include "bench/peers/snapshot_restores.h"
#include "bench/peers/snapshot_saves.h"
#include "bench/vm_mem/snapshot/limits.h"
#include "bench/vm_mem/snapshot/sample_guest.h"
#include "bench/vm_mem/snapshot/scratch_folder.h"
#include "bench/vm_mem/snapshot/turns.h"
#include "vm_mem/snapshot.h"
#include "vm_mem/snapshot_series.h"

namespace vm_bench {
namespace {

using vm_mem::Snapshot;
using vm_mem::SnapshotSaved;

constexpr const char* kFirecracker = "firecracker";
constexpr const char* kMappedRam = "mapped-ram";

template <typename Result>
void require_ok(const Result& result) {
  if constexpr (requires { result.message(); }) {
    if (!result.ok()) give_up(std::string(result.message()));
  } else {
    if (!result.ok()) give_up(std::string(result.status().message()));
  }
}

void check_snapshot(const SampleGuest& guest, const std::string& path) {
  const auto snapshot = Snapshot::open(path);
  require_ok(snapshot);
  const auto restored = make_guest_memory(guest.shape().bytes, vm_mem::DirtyTracking::kOff);
  require_ok(restore_snapshot(*restored, *snapshot));
  guest.check(host_memory_of(*restored), path);
}

void check_flat(const SampleGuest& guest, const std::string& path, std::uint64_t offset) {
  const PeerFile file(path, O_RDONLY);
  const PeerMapping mapping(file.bytes(), PROT_READ, &file);
  guest.check(mapping.bytes().subspan(offset), path);
}

// One way to save all of a guest.
struct FullSave {
  std::string name;
  std::string peer;         // whose way it is
  bool uses_cache = false;  // the page cache: memory that the host has to have
  bool writes_all = false;  // not only what is populated
  std::function<void(SampleGuest&, const std::string& path)> save;
  std::function<void(const SampleGuest&, const std::string& path)> check;
};

FullSave ours() {
  return {.name = "ours",
          .peer = "",
          .save = [](SampleGuest& guest,
                     const std::string& path) { require_ok(save_snapshot(guest.manager(), path)); },
          .check = check_snapshot};
}

FullSave firecracker() {
  return {
      .name = kFirecracker,
      .peer = kFirecracker,
      .uses_cache = true,
      .writes_all = true,
      .save = [](SampleGuest& guest, const std::string& path) { save_whole(guest.memory(), path); },
      .check = [](const SampleGuest& guest,
                  const std::string& path) { check_flat(guest, path, 0); }};
}

FullSave mapped_ram(std::string name, MappedRamWrites writes) {
  return {
      .name = std::move(name),
      .peer = kMappedRam,
      .uses_cache = writes != MappedRamWrites::kRunsDirect,
      .save = [writes](SampleGuest& guest,
                       const std::string& path) { save_mapped_ram(guest.memory(), path, writes); },
      .check = [](const SampleGuest& guest,
                  const std::string& path) { check_flat(guest, path, kMappedRamOffset); }};
}

// Measured once for all rows that are of it.
class FullSaves {
 public:
  FullSaves(GuestShape shape, std::size_t usual_rounds, std::vector<FullSave> ways)
      : shape_(shape), usual_rounds_(usual_rounds), ways_(std::move(ways)) {}

  Ratio beside(const std::string& peer, const Session& session) {
    if (turns_.empty()) measure(session);
    return beside_the_best(of_two(turns_, peer), peer);
  }

 private:
  void measure(const Session& session) {
    use_all_cpus();
    const ScratchFolder folder;
    SampleGuest guest(shape_, session.seed());
    std::vector<Side> sides;
    for (const FullSave& way : ways_) {
      sides.push_back(
          {.name = way.name, .peer = way.peer, .sample = [&, checked = false]() mutable {
             session.progress(way.name);
             const double ns = save(way, guest, folder);
             if (!std::exchange(checked, true)) {
               way.check(guest, folder.path_of(kFile));
             }
             folder.remove(kFile);
             return ns;
           }});
    }
    turns_ = take_turns(sides, rounds_of(session, usual_rounds_));
  }

  static double save(const FullSave& way, SampleGuest& guest, const ScratchFolder& folder) {
    guest.forget_reads();
    folder.settle();
    const GuestShape& shape = guest.shape();
    if (way.uses_cache) {
      warm_host_memory(way.writes_all ? shape.bytes : shape.bytes / 100 * shape.percent);
    }
    const std::string path = folder.path_of(kFile);
    return wall_ns_of([&] { way.save(guest, path); });
  }

  static constexpr const char* kFile = "guest";

  GuestShape shape_;
  std::size_t usual_rounds_;
  std::vector<FullSave> ways_;
  std::vector<Turns> turns_;
};

// A guest that writes to the same pages between two saves.
class PartSaves {
 public:
  PartSaves(const GuestShape& shape, std::uint64_t seed)
      : guest_(shape, seed, vm_mem::DirtyTracking::kOn),
        dirty_bits_(shape.bytes / kGuestPage / 64) {
    const std::uint64_t pages = shape.bytes / kGuestPage;
    std::mt19937_64 random(seed + 1);
    for (std::uint64_t i = 0; i < pages / 100; ++i) {
      const std::uint64_t page = random() % pages;
      dirty_bits_[page / 64] |= std::uint64_t{1} << page % 64;
      dirty_.push_back(page);
    }
    auto series = vm_mem::SnapshotSeries::begin(guest_.manager(), "bench");
    require_ok(series);
    series_.emplace(*std::move(series));
  }

  double ours() {
    // A chain has an end.
    if (saved_ % 16 == 0) require_ok(series_->save_full(folder_.path_of("full")));
    write_pages();
    prepare();
    const std::string path = folder_.path_of(fmt::format("part.{}", saved_++));
    const double ns = wall_ns_of([&] { require_ok(series_->save_incremental(path)); });
    if (saved_ == 1) check_snapshot(guest_, path);
    return ns;
  }

  double peer() {
    prepare();
    const std::string path = folder_.path_of("diff");
    const double ns = wall_ns_of([&] { save_dirty_runs(guest_.memory(), dirty_bits_, path); });
    check_diff(path);
    folder_.remove("diff");
    return ns;
  }

 private:
  void write_pages() {
    ++value_;
    for (const std::uint64_t page : dirty_) {
      const vm_mem::GuestAddress at{page * kGuestPage + 8};
      if (!guest_.manager().store(at, value_).ok()) give_up("a store failed");
    }
  }
  void prepare() const {
    folder_.settle();
    warm_host_memory(guest_.shape().bytes / 16);
  }
  void check_diff(const std::string& path) const {
    const PeerFile file(path, O_RDONLY);
    const PeerMapping mapping(file.bytes(), PROT_READ, &file);
    for (const std::uint64_t page : dirty_) {
      const auto same = std::ranges::equal(mapping.bytes().subspan(page * kGuestPage, kGuestPage),
                                           guest_.memory().subspan(page * kGuestPage, kGuestPage));
      if (!same) give_up(fmt::format("{}: page {} is not what it was", path, page));
    }
  }

  ScratchFolder folder_;
  SampleGuest guest_;
  std::vector<std::uint64_t> dirty_;
  std::vector<std::uint64_t> dirty_bits_;
  std::optional<vm_mem::SnapshotSeries> series_;
  std::size_t saved_ = 0;
  std::uint64_t value_ = 0;
};

Ratio measure_parts(const Session& session) {
  use_all_cpus();
  PartSaves saves({.bytes = guest_bytes(session), .percent = 25, .cluster_pages = 16},
                  session.seed());
  const Side sides[] = {
      {.name = "ours", .peer = "", .sample = [&] { return saves.ours(); }},
      {.name = kFirecracker, .peer = kFirecracker, .sample = [&] { return saves.peer(); }}};
  return beside_the_best(take_turns(sides, rounds_of(session, 9)), kFirecracker);
}

}  // namespace

std::vector<Regime> saves(const Session& session) {
  const std::string missing = host_missing(session);
  const std::uint64_t bytes = guest_bytes(session);
  std::vector<FullSave> without_whole = {ours(), mapped_ram("pages", MappedRamWrites::kPages),
                                         mapped_ram("runs", MappedRamWrites::kRuns)};
  if (takes_direct(scratch_place())) {
    without_whole.push_back(mapped_ram("runs O_DIRECT", MappedRamWrites::kRunsDirect));
  }
  std::vector<FullSave> all = without_whole;
  all.push_back(firecracker());
  const auto quarter = std::make_shared<FullSaves>(
      GuestShape{.bytes = bytes, .percent = 25, .cluster_pages = 16}, 3, all);
  // A sparse file of isolated pages takes some file systems minutes to remove.
  const std::uint64_t few_bytes = std::min(bytes, std::uint64_t{64} << 20);
  const auto isolated = std::make_shared<FullSaves>(
      GuestShape{.bytes = few_bytes, .percent = 25, .cluster_pages = 1}, 3, without_whole);
  const auto whole =
      std::make_shared<FullSaves>(GuestShape{.bytes = bytes, .percent = 100}, 3, without_whole);
  const auto row = [&](std::string name, std::shared_ptr<FullSaves> of, std::string peer) {
    return Regime{.name = std::move(name),
                  .measure = [of, peer](Session& at) { return of->beside(peer, at); },
                  .missing = missing};
  };
  return {row("save25_firecracker", quarter, kFirecracker),
          row("save25_mapped_ram", quarter, kMappedRam),
          row("save25_isolated_mapped_ram", isolated, kMappedRam),
          row("save100_mapped_ram", whole, kMappedRam),
          {.name = "diff1_firecracker", .measure = measure_parts, .missing = missing}};
}

}  // namespace vm_bench
