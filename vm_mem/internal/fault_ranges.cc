#include "vm_mem/internal/fault_ranges.h"

#include <linux/futex.h>
#include <signal.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <array>
#include <atomic>
#include <cerrno>
#include <mutex>

#include "absl/strings/str_format.h"
#include "vm_mem/internal/signals_blocked.h"

namespace vm_mem::internal {
namespace {

// `begin` is written last and cleared first; a handler reads it again after the rest.
struct Slot {
  std::atomic<std::uintptr_t> begin{0};  // 0: free
  std::atomic<std::uintptr_t> end{0};
  std::atomic<std::size_t> page_bytes{0};
  std::atomic<int> protection{PROT_NONE};
  std::atomic<bool> suspended{false};
  std::atomic<bool> busy{false};  // one thread is mapping a page of it
};

struct Page {
  std::uintptr_t begin;
  std::size_t bytes;
  int protection;
};

constinit std::array<Slot, kMostFaultRanges> slots;
constinit std::atomic<std::size_t> used_slots{0};  // no slot at or above it was ever used
std::mutex change_mutex;

int host_protection(Protection protection) {
  switch (protection) {
    case Protection::kNone: return PROT_NONE;
    case Protection::kRead: return PROT_READ;
    case Protection::kReadWrite: break;
  }
  return PROT_READ | PROT_WRITE;
}

std::uintptr_t address_of(std::span<std::byte> memory) {
  return reinterpret_cast<std::uintptr_t>(memory.data());
}

// Under change_mutex. Null: all are taken.
Slot* free_slot() {
  for (std::size_t i = 0; i < slots.size(); ++i) {
    if (slots[i].begin.load(std::memory_order_relaxed) != 0) continue;
    if (i >= used_slots.load(std::memory_order_relaxed)) used_slots.store(i + 1);
    return &slots[i];
  }
  return nullptr;
}

// Under change_mutex. Null: it is not registered.
Slot* slot_of(std::span<std::byte> memory) {
  for (Slot& slot : slots) {
    if (slot.begin.load(std::memory_order_relaxed) == address_of(memory)) return &slot;
  }
  return nullptr;
}

// The page of `slot` that `address` lies in; it never reaches beyond the range.
bool find_page(const Slot& slot, std::uintptr_t address, Page& page) {
  const std::uintptr_t begin = slot.begin.load(std::memory_order_acquire);
  const std::uintptr_t end = slot.end.load(std::memory_order_acquire);
  page.bytes = slot.page_bytes.load(std::memory_order_acquire);
  page.protection = slot.protection.load(std::memory_order_acquire);
  if (begin == 0 || slot.begin.load(std::memory_order_relaxed) != begin) return false;
  if (address < begin || address >= end) return false;
  if (slot.suspended.load(std::memory_order_acquire)) return false;
  page.begin = begin + (address - begin) / page.bytes * page.bytes;
  return true;
}

// Asks it to set no bit of a word, atomically.
// Source:  futex(2), FUTEX_WAKE_OP.
bool is_writable(std::uintptr_t address) {
  constexpr std::uint32_t kSetNoBit = FUTEX_OP(FUTEX_OP_OR, 0, FUTEX_OP_CMP_EQ, 0);
  std::uint32_t nobody_waits = 0;
  const long result = syscall(SYS_futex, &nobody_waits, FUTEX_WAKE_OP | FUTEX_PRIVATE_FLAG, 0, 0L,
                              address, kSetNoBit);
  return !(result == -1 && errno == EFAULT);
}

// Past the C library, whose mmap a sanitizer may have replaced.
bool map_zeros(const Page& page) {
  const long result = syscall(SYS_mmap, page.begin, page.bytes, page.protection,
                              MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED | MAP_NORESERVE, -1, 0);
  return result != -1;
}

// What can be read has content that zeros must not replace: either a page that another
// thread has mapped meanwhile, or one that the host does not let be written.
bool provide(const Page& page) {
  if (!is_readable(page.begin)) return map_zeros(page);
  return (page.protection & PROT_WRITE) == 0 || is_writable(page.begin);
}

// An embedder's handler may be one that signals interrupt. Whoever did, and touched the
// same slot, would retry for ever: the turn that it waits for is beneath it.
bool provide_page_of(Slot& slot, const Page& page) {
  const SignalsBlocked blocked;
  if (slot.busy.exchange(true, std::memory_order_acquire)) return true;  // retry: it takes turns
  const bool provided = provide(page);
  slot.busy.store(false, std::memory_order_release);
  return provided;
}

}  // namespace

// Asks the kernel to read 8 bytes: it answers where an access would raise a signal.
// Source:  rt_sigprocmask(2): EINVAL for `how`, found after the set was read.
bool is_readable(std::uintptr_t address) {
  constexpr long kNoSuchHow = 0x7fff;
  const long result = syscall(SYS_rt_sigprocmask, kNoSuchHow, address, nullptr, std::size_t{8});
  return !(result == -1 && errno == EFAULT);
}

absl::Status register_fault_range(std::span<std::byte> memory, std::size_t page_bytes,
                                  Protection protection) {
  const std::uintptr_t begin = address_of(memory);
  const auto host_page = static_cast<std::size_t>(sysconf(_SC_PAGESIZE));
  if (memory.empty() || page_bytes == 0 || page_bytes % host_page != 0 || begin % page_bytes != 0 ||
      memory.size() % page_bytes != 0) {
    return absl::InvalidArgumentError(
        absl::StrFormat("0x%x bytes at 0x%x are not whole pages of 0x%x: zero pages need those",
                        memory.size(), begin, page_bytes));
  }
  const std::lock_guard lock(change_mutex);
  Slot* slot = free_slot();
  if (slot == nullptr) {
    return absl::ResourceExhaustedError(absl::StrFormat(
        "%d regions have zero pages on host faults: there can be no more", kMostFaultRanges));
  }
  slot->end.store(begin + memory.size(), std::memory_order_relaxed);
  slot->page_bytes.store(page_bytes, std::memory_order_relaxed);
  slot->protection.store(host_protection(protection), std::memory_order_relaxed);
  slot->suspended.store(false, std::memory_order_relaxed);
  slot->begin.store(begin, std::memory_order_release);
  return absl::OkStatus();
}

void unregister_fault_range(std::span<std::byte> memory) {
  const std::lock_guard lock(change_mutex);
  Slot* const slot = slot_of(memory);
  if (slot != nullptr) slot->begin.store(0, std::memory_order_release);
}

void suspend_fault_range(std::span<std::byte> memory, bool suspended) {
  const std::lock_guard lock(change_mutex);
  Slot* const slot = slot_of(memory);
  if (slot != nullptr) slot->suspended.store(suspended, std::memory_order_release);
}

bool map_zero_page(std::uintptr_t address) {
  const std::size_t count = used_slots.load(std::memory_order_acquire);
  for (std::size_t i = 0; i < count; ++i) {
    Page page{};
    if (find_page(slots[i], address, page)) return provide_page_of(slots[i], page);
  }
  return false;
}

}  // namespace vm_mem::internal
