// What a vCPU sees below its translation: guest physical memory, by pages and in
// runs that stay within one.
#ifndef VM_ENGINE_INTERNAL_GUEST_MEMORY_H_
#define VM_ENGINE_INTERNAL_GUEST_MEMORY_H_

#include <atomic>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <span>

#include "vm_engine/vm_engine.h"
#include "vm_mem/dirty_log.h"
#include "vm_mem/memory_reader.h"

namespace vm_engine::internal {

inline constexpr std::uint64_t kPageBytes = std::uint64_t{1} << VME_PAGE_BITS;
inline constexpr std::uint64_t kPageMask = ~(kPageBytes - 1);
inline constexpr std::uint64_t kStoredOnce = 16;  // in one copy, no byte of them twice

enum class PageKind : std::uint8_t { kPlain, kDevice };

struct Page {
  vme_rc rc = VME_OK;
  PageKind kind = PageKind::kPlain;
  std::byte* host = nullptr;              // null: reachable through calls alone
  vm_mem::DirtyLog* dirty_log = nullptr;  // null: writes are not tracked
  std::uint64_t region_offset = 0;        // of the page, for the dirty log
  bool recoverable = false;               // the host may fail to provide it
  std::uint64_t bytes = kPageBytes;       // from its beginning on, of all of which this holds
};

// How far a run got. `done` counts from its start; `rc` is VME_OK where that is all.
struct Outcome {
  std::uint64_t done = 0;
  vme_rc rc = VME_OK;
  std::uint8_t side = VME_SIDE_SOURCE;
};

// For one vCPU, on its thread. Host pointers that page() gave stay good until
// renew() or park().
class GuestMemory {
 public:
  virtual ~GuestMemory() = default;

  // True where the map has changed, or dirty pages were harvested, since the last renew():
  // forget what page() said, then renew.
  bool stale() const { return map_.has_changed() || harvests_.has_changed(); }
  virtual void renew() = 0;
  virtual void park() = 0;

  // Whether the answer of page() holds for all of its bytes. Where it does not, a run
  // may stop at any byte.
  virtual bool faults_by_page() const = 0;

  // Needs:  `gpa` at the start of a page; `access` one VME_ACCESS_* bit.
  virtual Page page(std::uint64_t gpa, std::uint32_t access) = 0;

  // Needs, all of them:  every range within one page.
  virtual Outcome read(std::uint64_t gpa, std::span<std::byte> to) = 0;
  virtual Outcome write(std::uint64_t gpa, std::span<const std::byte> from) = 0;
  // Where the source stops inside a unit, nothing of that unit is written.
  virtual Outcome copy(std::uint64_t to, std::uint64_t from, std::uint64_t bytes,
                       std::uint64_t unit) = 0;
  virtual Outcome fill(std::uint64_t gpa, std::byte value, std::uint64_t bytes) = 0;

  // One element of 1, 2, 4 or 8 bytes in plain memory, single-copy atomic where naturally
  // aligned: a load acquires, a store releases.
  virtual Outcome load(std::uint64_t gpa, std::span<std::byte> to) = 0;
  virtual Outcome store(std::uint64_t gpa, std::span<const std::byte> from) = 0;

  // For the statistics: `bytes` that were copied by host pointers.
  void count_copy(std::uint64_t bytes) {
    if (counter_ != nullptr) counter_->count_copy(bytes);
  }

 protected:
  // A number of the memory's, and what it was when this was renewed.
  struct Watched {
    const std::atomic<std::uint64_t>* word;
    std::uint64_t seen;
    bool has_changed() const { return word->load(std::memory_order_acquire) != seen; }
  };
  static inline constinit std::atomic<std::uint64_t> never_changes{0};

  Watched map_{&never_changes, 0};
  Watched harvests_{&never_changes, 0};
  vm_mem::MemoryReader* counter_ = nullptr;
};

// Null where the host has no memory for it.
std::unique_ptr<GuestMemory> make_managed_memory(vm_mem::MemoryManager& manager);
std::unique_ptr<GuestMemory> make_callback_memory(const vme_memory_ops& ops, void* opaque);

}  // namespace vm_engine::internal

#endif  // VM_ENGINE_INTERNAL_GUEST_MEMORY_H_
