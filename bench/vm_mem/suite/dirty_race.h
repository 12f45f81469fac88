// Marks that get lost between a writer and a harvester.
#ifndef BENCH_VM_MEM_SUITE_DIRTY_RACE_H_
#define BENCH_VM_MEM_SUITE_DIRTY_RACE_H_

#include <cstdint>
#include <string>

#include "bench/harness/suite.h"

namespace vm_bench {

// kNone is the broken control: it clears and reads without the harvest's barrier.
enum class RaceBarrier : std::uint8_t { kHarvest, kNone };

Regime lost_marks(std::string name, RaceBarrier barrier);

}  // namespace vm_bench

#endif  // BENCH_VM_MEM_SUITE_DIRTY_RACE_H_
