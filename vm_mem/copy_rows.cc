#include "vm_mem/copy_rows.h"

#include "vm_mem/internal/copy_kernels.h"
#include "vm_mem/internal/startup.h"

namespace vm_mem {

std::vector<CopyRow> copy_rows() {
  std::vector<CopyRow> rows;
  for (const internal::CopyKernels* row : internal::built_copy_kernels()) {
    rows.push_back({.name = row->isa,
                    .vector_width = row->vector_width,
                    .supported = row->supported(),
                    .copy = row->copy,
                    .copy_words = row->copy_words,
                    .move = row->move,
                    .set = row->set,
                    .compare = row->compare,
                    .equal = row->equal,
                    .is_zero = row->is_zero,
                    .stream = row->stream});
  }
  return rows;
}

RowChoice row_choice() { return internal::startup().choice; }

}  // namespace vm_mem
