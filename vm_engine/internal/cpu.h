// A vCPU: the public block, and behind it the library's own state.
#ifndef VM_ENGINE_INTERNAL_CPU_H_
#define VM_ENGINE_INTERNAL_CPU_H_

#include <array>
#include <atomic>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <optional>

#include "vm_engine/internal/closing.h"
#include "vm_engine/internal/cpu_list.h"
#include "vm_engine/internal/exclusive_line.h"
#include "vm_engine/internal/guest_memory.h"
#include "vm_engine/internal/open_pages.h"
#include "vm_engine/internal/tlb_mode.h"
#include "vm_engine/vm_engine.h"

struct vme_engine {
  static constexpr std::uint32_t kMagic = 0x454d5601;

  std::uint32_t magic = kMagic;
  vm_mem::MemoryManager* manager = nullptr;  // null: `ops` serve the memory
  vme_memory_ops ops{};
  void* memory_opaque = nullptr;
  vme_translate_fn translate = nullptr;
  void* translate_opaque = nullptr;

  // Faults until a site of emitted code is hot; 0: never.
  std::atomic<std::uint32_t> hot_at_devices{1};
  std::atomic<std::uint32_t> hot_elsewhere{16};
  // Sites that became hot and were not told of.
  std::atomic<std::uint64_t> untold_hot_sites{0};

  vm_engine::internal::CpuList cpus;
  vm_engine::internal::PageCloser page_closer{cpus};  // a watcher of `manager`
};

namespace vm_engine::internal {

class ArenaViews;

// As far as the block shows.
inline bool is_engine(const vme_engine* engine) {
  return engine != nullptr && engine->magic == vme_engine::kMagic;
}

// One operand of an access, for the fault record.
struct Subject {
  std::uint32_t access = VME_ACCESS_READ;
  std::uint8_t side = VME_SIDE_SOURCE;
  std::uint64_t gva = 0;  // the access or element
  std::uint64_t bytes = 0;
};

// In a fault record: there is none.
inline constexpr std::uint64_t kNoAddress = ~std::uint64_t{0};

// Where a guest virtual address leads.
struct Place {
  vme_rc rc = VME_OK;
  std::uint64_t gpa = kNoAddress;
  PageKind kind = PageKind::kPlain;
};

class Cpu : public vme_cpu {
 public:
  Cpu(vme_engine& engine, std::unique_ptr<GuestMemory> memory);
  ~Cpu();
  Cpu(const Cpu&) = delete;
  Cpu& operator=(const Cpu&) = delete;

  // Null for what is not a vCPU of this library, as far as the public block shows.
  static Cpu* from(vme_cpu* cpu) { return is_cpu(cpu) ? static_cast<Cpu*>(cpu) : nullptr; }
  static bool is_cpu(const vme_cpu* cpu) { return cpu != nullptr && cpu->reserved == kMagic; }

  // Does what other threads have asked, and empties the TLB where the memory map has changed
  // or dirty pages were harvested. Every way in calls it, and those calls that may have run a
  // device's code call it on the way out.
  void sync();
  // Inside a transfer (from a device, say) it is done when that ends.
  void park();
  void flush();
  void flush_page(std::uint64_t gva);
  void flush_range(std::uint64_t gva, std::uint64_t bytes);

  // Translates the page of `gva` for one VME_ACCESS_* bit, from the TLB if it can,
  // and enters the answer there.
  Place resolve(std::uint64_t gva, std::uint32_t access, unsigned mode);

  // The host pointer of `gva`, which resolve() has just answered; null without one.
  std::byte* host_pointer(std::uint64_t gva, unsigned mode);

  // Whether sync() has anything to do.
  bool is_current() const {
    return attention_.load(std::memory_order_acquire) == 0 && !memory_->stale();
  }

