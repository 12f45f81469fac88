#include "vm_mem/dirty_pages.h"

#include <bit>

#include "vm_mem/internal/dirty_kernels.h"

namespace vm_mem {

void DirtyPages::reserve(std::size_t word_count, std::uint64_t page_count) {
  words_.resize(word_count);
  const std::size_t room = internal::most_runs(page_count, word_count);
  if (room <= run_room_) return;
  runs_ = std::make_unique_for_overwrite<DirtyRun[]>(room);
  run_room_ = room;
}

void DirtyPages::find_runs(const internal::DirtyKernels& kernels) {
  run_count_ = page_count_ == 0 ? 0 : kernels.runs(words_.data(), words_.size(), runs_.get());
}

}  // namespace vm_mem
