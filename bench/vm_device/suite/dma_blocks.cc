#include "bench/vm_device/suite/dma_blocks.h"

#include <algorithm>
#include <memory>
#include <utility>
#include <vector>

#include "bench/harness/lower.h"
#include "bench/vm_device/suite/dma_loops.h"

namespace vm_bench {
namespace {

constexpr std::size_t kHotBytes = 4096;

std::vector<std::uint64_t> guest_addresses(std::size_t bytes, std::uint64_t seed) {
  if (bytes <= kHotBytes) return hot_addresses(bytes, bytes, seed);
  return std::vector<std::uint64_t>(kPlaces, kHotOffset);
}

struct DmaBlocks {
  DmaBlocks(std::size_t bytes, Form form, Bus bus, std::uint64_t seed)
      : side(form, bus), buffer(bytes) {
    for (const std::uint64_t guest : guest_addresses(bytes, seed)) {
      addresses.push_back(side.bus_address(guest));
      places.push_back(side.host(guest));
    }
    check();
  }

  void read() {
    DmaRead access{buffer.bytes};
    walk(side.dma(), addresses, access);
  }
  void write() {
    DmaWrite access{buffer.bytes};
    walk(side.dma(), addresses, access);
  }
  void run(Direction direction) { direction == Direction::kRead ? read() : write(); }

  void read_raw() {
    CopyOut access{buffer.bytes};
    walk(host, places, access);
  }
  void write_raw() {
    CopyIn access{buffer.bytes};
    walk(host, places, access);
  }
  void run_raw(Direction direction) { direction == Direction::kRead ? read_raw() : write_raw(); }

  // The core's bytes are what DMA reads, and the other way round, at every address.
  void check() {
    DeviceBuffer read(buffer.bytes.size());
    for (std::size_t i = 0; i < addresses.size(); ++i) {
      const std::span<std::byte> place(places[i], buffer.bytes.size());
      fill_pattern(place, static_cast<unsigned>(i));
      require(
          side.dma().read(addresses[i], read.bytes).ok() && std::ranges::equal(read.bytes, place),
          "DMA does not read what the core wrote");
      fill_pattern(buffer.bytes, static_cast<unsigned>(i) + 1);
      require(side.dma().write(addresses[i], buffer.bytes).ok() &&
                  std::ranges::equal(buffer.bytes, place),
              "the core does not read what DMA wrote");
    }
  }

  double operations() const { return static_cast<double>(addresses.size()); }

  DmaSide side;
  DeviceBuffer buffer;
  std::vector<std::uint64_t> addresses;
  std::vector<std::byte*> places;
  Host host;
};

Ratio beside_raw(const Session& session, const std::shared_ptr<DmaBlocks>& blocks,
                 Direction direction) {
  const Outcome outcome =
      settle({.ours = passes_of([blocks, direction] { blocks->run(direction); }),
              .peer = passes_of([blocks, direction] { blocks->run_raw(direction); }),
              .operations = blocks->operations()},
             session.effort());
  return {.outcome = outcome, .peer = "memcpy_raw", .remark = in_nanoseconds(outcome)};
}

NamedContest beside_direct(const std::shared_ptr<DmaBlocks>& translated,
                           const std::shared_ptr<DmaBlocks>& direct, Direction direction) {
  return {direction == Direction::kRead ? "read" : "write",
          {.ours = passes_of([translated, direction] { translated->run(direction); }),
           .peer = passes_of([direct, direction] { direct->run(direction); }),
           .operations = direct->operations()}};
}

}  // namespace

Regime dma_block(std::string name, Direction direction, std::size_t bytes, Form form) {
  const auto measure = [direction, bytes, form](Session& session) {
    const auto blocks = std::make_shared<DmaBlocks>(bytes, form, Bus::kDirect, session.seed());
    return beside_raw(session, blocks, direction);
  };
  return {std::move(name), measure};
}

Regime dma_behind_iommu(std::string name, std::size_t bytes, Form form) {
  const auto measure = [name, bytes, form](Session& session) {
    const auto blocks_on = [&](Bus bus) {
      return std::make_shared<DmaBlocks>(bytes, form, bus, session.seed());
    };
    const auto translated = blocks_on(Bus::kIommu);
    const auto direct = blocks_on(Bus::kDirect);
    return lower_of(session, name, "no_iommu",
                    {beside_direct(translated, direct, Direction::kRead),
                     beside_direct(translated, direct, Direction::kWrite)},
                    settle);
  };
  return {name, measure};
}

}  // namespace vm_bench
