// What a vCPU's exclusive monitor holds: a line, for as long as it is of use, and the word
// that was loaded from it, until the store-conditional.
#ifndef VM_ENGINE_INTERNAL_EXCLUSIVE_LINE_H_
#define VM_ENGINE_INTERNAL_EXCLUSIVE_LINE_H_

#include <cstddef>
#include <cstdint>
#include <optional>
#include <utility>

#include "vm_engine/vm_engine.h"
#include "vm_mem/dirty_log.h"

namespace vm_engine::internal {

class Cpu;

class ExclusiveLine {
 public:
  struct Word {
    std::byte* host = nullptr;
    std::uint64_t bytes = 0;
    std::uint64_t value = 0;
  };

  ExclusiveLine() = default;
  ExclusiveLine(const ExclusiveLine&) = delete;
  ExclusiveLine& operator=(const ExclusiveLine&) = delete;
  ~ExclusiveLine() { drop(); }

  // Reserves the line of `offset` in the region of `log`, which may be null or one that
  // nobody can watch: then there is no line, and the value alone decides. Before the word
  // is loaded.
  // Errors:  VME_INTR, VME_EBUSY (Closing); there is no line then.
  vme_rc take(Cpu& cpu, vm_mem::DirtyLog* log, std::uint64_t offset);
  // Whether it holds what take() was asked for, the absence of a line too.
  bool holds(const vm_mem::DirtyLog* log, std::uint64_t offset) const {
    if (log == nullptr || !log->is_watchable()) return log_ == nullptr;
    return log_ == log &&
           reservation_.offset == offset / vm_mem::kReservedLineBytes * vm_mem::kReservedLineBytes;
  }
  // Calls `store`, which returns whether it stored, where the line is unbroken. To be marked.
  template <typename Store>
  bool store_if_intact(Store store) {
    return log_ == nullptr ? store() : log_->store_if_intact(reservation_, store);
  }
  // Needs:  the log is still there.
  void drop();

  void remember_word(const Word& word) { word_ = word; }
  std::optional<Word> forget_word() { return std::exchange(word_, std::nullopt); }

 private:
  void reserve(vm_mem::DirtyLog& log, std::uint64_t offset);

  vm_mem::DirtyLog* log_ = nullptr;  // null: no line
  vm_mem::LineReservation reservation_;
  std::optional<Word> word_;
};

}  // namespace vm_engine::internal

#endif  // VM_ENGINE_INTERNAL_EXCLUSIVE_LINE_H_