  // While one of these exists, the TLB is in use.
  class Use {
   public:
    explicit Use(Cpu& cpu) : cpu_(cpu) { ++cpu_.uses_; }
    Use(const Use&) = delete;
    Use& operator=(const Use&) = delete;
    ~Use() {
      if (--cpu_.uses_ == 0 && cpu_.park_wanted_) cpu_.park();
    }

   private:
    Cpu& cpu_;
  };

  // The embedder's wish; the bits that are the library's do not count.
  bool exit_requested() const {
    constexpr std::uint32_t kOurs = VME_EXIT_FLUSH | VME_EXIT_CODE;
    return (__atomic_load_n(&exit_request, __ATOMIC_RELAXED) & ~kOurs) != 0;
  }
  // No page that somebody watches stays open for direct stores.
  void close_guarded_pages();
  const OpenPages& open_pages() const { return open_pages_; }

  ExclusiveLine& exclusive_line() { return exclusive_line_; }

  // The guest physical address of code at `gva`, by the TLB alone.
  std::optional<std::uint64_t> executable_gpa(std::uint64_t gva) const;
  // Whether stores to the page of `gva`, which resolve() has just answered for writing, are
  // to be told of.
  bool is_told_of(std::uint64_t gva, unsigned mode) {
    return (modes_[mode].entry_of(gva).write & kSlowComparator) != 0;
  }
  const TlbDetail& detail_of(std::uint64_t gva, unsigned mode) const {
    return modes_[mode].detail_of(gva);
  }

  // What the flags of a bulk helper mean for an access within one page of each operand, in
  // plain memory: worked out once, and found by the flags.
  struct alignas(64) Plan {
    std::uint32_t flags = ~std::uint32_t{0};
    std::uint64_t most_bytes = 0;  // 0: such an access takes more than ordinary copies
    std::uint64_t element_mask = 0;
    const vme_tlb_entry* source = nullptr;
    const vme_tlb_entry* destination = nullptr;
  };
  // One for each helper, beside those of other element sizes, so that the size finds it.
  struct Plans {
    std::array<Plan, 4> of;
  };
  enum class Helper : std::uint8_t { kCopy, kFill, kRead, kWrite };
  // The latest plan for flags of that element size; it may be that of other flags. kDirect: for
  // a TLB in which all memory is direct, so that nobody has to look; where it is not there is
  // none.
  enum class Looks : std::uint8_t { kDirect, kEach };
  template <Helper kHelper, Looks kLooks = Looks::kDirect>
  [[gnu::always_inline]] inline const Plan& plan_of(std::uint32_t flags) const {
    static_assert(sizeof(Plans) == 1 << VME_ELEM_SHIFT);
    const std::uint64_t place = flags & (3u << VME_ELEM_SHIFT);
    const auto* const plans = reinterpret_cast<const Plans*>(
        reinterpret_cast<const std::byte*>(&plans_[static_cast<std::size_t>(kLooks)]) + place);
    return plans->of[static_cast<std::size_t>(kHelper)];
  }
  void make_plan(Helper helper, std::uint32_t flags);
  bool has_indirect() const { return has_indirect_; }

  // Bytes of one page that ordinary accesses of the host may reach.
  struct Reach {
    std::byte* host;
    const TlbDetail* detail;
  };
  // Whether [gva, gva + bytes) lies in one page that `comparator` of a mode's table has, and
  // what is there; whether it is direct has to be looked at, where has_indirect().
  // Needs:  is_current(); 0 < bytes <= kPageBytes.
  [[gnu::always_inline]] static inline bool find(const vme_tlb_entry* table, std::uint64_t gva,
                                                 std::uint64_t bytes,
                                                 std::uint64_t vme_tlb_entry::*comparator,
                                                 Reach& reach) {
    const vme_tlb_entry& entry = TlbMode::entry_in(table, gva);
    reach = {reinterpret_cast<std::byte*>(gva + entry.addend), &TlbMode::detail_in(table, gva)};
    return entry.*comparator == ((gva + bytes - 1) & kPageMask);
  }

