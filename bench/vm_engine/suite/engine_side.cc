#include "bench/vm_engine/suite/engine_side.h"

namespace vm_bench {

EngineSide::EngineSide() : manager_(make_manager(two_regions(), Tracked::kYes)) {
  auto engine = vm_engine::create_engine(*manager_, {});
  require(engine.ok(), "no host memory for an engine");
  engine_.reset(*engine);
  vme_cpu* cpu = nullptr;
  require(vme_cpu_create(engine_.get(), &cpu) == VME_OK, "no host memory for a vCPU");
  cpu_.reset(cpu);
}

std::byte* EngineSide::host(std::uint64_t guest) {
  const std::shared_ptr<const vm_mem::MemoryMap> map = manager_->map();
  const vm_mem::MapSection* section = map->find(vm_mem::GuestAddress{guest});
  require(section != nullptr, "an address of the benchmark is not mapped");
  return section->host + (guest - section->range.begin().value);
}

}  // namespace vm_bench
