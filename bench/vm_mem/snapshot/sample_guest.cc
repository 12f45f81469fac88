#include "bench/vm_mem/snapshot/sample_guest.h"

#include <fmt/core.h>
#include <sys/mman.h>

#include <algorithm>
#include <cstring>
#include <utility>

#include "bench/harness/process.h"
#include "bench/peers/snapshot_saves.h"

namespace vm_bench {
namespace {

using vm_mem::GuestAddress;

// xorshift: a page takes less time than the host's work for it.
void fill_page(std::byte* page, std::uint64_t first, std::uint64_t seed) {
  std::memcpy(page, &first, sizeof first);
  std::uint64_t state = seed | 1;
  for (std::size_t at = sizeof first; at < kGuestPage; at += sizeof state) {
    state ^= state << 13;
    state ^= state >> 7;
    state ^= state << 17;
    std::memcpy(page + at, &state, sizeof state);
  }
}

template <typename Value>
Value value_or_give_up(absl::StatusOr<Value> value) {
  if (!value.ok()) give_up(std::string(value.status().message()));
  return *std::move(value);
}

}  // namespace

std::unique_ptr<vm_mem::MemoryManager> make_guest_memory(std::uint64_t bytes,
                                                         vm_mem::DirtyTracking tracking) {
  auto manager = value_or_give_up(vm_mem::MemoryManager::create({}));
  vm_mem::RamOptions options{.dirty_tracking = tracking};
  options.host.huge_pages = vm_mem::HugePageAdvice::kOff;
  value_or_give_up(
      manager->add_ram(vm_mem::GuestRange::make(GuestAddress{0}, bytes).value(), options));
  return manager;
}

std::span<std::byte> host_memory_of(const vm_mem::MemoryManager& manager) {
  const auto map = manager.map();
  const vm_mem::MapSection* const section = map->find(GuestAddress{0});
  return {section->host, section->range.bytes()};
}

SampleGuest::SampleGuest(const GuestShape& shape, std::uint64_t seed,
                         vm_mem::DirtyTracking tracking)
    : shape_(shape), random_(seed), manager_(make_guest_memory(shape.bytes, tracking)) {
  const auto all = static_cast<std::uint32_t>(shape.bytes / kGuestPage);
  warm_host_memory(shape.bytes / 100 * shape.percent);
  for (std::uint32_t cluster = 0; cluster < all; cluster += shape.cluster_pages) {
    if (random_() % 100 >= shape.percent) continue;
    const std::uint32_t end = std::min(all, cluster + shape.cluster_pages);
    for (std::uint32_t page = cluster; page < end; ++page) fill(page);
  }
}

void SampleGuest::fill(std::uint32_t page) {
  fill_page(memory().data() + std::uint64_t{page} * kGuestPage, first_word_of(page), random_());
  pages_.push_back(page);
}

std::vector<std::uint32_t> SampleGuest::working_set() const {
  constexpr std::size_t kGroup = 4;
  std::mt19937_64 random(5);
  std::vector<std::uint32_t> chosen;
  for (std::size_t i = 0; i + kGroup <= pages_.size(); i += kGroup) {
    if (random() % 10 != 0) continue;
    for (std::size_t k = 0; k < kGroup; ++k) chosen.push_back(pages_[i + k]);
  }
  return chosen;
}

void SampleGuest::forget_reads() const {
  std::uint64_t begin = 0;
  const auto forget_to = [&](std::uint64_t end) {
    if (end > begin) ::madvise(memory().data() + begin, end - begin, MADV_DONTNEED);
  };
  for (const std::uint32_t page : pages_) {
    forget_to(std::uint64_t{page} * kGuestPage);
    begin = (std::uint64_t{page} + 1) * kGuestPage;
  }
  forget_to(shape_.bytes);
}

void SampleGuest::check(std::span<const std::byte> memory, const std::string& who) const {
  const std::size_t step = pages_.size() / 4096 + 1;
  for (std::size_t i = 0; i < pages_.size(); i += step) {
    const std::uint64_t at = std::uint64_t{pages_[i]} * kGuestPage;
    if (std::memcmp(memory.data() + at, this->memory().data() + at, kGuestPage) != 0) {
      give_up(fmt::format("{}: the page of guest memory at {:#x} is not what it was", who, at));
    }
  }
}

std::vector<GuestAddress> addresses_of(std::span<const std::uint32_t> pages) {
  std::vector<GuestAddress> addresses;
  for (const std::uint32_t page : pages) {
    addresses.push_back(GuestAddress{std::uint64_t{page} * kGuestPage});
  }
  return addresses;
}

void warm_host_memory(std::uint64_t bytes) {
  void* const memory = ::mmap(nullptr, bytes, PROT_READ | PROT_WRITE,
                              MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
  if (memory == MAP_FAILED) return;
  ::madvise(memory, bytes, MADV_HUGEPAGE);
  ::madvise(memory, bytes, MADV_POPULATE_WRITE);
  ::munmap(memory, bytes);
}

}  // namespace vm_bench