  // Memory of the host that [gva, gva + bytes) is, in one piece and direct, or null. The
  // latest piece that was found for reading and for writing is kept beside the TLB, which
  // long runs would only empty. Nothing is marked. A fault is not recorded.
  // Cost:  a translation for each page that the kept piece does not have.
  struct Piece {
    std::uint64_t gva = 0;
    std::uint64_t bytes = 0;
    unsigned mode = 0;
    std::byte* host = nullptr;  // of gva
    vm_mem::DirtyLog* dirty_log = nullptr;
    std::uint64_t region_offset = 0;

    bool holds(std::uint64_t at, std::uint64_t n, unsigned its_mode) const {
      return its_mode == mode && at - gva < bytes && n <= bytes - (at - gva);
    }
  };
  const Piece* piece(std::uint64_t gva, std::uint64_t bytes, std::uint32_t access, unsigned mode);

  // As find(), the page entered into the TLB if it has to be, and direct. A fault is not recorded.
  bool enter(std::uint64_t gva, std::uint64_t bytes, std::uint32_t access, unsigned mode,
             Reach& reach);

  // Records a fault at `at`, the first byte of `subject` that is out of reach.
  vme_rc fail(vme_rc rc, const Subject& subject, std::uint64_t at, std::uint64_t gpa);

  vme_engine& engine() const { return engine_; }
  // Where emitted code reaches memory directly; null: nowhere. It outlives the attachment.
  ArenaViews* arena() const { return arena_; }
  void set_arena(ArenaViews* arena);

  GuestMemory& memory() const { return *memory_; }
  std::span<std::byte> bounce() { return bounce_; }

 private:
  friend class CpuList;
  static constexpr std::uint32_t kMagic = 0x55504302;
  static constexpr std::uint32_t kParked = 1;
  static constexpr std::uint32_t kCalled = 2;

  // All with the list's lock held.
  bool is_parked() const { return (attention_.load(std::memory_order_relaxed) & kParked) != 0; }
  bool is_called() const { return (attention_.load(std::memory_order_relaxed) & kCalled) != 0; }
  void call_in();
  void answer();
  void set_parked() { attention_.store(kParked, std::memory_order_relaxed); }

  static std::uint64_t& comparator(vme_tlb_entry& entry, std::uint32_t access);
  vme_rc translate(std::uint64_t gva, std::uint32_t access, unsigned mode, std::uint64_t& gpa_page,
                   std::uint32_t& permitted) const;
  void install(std::uint64_t gva, unsigned mode, std::uint64_t gpa_page, const Page& page,
               std::uint32_t permitted);

  Piece find_piece(std::uint64_t gva, std::uint64_t bytes, std::uint32_t access, unsigned mode);
  vme_rc gpa_of(std::uint64_t page, std::uint32_t access, unsigned mode, std::uint64_t& gpa_page);
  void forget_pieces() { pieces_ = {}; }
  Plan plan_for(std::uint32_t flags) const;

  vme_engine& engine_;
  ArenaViews* arena_ = nullptr;
  std::unique_ptr<GuestMemory> memory_;
  std::atomic<std::uint32_t> attention_{kParked};
  unsigned uses_ = 0;
  bool park_wanted_ = false;
  Cpu* next_ = nullptr;  // in the engine's list
  CpuMailbox mailbox_;
  std::array<std::array<Plans, 4>, 2> plans_;  // of each Looks
  std::array<Piece, 3> pieces_;                // by the access: a right to one is none to another
  bool has_indirect_ = false;  // some page that was entered was memory, but not direct
  std::array<TlbMode, VME_MMU_MODES> modes_;
  std::array<std::byte, 2 * kPageBytes> bounce_;
  OpenPages open_pages_;
  ExclusiveLine exclusive_line_;
};

}  // namespace vm_engine::internal

#endif  // VM_ENGINE_INTERNAL_CPU_H_
