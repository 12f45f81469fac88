// Watches the guest memory that one translator's blocks are made from.
#ifndef VM_ENGINE_INTERNAL_CODE_GUARD_H_
#define VM_ENGINE_INTERNAL_CODE_GUARD_H_

#include <array>
#include <atomic>
#include <cstdint>
#include <mutex>
#include <span>

#include "vm_engine/internal/cpu.h"
#include "vm_engine/internal/hot_pages.h"
#include "vm_engine/translation.h"
#include "vm_mem/code_watch.h"

namespace vm_engine::internal {

// A translation that is to grow: what it will be, and what of that nobody watches for it.
class Extension {
 public:
  explicit Extension(const vme_translation& translation) : longer_(translation) {}

  // False: it is in too many pieces.
  bool add(const vm_mem::CodeRange& piece);
  // Of what is watched for it the first counts.
  void set_stamp(vm_mem::CodeStamp stamp) {
    if (first_) longer_.stamp = stamp.value;
  }

  std::span<const vm_mem::CodeRange> fresh() const { return std::span(fresh_).first(fresh_count_); }
  const vme_translation& longer() const { return longer_; }

 private:
  void add_fresh(const vm_mem::CodeRange& piece);

  vme_translation longer_;
  const bool first_ = longer_.n == 0;
  // One for each range, of the one that goes on too.
  std::array<vm_mem::CodeRange, VME_TC_RANGES> fresh_;
  std::size_t fresh_count_ = 0;
};

}  // namespace vm_engine::internal

struct vme_tc : vm_mem::CodeWatcher {
 public:
  vme_tc(vme_engine& engine, vme_tc_fn fn, void* opaque)
      : engine_(engine), fn_(fn), opaque_(opaque) {}
  vme_tc(const vme_tc&) = delete;
  vme_tc& operator=(const vme_tc&) = delete;

  vme_engine& engine() { return engine_; }
  vm_engine::internal::HotPages& hot_pages() { return hot_; }

  // Watches [gpa, gpa + bytes) and adds it to the translation; all or nothing.
  vme_rc extend(vme_cpu* self, std::uint64_t gpa, std::uint64_t bytes,
                vme_translation& translation);
  void release(vme_translation& translation);
  bool is_clean(const vme_translation& translation) const;

  void code_written(std::span<const vm_mem::CodeWrite> writes) noexcept override;

 private:
  static constexpr int kMostTries = 100;

  vme_rc watch(vme_cpu* self, vm_engine::internal::Extension& extension);
  void tell(std::span<const vm_mem::CodeWrite> writes, vme_cpu* by);

  vme_engine& engine_;
  const vme_tc_fn fn_;
  void* const opaque_;
  vm_engine::internal::HotPages hot_;
};

namespace vm_engine::internal {

// Where a guest physical address lies.
struct Located {
  vme_rc rc = VME_OK;
  vm_mem::CodeRange piece;  // from there to the end of the section, a device's too
};
Located locate(const vm_mem::MemoryMap& map, std::uint64_t gpa);

// Whether the block that `cpu` says it runs was made from bytes of `write`.
bool runs_what_was_written(Cpu& cpu, vm_mem::MemoryManager& manager,
                           const vm_mem::CodeWrite& write);

}  // namespace vm_engine::internal

#endif  // VM_ENGINE_INTERNAL_CODE_GUARD_H_
