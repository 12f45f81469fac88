// Which threads are in DMA behind an IOMMU, and since when: so that what they may still
// use is known.
#ifndef VM_DEVICE_INTERNAL_IOMMU_EPOCHS_H_
#define VM_DEVICE_INTERNAL_IOMMU_EPOCHS_H_

#include <array>
#include <atomic>
#include <cstddef>
#include <cstdint>
#include <map>
#include <memory>
#include <mutex>
#include <vector>

#include "vm_device/internal/iotlb.h"

namespace vm_device::internal {

class IommuDomain;

// What one thread keeps for one IOMMU. Only that thread uses it, but for active.
struct IommuThread {
  // Domains of whose IOTLB a thread keeps one each: a thread that serves devices of more
  // of them starts anew when it changes.
  static constexpr std::size_t kTlbs = 4;

  std::atomic<std::uint64_t> active{0};  // the epoch in which its DMA began; 0: in none
  int depth = 0;                         // DMA in an MmioHandler that DMA has reached
  // By address alone: whose the entries are, they say themselves.
  const IommuDomain* recent_domain = nullptr;
  Iotlb* recent_tlb = nullptr;
  std::array<Iotlb, kTlbs> tlbs;
};

// Epochs advance when something was unlinked. A thread announces the epoch that it has
// seen, then looks into the tables; who unlinks does so, advances the epoch, puts a barrier
// on every thread, and then looks at what is announced. So one of the two sees the other:
// who is announced with an older epoch may use what was unlinked, nobody else. Where the
// host has no such barrier, the announcement is one itself.
class IommuEpochs {
 public:
  // kNone: as on a host that has no barrier.
  enum class Barrier : std::uint8_t { kOfTheHost, kNone };

  explicit IommuEpochs(Barrier barrier = Barrier::kOfTheHost);
  IommuEpochs(const IommuEpochs&) = delete;
  IommuEpochs& operator=(const IommuEpochs&) = delete;
  ~IommuEpochs();

  // The calling thread's own; null where the host has no memory left for it, or the thread
  // is ending and has given up what it had.
  IommuThread* thread() {
    IommuThread* const known = known_thread();
    return known != nullptr ? known : find_thread();
  }
  // The same where this thread was in DMA of this IOMMU last, else null.
  IommuThread* known_thread() const {
    const Recent& recent = recent_;
    if (recent.epochs != serial_) [[unlikely]]
      return nullptr;
    if (recent.thread == nullptr) __builtin_unreachable();
    return recent.thread;
  }

  void enter(IommuThread& thread) {
    if (thread.depth++ == 0) announce(thread);
  }
  static void leave(IommuThread& thread) {
    if (--thread.depth == 0) withdraw(thread);
  }
  // As these two, for DMA that reaches no device. Needs:  a thread that is not in DMA.
  void announce(IommuThread& thread) {
    // Acquires what was unlinked before the epoch: who announces it does not find that.
    const std::uint64_t epoch = epoch_.load(std::memory_order_acquire);
    if (barrier_offered_) [[likely]] {
      thread.active.store(epoch, std::memory_order_relaxed);
      std::atomic_signal_fence(std::memory_order_seq_cst);
    } else {
      thread.active.store(epoch);
      epoch_.load();  // whoever did not see the store is seen by this
    }
  }
  static void withdraw(IommuThread& thread) { thread.active.store(0, std::memory_order_release); }

  // Beyond the call that made it: a mapping that is held. 0: the host has no memory left.
  // Needs:  the thread is in DMA.
  std::uint64_t hold(const IommuThread& thread);
  void release(std::uint64_t epoch);

  // What was unlinked before this call is out of use once oldest() is not less than the
  // value returned.
  std::uint64_t advance() { return epoch_.fetch_add(1) + 1; }
  // Of all threads that are in DMA; UINT64_MAX where none is, 0 where that cannot be known.
  // Held mappings do not count: they look into no table.
  std::uint64_t oldest();

  // When it returns, every thread that is in DMA since before what was unlinked is
  // announced. False: the host refuses it by now.
  [[nodiscard]] bool settle();

  struct Users {
    std::uint64_t threads = 0;
    std::uint64_t mappings = 0;
  };
  // Those that began before `epoch`, and maybe, without settle() since then, not all.
  Users users_before(std::uint64_t epoch);
  // So far; each interrupts every CPU that runs a thread of this process.
  std::uint64_t barriers() const { return barriers_.load(std::memory_order_relaxed); }

 private:
  struct Recent {
    std::uint64_t epochs;
    IommuThread* thread;
  };
  struct Owned;

  IommuThread* find_thread();
  IommuThread* add_thread();

  [[gnu::tls_model("initial-exec")]] static constinit thread_local Recent recent_;
  static constinit thread_local bool ending_;  // owned_ is gone
  static thread_local Owned owned_;

  const std::uint64_t serial_;  // of this object, in this process
  const bool barrier_offered_;  // by the host, and wanted
  std::atomic<std::uint64_t> epoch_{1};
  std::atomic<std::uint64_t> barriers_{0};
  std::mutex mutex_;  // of what follows
  std::vector<std::shared_ptr<IommuThread>> threads_;
  std::map<std::uint64_t, std::uint64_t> holds_;  // count by epoch
};

}  // namespace vm_device::internal

#endif  // VM_DEVICE_INTERNAL_IOMMU_EPOCHS_H_
