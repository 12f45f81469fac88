// The MemoryReaders of a manager: it takes their indexes away when the map changes, and
// adds up what they have counted.
#ifndef VM_MEM_INTERNAL_READER_LIST_H_
#define VM_MEM_INTERNAL_READER_LIST_H_

#include <mutex>
#include <vector>

#include "vm_mem/statistics.h"

namespace vm_mem {
class MemoryReader;
}

namespace vm_mem::internal {

class ReaderList {
 public:
  void add(MemoryReader* reader);
  // What it has counted stays.
  void remove(MemoryReader* reader);

  // Makes each renew its map before its next access.
  //
  // Needs:  the new map and its generation are published.
  void invalidate();

  void add_counts_to(Statistics& sum) const;

 private:
  static void add_counts(const MemoryReader& reader, Statistics& sum);

  mutable std::mutex mutex_;
  std::vector<MemoryReader*> readers_;
  Statistics departed_;
};

}  // namespace vm_mem::internal

#endif  // VM_MEM_INTERNAL_READER_LIST_H_
