// The guest suite's timed rows: MemoryReader beside others' guest memory, and beside the
// copy core that it is built on.

#include <string>
#include <utility>
#include <vector>

#include "bench/vm_mem/suite/guest_blocks.h"
#include "bench/vm_mem/suite/guest_churn.h"
#include "bench/vm_mem/suite/guest_recoverable.h"
#include "bench/vm_mem/suite/guest_words.h"
#include "bench/vm_mem/suite/started_session.h"

namespace vm_bench {
namespace {

std::vector<Regime> regimes() {
  std::vector<Regime> all = {
      read_words("read8", Tracked::kNo, PeerCalls::kObject),
      write_words("write8", Tracked::kNo, PeerCalls::kObject),
      read_words("read8_bitmap", Tracked::kYes, PeerCalls::kObject),
      write_words("write8_bitmap", Tracked::kYes, PeerCalls::kObject),
      read_words("read8_atomic", Tracked::kNo, PeerCalls::kAtomic),
      write_words("write8_atomic", Tracked::kNo, PeerCalls::kAtomic),
      write_words("write8_atomic_bitmap", Tracked::kYes, PeerCalls::kAtomic),
  };
  for (std::size_t bytes = 16; bytes <= 4096; bytes *= 2) all.push_back(blocks(bytes));
  all.push_back(odd_blocks("block_odd"));
  all.push_back(unicorn_words("unicorn8", Reach::kCaches));
  all.push_back(unicorn_words("unicorn8_16m", Reach::kRegions));
  all.push_back(bulk_overhead("bulk_overhead_64k", 64 << 10, Tracked::kNo));
  all.push_back(bulk_overhead("bulk_overhead_64k_tracked", 64 << 10, Tracked::kYes));
  all.push_back(churn("churn"));
  all.push_back(recoverable("recoverable"));
  return all;
}

}  // namespace
}  // namespace vm_bench

int main(int argc, char** argv) {
  vm_bench::Session session = vm_bench::started_session("guest", argc, argv);
  return vm_bench::run_suite(session, vm_bench::regimes());
}
