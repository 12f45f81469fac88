#include "vm_mem/internal/lazy_signals.h"

#include <sched.h>
#include <signal.h>
#include <unistd.h>

#include <array>
#include <atomic>
#include <cstdint>
#include <mutex>

#include "absl/strings/str_format.h"
#include "vm_mem/host_fault.h"
#include "vm_mem/internal/fault_ranges.h"
#include "vm_mem/internal/first_fault_source.h"
#include "vm_mem/internal/lazy_pages.h"

namespace vm_mem::internal {
namespace {

// `pages` is taken away before users are waited for; a handler counts itself before it looks.
// The range of one that is over stays until the slot is needed for another.
struct Slot {
  std::atomic<std::uintptr_t> begin{0};  // 0: never used, or being changed
  std::atomic<std::uintptr_t> end{0};
  std::atomic<LazyPages*> pages{nullptr};
  std::atomic<std::uint32_t> users{0};
};

constinit std::array<Slot, kMostLazyRanges> slots;
constinit std::atomic<std::size_t> used_slots{0};  // no slot at or above it was ever used
constinit std::atomic<std::uint64_t> rounds{0};    // of additions
std::mutex change_mutex;
std::size_t next_slot = 0;  // where the search for a free one begins

std::uintptr_t address_of(std::span<std::byte> memory) {
  return reinterpret_cast<std::uintptr_t>(memory.data());
}

struct Retry {
  std::uintptr_t address = 0;
  std::uint64_t round = 0;
};
// Initial-exec: one load, also in a signal handler.
thread_local constinit Retry last_retry [[gnu::tls_model("initial-exec")]];

// A fault of memory that is ordinary by now, raised before that. Raised once more it is
// another one: a page that can be read, and not written, where the disk is full.
bool try_once_more(std::uintptr_t address) {
  const std::uint64_t round = rounds.load();
  if (last_retry.address == address && last_retry.round == round) return false;
  if (!is_readable(address / kSnapshotPageBytes * kSnapshotPageBytes)) return false;
  last_retry = {.address = address, .round = round};
  return true;
}

bool recover_in(Slot& slot, std::uintptr_t address, bool& is_over) {
  slot.users.fetch_add(1);
  LazyPages* const pages = slot.pages.load();
  const bool brings = pages != nullptr && pages->is_bringing();
  const bool recovered = brings && pages->fault(address);
  slot.users.fetch_sub(1);
  is_over = is_over || !brings;
  return recovered;
}

// In a child of fork() the memory is not there, and faults of it are other ones: SIGSEGV.
class LazyFaultSource final : public HostFaultSource {
 public:
  bool recover(HostFault& fault) noexcept override {
    const siginfo_t& information = fault.information();
    if (information.si_signo != SIGBUS || information.si_code != BUS_ADRERR) return false;
    const std::uintptr_t address = fault.address();
    const std::size_t count = used_slots.load(std::memory_order_acquire);
    bool is_over = false;
    for (std::size_t i = 0; i < count; ++i) {
      const std::uintptr_t begin = slots[i].begin.load(std::memory_order_acquire);
      if (begin == 0 || address < begin || address >= slots[i].end.load()) continue;
      // What is being restored now comes before what was at the same place.
      if (recover_in(slots[i], address, is_over)) return true;
    }
    return is_over && try_once_more(address);
  }
};

LazyFaultSource fault_source;

// Under change_mutex. One that was in use before comes the later the shorter that is ago.
Slot* free_slot() {
  for (std::size_t tried = 0; tried < slots.size(); ++tried) {
    const std::size_t i = (next_slot + tried) % slots.size();
    if (slots[i].pages.load() != nullptr) continue;
    next_slot = i + 1;
    if (i >= used_slots.load()) used_slots.store(i + 1);
    return &slots[i];
  }
  return nullptr;
}

}  // namespace

absl::Status add_lazy_range(std::span<std::byte> memory, LazyPages* pages) {
  const std::lock_guard lock(change_mutex);
  set_first_fault_source(&fault_source);
  Slot* const slot = free_slot();
  if (slot == nullptr) {
    return absl::ResourceExhaustedError(
        absl::StrFormat("%d regions are restored lazily: there can be no more", kMostLazyRanges));
  }
  rounds.fetch_add(1);
  slot->begin.store(0);
  slot->end.store(address_of(memory) + memory.size());
  slot->pages.store(pages);
  slot->begin.store(address_of(memory), std::memory_order_release);
  return absl::OkStatus();
}

void remove_lazy_range(std::span<std::byte> memory, const LazyPages* pages) {
  const std::lock_guard lock(change_mutex);
  for (Slot& slot : slots) {
    if (slot.begin.load() != address_of(memory) || slot.pages.load() != pages) continue;
    slot.pages.store(nullptr);
    while (slot.users.load() != 0) ::sched_yield();
  }
}

}  // namespace vm_mem::internal
