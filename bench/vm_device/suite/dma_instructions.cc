// The dma suite's counted rows: does one kind of DMA, or one request of a virtqueue, a given
// number of times, for a tool that counts instructions; tools/bench does the sums.
//
//   bench_dma_instructions --list          prints the works, <row>/<part>
//   bench_dma_instructions <work> <count>

#include <cstdint>
#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "bench/harness/counted_works.h"
#include "bench/vm_device/suite/dma_lists.h"
#include "bench/vm_device/suite/dma_loops.h"
#include "bench/vm_device/suite/dma_rings.h"
#include "bench/vm_device/suite/dma_side.h"

namespace vm_bench {
namespace {

constexpr std::size_t kOperations = kHotAddresses;  // in one pass; a count is rounded up
static_assert(kOperations % kListLength == 0);

using Pass = std::function<void()>;

// Blocks that stay in the caches, as those of the timed rows.
struct Blocks {
  Blocks(std::size_t bytes, Bus bus) : side(Form::kReader, bus), buffer(bytes) {
    for (const std::uint64_t guest : hot_addresses(bytes, bytes, 1)) {
      addresses.push_back(side.bus_address(guest));
    }
  }

  DmaSide side;
  DeviceBuffer buffer;
  std::vector<std::uint64_t> addresses;
};

template <class Access>
Pass blocks(std::size_t bytes, Bus bus = Bus::kDirect) {
  const auto held = std::make_shared<Blocks>(bytes, bus);
  return [held] {
    Access access{held->buffer.bytes};
    walk(held->side.dma(), held->addresses, access);
  };
}

struct Lists {
  explicit Lists(std::size_t bytes)
      : side(Form::kReader, Bus::kDirect),
        buffer(kListLength * bytes),
        segments(random_segments(kOperations / kListLength, bytes, 1)) {
    for (std::size_t i = 0; i < segments.size(); i += kListLength) {
      lists.push_back(DmaList(segments).subspan(i, kListLength));
    }
  }

  DmaSide side;
  DeviceBuffer buffer;
  std::vector<vm_device::DmaSegment> segments;
  std::vector<DmaList> lists;
};

// An operation is a segment.
template <class Access>
Pass lists(std::size_t bytes) {
  const auto held = std::make_shared<Lists>(bytes);
  return [held] {
    Access access{held->buffer.bytes};
    walk(held->side.dma(), held->lists, access);
  };
}

// `serve` does what the device does with a request.
template <class Driver, class Serve>
Pass requests(Serve serve) {
  const auto held = std::make_shared<RingQueue<Driver>>();
  return [held, serve] {
    RingQueue<Driver>& rings = *held;
    for (std::size_t done = 0; done < kOperations; done += rings.kBatch) {
      rings.serve_batch([&] { return serve(rings); });
    }
  };
}

template <class Driver>
Pass served() {
  return requests<Driver>([](RingQueue<Driver>& rings) { return rings.serve(); });
}

template <class Driver>
Pass offered() {
  return requests<Driver>([](RingQueue<Driver>& rings) {
    RingQueue<Driver>* held = &rings;
    forget(held);
    return held != nullptr;
  });
}

struct Work {
  std::string name;  // <row>/<part>; empty/<row>: what is beside it, empty/all beside others
  std::function<Pass()> prepare;
};

std::vector<Work> all_works() {
  return {
      {"empty/all", [] { return blocks<NoDma>(64); }},
      {"call_write_64/all", [] { return blocks<DmaWrite>(64); }},
      {"call_read_64/all", [] { return blocks<DmaRead>(64); }},
      {"call_iommu_64/write", [] { return blocks<DmaWrite>(64, Bus::kIommu); }},
      {"call_iommu_64/read", [] { return blocks<DmaRead>(64, Bus::kIommu); }},
      {"segment_64/write", [] { return lists<DmaWrite>(64); }},
      {"segment_64/read", [] { return lists<DmaRead>(64); }},
      {"split_chain/all", [] { return served<SplitDriver>(); }},
      {"empty/split_chain", [] { return offered<SplitDriver>(); }},
      {"packed_chain/all", [] { return served<PackedDriver>(); }},
      {"empty/packed_chain", [] { return offered<PackedDriver>(); }},
  };
}

// The first pass makes pages and marks; it is in every count, and no difference of two.
void do_work(const Work& work, std::uint64_t count) {
  const Pass pass = work.prepare();
  pass();
  for (std::uint64_t done = 0; done < count; done += kOperations) pass();
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
