#include "bench/vm_engine/suite/engine_counts.h"

#include <array>
#include <atomic>
#include <functional>
#include <memory>
#include <thread>
#include <utility>

#include "bench/harness/machine.h"
#include "bench/vm_mem/suite/guest_memory.h"
#include "tests/support/fault_matrix.h"
#include "vm_engine/emit.h"
#include "vm_engine/engine.h"
#include "vm_engine/translation.h"

namespace vm_bench {
namespace {

using vm_engine::CpuPtr;
using vm_test::TranslationOrder;
using vm_test::TranslationRace;

constexpr std::uint64_t kCode = 0x100;
constexpr std::uint64_t kRounds = 100'000;
constexpr std::uint64_t kFaultThinning = 3;  // a few seconds

std::uint64_t instructions_of_hit() {
  std::array<std::byte, 256> bytes{};
  vm_engine::CodeBuffer code;
  code.bytes = bytes;
  vm_engine::EmitConfig config = vm_engine::default_emit_config(vm_engine::Isa::kAArch64);
  config.address_mode = vm_engine::AddressMode::kSoftTlb;
  config.exit = vm_engine::ExitTarget::at_address(1 << 20);
  config.helpers.load = 1 << 20;  // never called
  const absl::Status emitted =
      vm_engine::emit_load(code, config, vm_engine::Reg::kX1, vm_engine::Reg::kX2, {.bytes = 8});
  require(emitted.ok(), "a load of the benchmark is not emitted");
  return code.used / 4;
}

// A translator and a vCPU that writes, over memory whose code can be watched.
struct RacingMachine {
  RacingMachine() {
    const auto range = vm_mem::GuestRange::make(vm_mem::GuestAddress{0}, 1 << 20);
    const auto ram = memory->add_ram(*range, {.code_watch = vm_mem::CodeWatching::kOn});
    require(ram.ok(), "no memory for a guest");
    engine.reset(vm_engine::create_engine(*memory, {}).value());
    translator = new_cpu();
    writer = new_cpu();
    const auto note = [](void* opaque, const vme_tc_event*, size_t) {
      static_cast<std::atomic<bool>*>(opaque)->store(true);
    };
    require(vme_tc_register(engine.get(), note, &told, &tc) == VME_OK, "no translator");
  }
  ~RacingMachine() { vme_tc_unregister(tc); }

  CpuPtr new_cpu() {
    vme_cpu* made = nullptr;
    require(vme_cpu_create(engine.get(), &made) == VME_OK, "no host memory for a vCPU");
    return CpuPtr(made);
  }

  std::unique_ptr<vm_mem::MemoryManager> memory = vm_mem::MemoryManager::create({}).value();
  vm_engine::EnginePtr engine;
  CpuPtr translator, writer;
  std::atomic<bool> told{false};
  vme_tc* tc = nullptr;
};

std::uint64_t stale_beside(RacingMachine& machine, TranslationOrder order,
                           std::function<void(std::uint64_t)> write,
                           std::function<void()> open = nullptr) {
  TranslationRace race;
  race.tc = machine.tc;
  race.translator = machine.translator.get();
  race.code = kCode;
  race.open = std::move(open);
  race.write = std::move(write);
  race.idle = [&machine] { vme_cpu_refresh(machine.writer.get()); };
  race.order = order;
  race.rounds = kRounds;
  race.told = &machine.told;
  return vm_test::run_translation_race(race).stale;
}

std::uint64_t count_stale(TranslationOrder order) {
  RacingMachine machine;
  const auto store = [&](std::uint64_t value) {
    require(vm_engine::store(*machine.writer, kCode, value) == VME_OK, "a store failed");
  };
  const auto open = [&] {
    require(vm_engine::store(*machine.writer, 2 * kCode, 1) == VME_OK, "a store failed");
  };
  std::uint64_t stale = stale_beside(machine, order, store);
  stale += stale_beside(machine, order, store, open);
  stale += stale_beside(machine, order, [&](std::uint64_t value) {
    require(vme_write(machine.writer.get(), kCode, &value, sizeof value, 0) == 0, "a write failed");
  });
  return stale + stale_beside(machine, order, [&](std::uint64_t value) {
           require(machine.memory->store(vm_mem::GuestAddress{kCode}, value).ok(),
                   "a store of the host failed");
         });
}

// Both rows are of one run.
const vm_test::FaultMatrixScore& whole_fault_matrix() {
  static const vm_test::FaultMatrixScore score = [] {
    vm_test::FaultMatrixScore sum;
    for (const vm_test::FaultMatrixForms& forms : vm_test::fault_matrix_forms()) {
      const vm_test::FaultMatrixScore one = vm_test::run_fault_matrix(forms, kFaultThinning);
      sum.cases += one.cases;
      sum.wrong += one.wrong;
    }
    return sum;
  }();
  return score;
}

}  // namespace

Regime wrong_after_faults(std::string name) {
  Regime regime{std::move(name), {}};
  regime.events = [](Session&) { return whole_fault_matrix().wrong; };
  return regime;
}

Regime tried_faults(std::string name) {
  Regime regime{std::move(name), {}};
  regime.events = [](Session&) { return whole_fault_matrix().cases; };
  return regime;
}

Regime wrong_after_faults_control(std::string name) {
  Regime regime{std::move(name), {}};
  regime.events = [](Session&) {
    return vm_test::run_overlap_matrix(vm_test::LandingPads::kOneForAll, 1).wrong;
  };
  return regime;
}

Regime softtlb_hit_a64(std::string name) {
  Regime regime{std::move(name), {}};
  regime.instructions = [](Session&) { return instructions_of_hit(); };
  return regime;
}

// In a thread that may give up its CPU to the writer, which inherits it.
Regime stale_translations(std::string name, TranslationOrder order) {
  Regime regime{std::move(name), {}};
  regime.events = [order](Session&) {
    std::uint64_t stale = 0;
    std::thread([&] {
      leave_the_one_cpu();
      stale = count_stale(order);
    }).join();
    return stale;
  };
  return regime;
}

}  // namespace vm_bench
