#include "bench/vm_device/suite/dma_rings.h"

#include <fmt/core.h>

#include <memory>
#include <utility>

#include "bench/vm_device/suite/dma_loops.h"

namespace vm_bench {
namespace {

template <class Driver>
Contest::Run batches() {
  const auto rings = std::make_shared<RingQueue<Driver>>();
  return passes_of([rings] { rings->serve_batch([&] { return rings->serve(); }); });
}

}  // namespace

Regime packed_rings(std::string name) {
  const auto measure = [](Session& session) {
    const Outcome outcome =
        settle({.ours = batches<PackedDriver>(),
                .peer = batches<SplitDriver>(),
                .operations = static_cast<double>(RingQueue<SplitDriver>::kBatch)},
               session.effort());
    return Ratio{.outcome = outcome,
                 .peer = "split",
                 .remark = fmt::format(": ours {:.1f} ns, theirs {:.1f} ns a request",
                                       outcome.ours_ns, outcome.peer_ns)};
  };
  return {std::move(name), measure};
}

}  // namespace vm_bench
