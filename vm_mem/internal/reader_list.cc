#include "vm_mem/internal/reader_list.h"

#include <cstddef>

#include "vm_mem/memory_reader.h"

namespace vm_mem::internal {

void ReaderList::add(MemoryReader* reader) {
  const std::lock_guard lock(mutex_);
  readers_.push_back(reader);
}

void ReaderList::remove(MemoryReader* reader) {
  const std::lock_guard lock(mutex_);
  add_counts(*reader, departed_);
  std::erase(readers_, reader);
}

void ReaderList::invalidate() {
  const std::lock_guard lock(mutex_);
  for (MemoryReader* reader : readers_) {
    reader->index_.store(&GranuleTable::nowhere());
    reader->changes_.fetch_add(1);
  }
}

void ReaderList::add_counts_to(Statistics& sum) const {
  const std::lock_guard lock(mutex_);
  for (std::size_t route = 0; route < kRouteCount; ++route) {
    for (std::size_t path = 0; path < kCopyPathCount; ++path) {
      sum.counts[route][path].operations += departed_.counts[route][path].operations;
      sum.counts[route][path].bytes += departed_.counts[route][path].bytes;
    }
  }
  for (const MemoryReader* reader : readers_) add_counts(*reader, sum);
}

void ReaderList::add_counts(const MemoryReader& reader, Statistics& sum) {
  for (std::size_t path = 0; path < kCopyPathCount; ++path) {
    const MemoryReader::Count& own = reader.counts_[path];
    PathCount& count = sum.counts[static_cast<std::size_t>(reader.route_)][path];
    count.operations += own.operations.load(std::memory_order_relaxed);
    count.bytes += own.bytes.load(std::memory_order_relaxed);
  }
}

}  // namespace vm_mem::internal
