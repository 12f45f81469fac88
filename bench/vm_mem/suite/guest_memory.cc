#include "bench/vm_mem/suite/guest_memory.h"

#include <cstdio>
#include <cstdlib>
#include <random>
#include <string>

namespace vm_bench {
namespace {

constexpr std::uint64_t kMiB = 1 << 20;
constexpr PeerRange kTwoRegions[] = {{0, 8 * kMiB}, {std::uint64_t{4} << 30, 8 * kMiB}};

void require_ok(const absl::Status& status) {
  if (status.ok()) return;
  std::fprintf(stderr, "%s\n", status.ToString().c_str());
  std::exit(1);
}

}  // namespace

std::span<const PeerRange> two_regions() { return kTwoRegions; }

std::unique_ptr<vm_mem::MemoryManager> make_manager(std::span<const PeerRange> ranges,
                                                    Tracked tracked) {
  auto manager = vm_mem::MemoryManager::create({});
  require_ok(manager.status());
  vm_mem::RamOptions options;
  if (tracked == Tracked::kYes) options.dirty_tracking = vm_mem::DirtyTracking::kOn;
  // One change: thousands would each make a map.
  require_ok((*manager)->change([&] {
    for (const PeerRange& range : ranges) {
      const auto guest = vm_mem::GuestRange::make(vm_mem::GuestAddress{range.base}, range.bytes);
      require(guest.has_value(), "a range of the benchmark wraps");
      require_ok((*manager)->add_ram(*guest, options).status());
    }
    return absl::OkStatus();
  }));
  return *std::move(manager);
}

std::vector<std::uint64_t> random_addresses(std::span<const PeerRange> ranges, std::size_t count,
                                            std::uint64_t bytes, std::uint64_t alignment,
                                            std::uint64_t seed) {
  std::mt19937_64 engine(seed);
  const std::uint64_t places = (ranges.front().bytes - bytes) / alignment + 1;
  std::uniform_int_distribution<std::size_t> any_range(0, ranges.size() - 1);
  std::uniform_int_distribution<std::uint64_t> any_place(0, places - 1);
  std::vector<std::uint64_t> addresses(count);
  for (std::uint64_t& address : addresses) {
    address = ranges[any_range(engine)].base + alignment * any_place(engine);
  }
  return addresses;
}

std::vector<std::uint64_t> hot_addresses(std::uint64_t bytes, std::uint64_t alignment,
                                         std::uint64_t seed) {
  constexpr std::uint64_t kSpan = 6 << 10;
  std::vector<PeerRange> spans;
  for (const PeerRange& region : two_regions()) {
    spans.push_back({region.base + kHotOffset, kSpan + bytes});
  }
  return random_addresses(spans, kHotAddresses, bytes, alignment, seed);
}

void require(bool right, const char* what) {
  if (right) return;
  std::fprintf(stderr, "%s\n", what);
  std::exit(1);
}

}  // namespace vm_bench
