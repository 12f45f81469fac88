#include "bench/peers/vm_memory.h"

#include <cstdio>
#include <cstdlib>

// vm_memory/src/lib.rs.
extern "C" {
void* vm_bench_memory_create(const vm_bench::PeerRange* ranges, std::size_t count, bool tracked);
void vm_bench_memory_destroy(void* memory);
std::uint64_t vm_bench_memory_read_obj(const void* memory, const std::uint64_t* addresses,
                                       std::size_t count, std::uint64_t* sum);
std::uint64_t vm_bench_memory_load(const void* memory, const std::uint64_t* addresses,
                                   std::size_t count, std::uint64_t* sum);
std::uint64_t vm_bench_memory_write_obj(const void* memory, const std::uint64_t* addresses,
                                        std::size_t count, std::uint64_t first);
std::uint64_t vm_bench_memory_store(const void* memory, const std::uint64_t* addresses,
                                    std::size_t count, std::uint64_t first);
std::uint64_t vm_bench_memory_read_block(const void* memory, const std::uint64_t* addresses,
                                         std::size_t count, std::byte* host, std::size_t bytes);
std::uint64_t vm_bench_memory_write_block(const void* memory, const std::uint64_t* addresses,
                                          std::size_t count, const std::byte* host,
                                          std::size_t bytes);
std::uint64_t vm_bench_memory_read_lists(const void* memory, const vm_bench::PeerRange* segments,
                                         std::size_t count, std::size_t list_length,
                                         std::byte* host, std::size_t bytes);
std::uint64_t vm_bench_memory_write_lists(const void* memory, const vm_bench::PeerRange* segments,
                                          std::size_t count, std::size_t list_length,
                                          const std::byte* host, std::size_t bytes);
void* vm_bench_bitmap_create(std::size_t pages);
void vm_bench_bitmap_destroy(void* bitmap);
void vm_bench_bitmap_mark(const void* bitmap, const std::uint64_t* offsets, std::size_t count,
                          std::size_t bytes);
std::uint64_t vm_bench_bitmap_harvest(const void* bitmap, std::uint64_t* pages);
std::uint64_t vm_bench_bitmap_harvest_by_page(const void* bitmap, std::uint64_t* pages);
}

namespace vm_bench {
namespace {

void require_none(std::uint64_t failed, const char* what) {
  if (failed == 0) return;
  std::fprintf(stderr, "vm-memory failed %llu times to %s\n",
               static_cast<unsigned long long>(failed), what);
  std::exit(1);
}

}  // namespace

std::string_view vm_memory_missing() { return {}; }

VmMemory::VmMemory(std::span<const PeerRange> ranges, Tracked tracked)
    : memory_(vm_bench_memory_create(ranges.data(), ranges.size(), tracked == Tracked::kYes)) {
  require_none(memory_ == nullptr ? 1 : 0, "map its memory");
}

void VmMemory::Destroy::operator()(void* memory) const { vm_bench_memory_destroy(memory); }

std::uint64_t VmMemory::read_obj(std::span<const std::uint64_t> addresses) const {
  std::uint64_t sum = 0;
  require_none(vm_bench_memory_read_obj(memory_.get(), addresses.data(), addresses.size(), &sum),
               "read");
  return sum;
}

std::uint64_t VmMemory::load(std::span<const std::uint64_t> addresses) const {
  std::uint64_t sum = 0;
  require_none(vm_bench_memory_load(memory_.get(), addresses.data(), addresses.size(), &sum),
               "load");
  return sum;
}

void VmMemory::write_obj(std::span<const std::uint64_t> addresses, std::uint64_t first) const {
  require_none(vm_bench_memory_write_obj(memory_.get(), addresses.data(), addresses.size(), first),
               "write");
}

void VmMemory::store(std::span<const std::uint64_t> addresses, std::uint64_t first) const {
  require_none(vm_bench_memory_store(memory_.get(), addresses.data(), addresses.size(), first),
               "store");
}

void VmMemory::read_block(std::span<const std::uint64_t> addresses, std::span<std::byte> to) const {
  require_none(vm_bench_memory_read_block(memory_.get(), addresses.data(), addresses.size(),
                                          to.data(), to.size()),
               "read a block");
}

void VmMemory::write_block(std::span<const std::uint64_t> addresses,
                           std::span<const std::byte> from) const {
  require_none(vm_bench_memory_write_block(memory_.get(), addresses.data(), addresses.size(),
                                           from.data(), from.size()),
               "write a block");
}

void VmMemory::read_lists(std::span<const PeerRange> segments, std::size_t list_length,
                          std::span<std::byte> to) const {
  require_none(vm_bench_memory_read_lists(memory_.get(), segments.data(), segments.size(),
                                          list_length, to.data(), to.size()),
               "read a segment");
}

void VmMemory::write_lists(std::span<const PeerRange> segments, std::size_t list_length,
                           std::span<const std::byte> from) const {
  require_none(vm_bench_memory_write_lists(memory_.get(), segments.data(), segments.size(),
                                           list_length, from.data(), from.size()),
               "write a segment");
}

VmMemoryBitmap::VmMemoryBitmap(std::size_t pages) : bitmap_(vm_bench_bitmap_create(pages)) {}

void VmMemoryBitmap::Destroy::operator()(void* bitmap) const { vm_bench_bitmap_destroy(bitmap); }

void VmMemoryBitmap::mark(std::span<const std::uint64_t> offsets, std::size_t bytes) const {
  vm_bench_bitmap_mark(bitmap_.get(), offsets.data(), offsets.size(), bytes);
}

VmMemoryBitmap::Harvest VmMemoryBitmap::harvest() const {
  Harvest harvest;
  harvest.runs = vm_bench_bitmap_harvest(bitmap_.get(), &harvest.pages);
  return harvest;
}

VmMemoryBitmap::Harvest VmMemoryBitmap::harvest_by_page() const {
  Harvest harvest;
  harvest.runs = vm_bench_bitmap_harvest_by_page(bitmap_.get(), &harvest.pages);
  return harvest;
}

}  // namespace vm_bench
