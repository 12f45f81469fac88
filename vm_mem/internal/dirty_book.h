// Who harvests dirty pages, and which pages each has still to be told of.
//
// The marks of a region are taken by whoever harvests it, and noted for everybody else.
//   1. Under the mutex the marks are moved into a bitmap.
//   2. The epoch advances.
//   3. A barrier on every thread of the process. A writer stores, then looks whether its
//      page is marked; its CPU may do that in the other order. If it saw a mark that
//      step 1 has cleared, its store is in memory after step 3; if it looks later, it
//      finds no mark and sets one.
//   4. Only then does anybody hear of the pages, and read them.
#ifndef VM_MEM_INTERNAL_DIRTY_BOOK_H_
#define VM_MEM_INTERNAL_DIRTY_BOOK_H_

#include <atomic>
#include <cstdint>
#include <map>
#include <memory>
#include <mutex>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "vm_mem/dirty_pages.h"
#include "vm_mem/internal/process_barrier.h"
#include "vm_mem/internal/region_table.h"

namespace vm_mem::internal {

class DirtyBook {
 public:
  static constexpr std::size_t kMaxClients = 64;

  // `regions` outlives it.
  explicit DirtyBook(const RegionTable& regions,
                     std::span<const BarrierForm> barriers = kBarrierForms)
      : regions_(regions), allowed_barriers_(barriers.begin(), barriers.end()) {}

  // As the calls of MemoryManager that are named alike. On an error `out` is empty.
  absl::StatusOr<DirtyClient> add(std::string_view name, DirtyStart start);
  absl::Status remove(DirtyClient client);
  absl::Status harvest(DirtyClient client, RegionId region, DirtyPages& out);
  absl::Status harvest_all(DirtyClient client, std::vector<DirtyRegion>& out);

  const std::atomic<std::uint64_t>& epoch() const { return epoch_; }

 private:
  // The pages of a region that others have found for a client.
  struct Owed {
    std::vector<std::uint64_t> words;
    bool any = false;
  };
  struct Client {
    std::string name;
    std::map<RegionId, Owed> owed;
  };
  // A region whose marks have been taken.
  struct Taken {
    DirtyLog* log;
    DirtyPages* pages;
  };
  absl::StatusOr<DirtyClient> add_locked(std::string_view name, DirtyStart start);
  absl::Status harvest_locked(DirtyClient client, RegionId region, DirtyPages& out);
  absl::Status harvest_all_locked(DirtyClient client, std::vector<DirtyRegion>& out);

  absl::Status check_new(std::string_view name) const;
  absl::Status make_barrier();
  absl::StatusOr<Client*> find(DirtyClient client);
  absl::StatusOr<TrackedLog> find_tracked(RegionId region) const;
  void forget_all_but(std::span<const TrackedLog> tracked);
  static void owe_all(const TrackedLog& tracked, Client& client);

  // In this order: prepare() may throw, take() cannot. What is found goes to `out`, and is
  // noted for every client but `client`, which may be null.
  void prepare(const Client* client, const TrackedLog& tracked, DirtyPages& out);
  Taken take(Client* client, const TrackedLog& tracked, DirtyPages& out);
  void note_for_others(const Client* client, RegionId region, std::span<const std::uint64_t> found);
  static void hand_over(Owed& owed, const TrackedLog& tracked, DirtyPages& out);
  // Makes what was taken fit to be told. On an error it is marked again, and `taken` empty.
  absl::Status settle(std::span<const Taken> taken);
  static absl::Status find_runs(std::span<const Taken> taken);
  static void give_back(std::span<const Taken> taken);

  const RegionTable& regions_;
  const std::vector<BarrierForm> allowed_barriers_;
  std::atomic<std::uint64_t> epoch_{0};
  std::mutex mutex_;  // of what follows, and of clearing marks
  std::optional<ProcessBarrier> barrier_;
  std::map<DirtyClient, Client> clients_;
  std::uint64_t last_client_ = 0;
  bool cleared_ = false;  // some marks, since the last barrier
};

}  // namespace vm_mem::internal

#endif  // VM_MEM_INTERNAL_DIRTY_BOOK_H_
