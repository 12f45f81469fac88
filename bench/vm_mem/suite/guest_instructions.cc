// The guest suite's counted rows: does one kind of access a given number of times, for a
// tool that counts instructions. What an access takes is the difference of two counts,
// less that of the loop by itself; tools/bench does the sums.
//
//   bench_guest_instructions --list          prints the works, <row>/<part>
//   bench_guest_instructions <work> <count>

#include <fmt/core.h>

#include <cstdint>
#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "bench/harness/counted_works.h"
#include "bench/peers/vm_memory.h"
#include "bench/vm_mem/suite/guest_loops.h"
#include "bench/vm_mem/suite/guest_memory.h"

namespace vm_bench {
namespace {

constexpr std::size_t kAddresses = 4096;  // in one pass; a count is rounded up to passes
constexpr std::uint64_t kKiB = 1 << 10;
constexpr std::uint64_t kMiB = 1 << 20;
constexpr std::uint64_t kHigh = std::uint64_t{4} << 30;

// What is mapped, and which part of it is accessed.
struct Layout {
  std::vector<PeerRange> regions;
  std::vector<PeerRange> accessed;
};

Layout one_region() {
  const std::vector<PeerRange> regions = {{0, 16 * kMiB}};
  return {regions, regions};
}

std::vector<PeerRange> adjacent(std::uint64_t base, std::uint64_t bytes, std::size_t count) {
  std::vector<PeerRange> ranges;
  for (std::size_t i = 0; i < count; ++i) ranges.push_back({base + i * bytes, bytes});
  return ranges;
}

// 4096 regions: half of them a page each, with neighbours, half of 2 MiB.
Layout many_regions(bool small) {
  std::vector<PeerRange> pages = adjacent(0, 4 * kKiB, 2048);
  std::vector<PeerRange> blocks = adjacent(kHigh, 2 * kMiB, 2048);
  Layout layout{pages, small ? pages : blocks};
  layout.regions.insert(layout.regions.end(), blocks.begin(), blocks.end());
  return layout;
}

// One pass over the addresses.
using Pass = std::function<void(std::span<const std::uint64_t>)>;
using Prepare = std::function<Pass(std::span<const PeerRange>, Tracked)>;

struct OurSide {
  OurSide(std::span<const PeerRange> ranges, Tracked tracked)
      : manager(make_manager(ranges, tracked)), reader(*manager) {}

  std::unique_ptr<vm_mem::MemoryManager> manager;
  vm_mem::MemoryReader reader;
};

template <class Access>
Pass prepare_ours(std::span<const PeerRange> ranges, Tracked tracked) {
  const auto side = std::make_shared<OurSide>(ranges, tracked);
  return [side](std::span<const std::uint64_t> addresses) {
    Access access;
    walk(side->reader, addresses, access);
    forget(access);
  };
}

Pass prepare_peer_load(std::span<const PeerRange> ranges, Tracked tracked) {
  const auto memory = std::make_shared<VmMemory>(ranges, tracked);
  return [memory](std::span<const std::uint64_t> addresses) {
    std::uint64_t sum = memory->read_obj(addresses);
    forget(sum);
  };
}

Pass prepare_peer_store(std::span<const PeerRange> ranges, Tracked tracked) {
  const auto memory = std::make_shared<VmMemory>(ranges, tracked);
  return [memory](std::span<const std::uint64_t> addresses) { memory->write_obj(addresses, 0); };
}

template <class Access>
Prepare prepare_our_blocks(std::size_t bytes) {
  return [bytes](std::span<const PeerRange> ranges, Tracked tracked) -> Pass {
    const auto side = std::make_shared<OurSide>(ranges, tracked);
    const auto host = std::make_shared<std::vector<std::byte>>(bytes);
    return [side, host](std::span<const std::uint64_t> addresses) {
      Access access{*host};
      walk(side->reader, addresses, access);
    };
  };
}

Prepare prepare_peer_blocks(std::size_t bytes, bool reads) {
  return [bytes, reads](std::span<const PeerRange> ranges, Tracked tracked) -> Pass {
    const auto memory = std::make_shared<VmMemory>(ranges, tracked);
    const auto host = std::make_shared<std::vector<std::byte>>(bytes);
    return [memory, host, reads](std::span<const std::uint64_t> addresses) {
      reads ? memory->read_block(addresses, *host) : memory->write_block(addresses, *host);
    };
  };
}

struct Work {
  std::string name;  // <row>/<part>; of a row's parts the highest counts
  Layout layout;
  Prepare prepare;
  Tracked tracked = Tracked::kNo;
  std::uint64_t bytes = 8;  // of one access
};

void add_works(std::vector<Work>& works, const std::string& row, const std::string& suffix,
               const Prepare& prepare, Tracked tracked) {
  works.push_back({row + "_1" + suffix + "/all", one_region(), prepare, tracked});
  works.push_back({row + "_4096" + suffix + "/pages", many_regions(true), prepare, tracked});
  works.push_back({row + "_4096" + suffix + "/blocks", many_regions(false), prepare, tracked});
}

// As the timed rows of blocks: dirty tracking on both sides.
void add_blocks(std::vector<Work>& works) {
  const bool with_peer = vm_memory_missing().empty();
  for (const std::size_t bytes :
       {std::size_t{16}, std::size_t{64}, std::size_t{256}, std::size_t{4096}}) {
    const auto add = [&](const char* row, const char* suffix, const Prepare& prepare) {
      works.push_back({fmt::format("{}_{}{}/all", row, bytes, suffix), one_region(), prepare,
                       Tracked::kYes, bytes});
    };
    add("read", "", prepare_our_blocks<ReadBlock>(bytes));
    add("write", "", prepare_our_blocks<WriteBlock>(bytes));
    if (!with_peer) continue;
    add("read", "_vm_memory", prepare_peer_blocks(bytes, true));
    add("write", "_vm_memory", prepare_peer_blocks(bytes, false));
  }
}

std::vector<Work> all_works() {
  std::vector<Work> works = {{"empty/all", one_region(), prepare_ours<NoAccess>, Tracked::kNo}};
  add_works(works, "load8", "", prepare_ours<LoadWord>, Tracked::kNo);
  add_works(works, "store8_dirty", "", prepare_ours<StoreWord>, Tracked::kYes);
  add_blocks(works);
  if (!vm_memory_missing().empty()) return works;
  add_works(works, "load8", "_vm_memory", prepare_peer_load, Tracked::kNo);
  add_works(works, "store8_dirty", "_vm_memory", prepare_peer_store, Tracked::kYes);
  return works;
}

// The first pass makes pages and marks; it is in every count, and no difference of two.
void do_work(const Work& work, std::uint64_t count) {
  const std::vector<std::uint64_t> addresses =
      random_addresses(work.layout.accessed, kAddresses, work.bytes, 8, 1);
  const Pass pass = work.prepare(work.layout.regions, work.tracked);
  pass(addresses);
  for (std::uint64_t done = 0; done < count; done += kAddresses) pass(addresses);
}

}  // namespace
}  // namespace vm_bench

int main(int argc, char** argv) {
  std::vector<vm_bench::CountedWork> works;
  for (const vm_bench::Work& work : vm_bench::all_works()) {
    works.push_back({work.name, [work](std::uint64_t count) { vm_bench::do_work(work, count); }});
  }
  return vm_bench::run_counted_works(works, argc, argv);
}
