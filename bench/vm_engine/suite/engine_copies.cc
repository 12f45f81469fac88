#include "bench/vm_engine/suite/engine_copies.h"

#include <fmt/core.h>

#include <algorithm>
#include <cstring>
#include <memory>
#include <random>
#include <utility>
#include <vector>

#include "bench/harness/page_buffer.h"
#include "bench/vm_engine/suite/engine_side.h"
#include "bench/vm_mem/suite/guest_loops.h"
#include "vm_mem/simd_memcpy.h"

namespace vm_bench {
namespace {

constexpr std::uint64_t kSpan = 8 << 10;  // of each region, where copies stay in the caches
// Between the places of the two regions, so that their pages take different entries of the TLB.
constexpr std::uint64_t kApart = 64 << 10;

struct GuestPair {
  std::uint64_t to = 0;
  std::uint64_t from = 0;
};
struct HostPair {
  std::byte* to = nullptr;
  const std::byte* from = nullptr;
};

struct EngineCopy {
  bool step(vme_cpu& cpu, const GuestPair& at) {
    return vme_copy(&cpu, at.to, at.from, bytes, VME_OVERLAP_DISJOINT) == 0;
  }
  std::size_t bytes;
};

struct Core {};

struct CoreCopy {
  bool step(const Core&, const HostPair& at) {
    vm_mem::memcpy_raw(at.to, at.from, bytes);
    return true;
  }
  std::size_t bytes;
};

struct EngineCopies {
  EngineCopies(std::size_t bytes, std::uint64_t apart, std::uint64_t seed) : size(bytes) {
    std::mt19937_64 engine(seed);
    std::uniform_int_distribution<std::uint64_t> any_place(0,
                                                           (std::max(kSpan, size) - size) / size);
    const std::size_t count = size <= kPage ? kHotAddresses : kPlaces;
    const auto place = [&](std::size_t region) {
      return two_regions()[region].base + kHotOffset + size * any_place(engine);
    };
    for (std::size_t i = 0; i < count; ++i) {
      guest.push_back({.to = place(1) + apart, .from = place(0)});
      host.push_back({side.host(guest.back().to), side.host(guest.back().from)});
    }
    check();
  }

  void run() {
    EngineCopy copy{size};
    walk(side.cpu(), guest, copy);
  }
  void run_raw() {
    CoreCopy copy{size};
    walk(core, host, copy);
  }

  // What the engine copies arrives where the core copies it.
  void check() {
    for (std::size_t i = 0; i < guest.size(); ++i) {
      auto* from = const_cast<std::byte*>(host[i].from);
      for (std::size_t k = 0; k < size; ++k) from[k] = static_cast<std::byte>(k * 7 + i);
      EngineCopy copy{size};
      require(copy.step(side.cpu(), guest[i]) && std::memcmp(host[i].to, from, size) == 0,
              "vme_copy does not copy");
    }
  }

  std::size_t size;
  EngineSide side;
  Core core;
  std::vector<GuestPair> guest;
  std::vector<HostPair> host;
};

}  // namespace

Regime engine_copy(std::string name, std::size_t bytes, TlbEntries entries) {
  const auto measure = [bytes, entries](Session& session) {
    const std::uint64_t apart = entries == TlbEntries::kApart ? kApart : 0;
    const auto copies = std::make_shared<EngineCopies>(bytes, apart, session.seed());
    const Outcome outcome = settle({.ours = passes_of([copies] { copies->run(); }),
                                    .peer = passes_of([copies] { copies->run_raw(); }),
                                    .operations = static_cast<double>(copies->guest.size())},
                                   session.effort());
    return Ratio{.outcome = outcome, .peer = "memcpy_raw", .remark = in_nanoseconds(outcome)};
  };
  return {std::move(name), measure};
}

}  // namespace vm_bench
