#include "bench/vm_device/suite/dma_lists.h"

#include <algorithm>
#include <memory>
#include <random>
#include <utility>

#include "bench/harness/lower.h"
#include "bench/peers/vm_memory.h"
#include "bench/vm_device/suite/dma_loops.h"

namespace vm_bench {
namespace {

using vm_device::DmaSegment;

struct DmaLists {
  DmaLists(std::size_t bytes, Form form, std::uint64_t seed)
      : side(form, Bus::kDirect),
        ours(kListLength * bytes),
        theirs(kListLength * bytes),
        segments(random_segments(kPlaces, bytes, seed)) {
    for (const DmaSegment& it : segments) peer_segments.push_back({it.address, it.bytes});
    for (std::size_t i = 0; i < segments.size(); i += kListLength) {
      lists.push_back(DmaList(segments).subspan(i, kListLength));
    }
    check();
  }

  void read() {
    DmaRead access{ours.bytes};
    walk(side.dma(), lists, access);
  }
  void write() {
    DmaWrite access{ours.bytes};
    walk(side.dma(), lists, access);
  }
  void read_peer() { peer.read_lists(peer_segments, kListLength, theirs.bytes); }
  void write_peer() { peer.write_lists(peer_segments, kListLength, theirs.bytes); }

  // Of all that is written the last stays, on both sides alike.
  void check() {
    for (std::size_t i = 0; i < lists.size(); ++i) {
      fill_pattern(ours.bytes, static_cast<unsigned>(i));
      std::ranges::copy(ours.bytes, theirs.bytes.begin());
      write();
      write_peer();
      std::ranges::fill(ours.bytes, std::byte{0});
      std::ranges::fill(theirs.bytes, std::byte{1});
      require(side.dma().read(lists[i], ours.bytes).ok(), "a list of ours failed");
      peer.read_lists(std::span(peer_segments).subspan(i * kListLength, kListLength), kListLength,
                      theirs.bytes);
      require(std::ranges::equal(ours.bytes, theirs.bytes),
              "the lists that were written are not those that are read");
    }
  }

  DmaSide side;
  DeviceBuffer ours;
  DeviceBuffer theirs;
  std::vector<DmaSegment> segments;
  std::vector<PeerRange> peer_segments;
  std::vector<DmaList> lists;
  VmMemory peer{two_regions(), Tracked::kYes};
};

std::vector<NamedContest> contests(std::size_t bytes, Form form, std::uint64_t seed) {
  const auto lists = std::make_shared<DmaLists>(bytes, form, seed);
  const auto operations = static_cast<double>(lists->lists.size());
  return {{"read",
           {.ours = passes_of([lists] { lists->read(); }),
            .peer = passes_of([lists] { lists->read_peer(); }),
            .operations = operations}},
          {"write",
           {.ours = passes_of([lists] { lists->write(); }),
            .peer = passes_of([lists] { lists->write_peer(); }),
            .operations = operations}}};
}

}  // namespace

std::vector<DmaSegment> random_segments(std::size_t lists, std::size_t bytes, std::uint64_t seed) {
  std::mt19937_64 engine(seed);
  std::vector<DmaSegment> places;
  for (const PeerRange& region : two_regions()) {
    for (std::uint64_t at = 0; at < region.bytes; at += bytes) {
      places.push_back({region.base + at, bytes});
    }
  }
  std::vector<DmaSegment> segments;
  for (std::size_t list = 0; list < lists; ++list) {
    std::ranges::sample(places, std::back_inserter(segments), kListLength, engine);
    std::shuffle(segments.end() - kListLength, segments.end(), engine);
  }
  return segments;
}

Regime dma_lists(std::string name, std::size_t bytes, Form form) {
  const auto measure = [name, bytes, form](Session& session) {
    return lower_of(session, name, kVmMemory, contests(bytes, form, session.seed()), settle);
  };
  return {name, measure, std::string(vm_memory_missing())};
}

}  // namespace vm_bench
