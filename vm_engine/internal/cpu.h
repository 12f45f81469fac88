// A vCPU: the public block, and behind it the library's own state.
#ifndef VM_ENGINE_INTERNAL_CPU_H_
#define VM_ENGINE_INTERNAL_CPU_H_

#include <array>
#include <atomic>
#include <cstddef>
#include <cstdint>
#include <memory>

#include "vm_engine/internal/guest_memory.h"
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

// Where a guest virtual address leads.
struct Place {
  vme_rc rc = VME_OK;
  std::uint64_t gpa = ~std::uint64_t{0};
  PageKind kind = PageKind::kPlain;
};

class Cpu : public vme_cpu {
 public:
  Cpu(const vme_engine& engine, std::unique_ptr<GuestMemory> memory);
  ~Cpu();
  Cpu(const Cpu&) = delete;
  Cpu& operator=(const Cpu&) = delete;

  // Null for what is not a vCPU of this library, as far as the public block shows.
  static Cpu* from(vme_cpu* cpu);

  // Empties the TLB where the memory map has changed, or dirty pages were harvested. Every
  // way in calls it, and those calls that may have run a device's code call it on the way
  // out.
  void sync();
  void park();
  void flush();
  void flush_page(std::uint64_t gva);
  void flush_range(std::uint64_t gva, std::uint64_t bytes);

  // Translates the page of `gva` for one VME_ACCESS_* bit, from the TLB if it can,
  // and enters the answer there.
  Place resolve(std::uint64_t gva, std::uint32_t access, unsigned mode);

  // The host pointer of `gva`, which resolve() has just answered; null without one.
  std::byte* host_pointer(std::uint64_t gva, unsigned mode);

  // The host pointer of the word at `gva` where an ordinary load or store may reach it there,
  // entered into the TLB if it has to be. Null where that takes more, a fault included.
  std::byte* direct_word(std::uint64_t gva, unsigned bytes, std::uint32_t access, unsigned mode);
  // After a store through direct_word().
  void mark_word(std::uint64_t gva, unsigned mode);

  // Records a fault at `at`, the first byte of `subject` that is out of reach.
  vme_rc fail(vme_rc rc, const Subject& subject, std::uint64_t at, std::uint64_t gpa);

  const vme_engine& engine() const { return engine_; }
  // Where emitted code reaches memory directly; null: nowhere. It outlives the attachment.
  ArenaViews* arena() const { return arena_; }
  void set_arena(ArenaViews* arena);

  GuestMemory& memory() { return *memory_; }
  std::span<std::byte> bounce() { return bounce_; }

 private:
  static constexpr std::uint32_t kMagic = 0x55504302;

  static std::uint64_t& comparator(vme_tlb_entry& entry, std::uint32_t access);
  vme_rc translate(std::uint64_t gva, std::uint32_t access, unsigned mode, std::uint64_t& gpa_page,
                   std::uint32_t& permitted) const;
  void install(std::uint64_t gva, unsigned mode, std::uint64_t gpa_page, const Page& page,
               std::uint32_t permitted);

  const vme_engine& engine_;
  ArenaViews* arena_ = nullptr;
  std::unique_ptr<GuestMemory> memory_;
  std::array<TlbMode, VME_MMU_MODES> modes_;
  std::array<std::byte, 2 * kPageBytes> bounce_;
};

}  // namespace vm_engine::internal

#endif  // VM_ENGINE_INTERNAL_CPU_H_
