#include "bench/vm_mem/suite/guest_blocks.h"

#include <fmt/core.h>

#include <algorithm>
#include <memory>
#include <vector>

#include "bench/harness/lower.h"
#include "bench/harness/page_buffer.h"
#include "bench/vm_mem/suite/guest_loops.h"
#include "bench/vm_mem/suite/guest_memory.h"
#include "vm_mem/simd_memcpy.h"

namespace vm_bench {
namespace {

constexpr std::uint64_t kWord = 8;

struct HostBuffer {
  explicit HostBuffer(std::size_t n) : bytes(memory.at_least(n), n) {}

  PageBuffer memory;
  std::span<std::byte> bytes;
};

struct Blocks {
  Blocks(std::size_t bytes, std::uint64_t alignment, std::uint64_t seed)
      : addresses(hot_addresses(bytes, alignment, seed)), ours(bytes), theirs(bytes) {}

  void read() {
    ReadBlock access{ours.bytes};
    walk(reader, addresses, access);
  }
  void write() {
    WriteBlock access{ours.bytes};
    walk(reader, addresses, access);
  }
  void read_peer() { peer.read_block(addresses, theirs.bytes); }
  void write_peer() { peer.write_block(addresses, theirs.bytes); }

  std::vector<std::uint64_t> addresses;
  HostBuffer ours;
  HostBuffer theirs;
  std::unique_ptr<vm_mem::MemoryManager> manager = make_manager(two_regions(), Tracked::kYes);
  vm_mem::MemoryReader reader{*manager};
  VmMemory peer{two_regions(), Tracked::kYes};
};

// After each pass the buffer holds the last block that was read; both sides' have to be
// equal while all that is written differs.
void check(Blocks& blocks) {
  for (unsigned pass = 0; pass < 4; ++pass) {
    for (std::size_t i = 0; i < blocks.ours.bytes.size(); ++i) {
      blocks.ours.bytes[i] = blocks.theirs.bytes[i] = static_cast<std::byte>(i * 7 + pass);
    }
    blocks.write();
    blocks.write_peer();
    std::rotate(blocks.addresses.begin(), blocks.addresses.begin() + 1, blocks.addresses.end());
    blocks.read();
    blocks.read_peer();
    require(std::ranges::equal(blocks.ours.bytes, blocks.theirs.bytes),
            "the blocks that were written are not those that are read");
  }
}

template <class Pass>
Contest::Run passes(Pass pass) {
  return [pass](std::size_t count) {
    for (std::size_t i = 0; i < count; ++i) pass();
  };
}

template <class Ours, class Peer>
Contest contest_of(Ours ours, Peer peer) {
  return {.ours = passes(ours), .peer = passes(peer), .operations = kHotAddresses};
}

void add_contests(std::vector<NamedContest>& contests, std::size_t bytes, std::uint64_t alignment,
                  const std::string& suffix, std::uint64_t seed) {
  const auto blocks = std::make_shared<Blocks>(bytes, alignment, seed);
  check(*blocks);
  contests.push_back({"read" + suffix,
                      contest_of([blocks] { blocks->read(); }, [blocks] { blocks->read_peer(); })});
  contests.push_back({"write" + suffix, contest_of([blocks] { blocks->write(); },
                                                   [blocks] { blocks->write_peer(); })});
}

// One block again and again, ours beside the core that it is made of.
struct Bulk {
  Bulk(std::size_t n, Tracked tracked) : manager(make_manager(two_regions(), tracked)), host(n) {
    const vm_mem::GuestAddress at{kHotOffset};
    const vm_mem::MapSection* section = reader.map().find(at);
    guest = section->host + (at.value - section->range.begin().value);
    require(reader.write(at, host.bytes).ok(), "a block of ours failed");
  }

  void read() { (void)reader.read(vm_mem::GuestAddress{kHotOffset}, host.bytes); }
  void write() { (void)reader.write(vm_mem::GuestAddress{kHotOffset}, host.bytes); }
  void copy_out() { vm_mem::memcpy_raw(host.bytes.data(), guest, host.bytes.size()); }
  void copy_in() { vm_mem::memcpy_raw(guest, host.bytes.data(), host.bytes.size()); }

  std::unique_ptr<vm_mem::MemoryManager> manager;
  vm_mem::MemoryReader reader{*manager};
  HostBuffer host;
  std::byte* guest = nullptr;
};

std::vector<NamedContest> bulk_contests(std::size_t bytes, Tracked tracked) {
  const auto bulk = std::make_shared<Bulk>(bytes, tracked);
  return {
      {"read",
       {.ours = passes([bulk] { bulk->read(); }), .peer = passes([bulk] { bulk->copy_out(); })}},
      {"write",
       {.ours = passes([bulk] { bulk->write(); }), .peer = passes([bulk] { bulk->copy_in(); })}}};
}

}  // namespace

Regime blocks(std::size_t bytes) {
  const std::string name = fmt::format("block_{}", bytes);
  const auto measure = [name, bytes](Session& session) {
    std::vector<NamedContest> contests;
    add_contests(contests, bytes, kWord, "", session.seed());
    return lower_of(session, name, kVmMemory, contests);
  };
  return {name, measure, std::string(vm_memory_missing())};
}

Regime odd_blocks(std::string name) {
  const auto measure = [name](Session& session) {
    std::vector<NamedContest> contests;
    for (const std::size_t bytes : {9U, 17U, 24U, 40U, 100U, 200U, 600U, 1514U, 3000U}) {
      add_contests(contests, bytes, 1, fmt::format("/{}", bytes), session.seed());
    }
    return lower_of(session, name, kVmMemory, contests);
  };
  return {name, measure, std::string(vm_memory_missing())};
}

Regime bulk_overhead(std::string name, std::size_t bytes, Tracked tracked) {
  return {name, [name, bytes, tracked](Session& session) {
            return lower_of(session, name, "memcpy_raw", bulk_contests(bytes, tracked), settle);
          }};
}

}  // namespace vm_bench
