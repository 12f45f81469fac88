// The dma suite's timed rows: DmaSpace beside the copy core that it ends in, beside others'
// guest memory and beside itself behind an IOMMU.

#include <string>
#include <utility>
#include <vector>

#include "bench/vm_device/suite/dma_blocks.h"
#include "bench/vm_device/suite/dma_lists.h"
#include "bench/vm_device/suite/dma_rings.h"
#include "bench/vm_mem/suite/started_session.h"

namespace vm_bench {
namespace {

struct Size {
  const char* name;
  std::size_t bytes;
};

// What a device thread would use has the plain names.
std::string name_of(const std::string& work, const Size& size, Form form) {
  return work + size.name + (form == Form::kManager ? "_manager" : "");
}

std::vector<Regime> regimes() {
  constexpr Size kSizes[] = {{"_64", 64}, {"_4k", 4096}, {"_1m", 1 << 20}};
  std::vector<Regime> all;
  for (const Form form : {Form::kReader, Form::kManager}) {
    for (const Size& size : kSizes) {
      all.push_back(dma_block(name_of("write", size, form), Direction::kWrite, size.bytes, form));
      all.push_back(dma_block(name_of("read", size, form), Direction::kRead, size.bytes, form));
    }
    for (const Size& size : {kSizes[1], kSizes[0]}) {
      all.push_back(dma_lists(name_of("sg", size, form), size.bytes, form));
      all.push_back(dma_behind_iommu(name_of("iommu", size, form), size.bytes, form));
    }
  }
  all.push_back(packed_rings("packed"));
  return all;
}

}  // namespace
}  // namespace vm_bench

int main(int argc, char** argv) {
  vm_bench::Session session = vm_bench::started_session("dma", argc, argv);
  return vm_bench::run_suite(session, vm_bench::regimes());
}
