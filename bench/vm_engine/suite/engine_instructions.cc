// The engine suite's counted rows: loads of emitted code that hit, a given number of times, for a
// tool that counts instructions; tools/bench does the sums.
//
//   bench_engine_instructions --list          prints the works, <row>/<part>
//   bench_engine_instructions <work> <count>

#include <array>
#include <cstdint>
#include <memory>
#include <vector>

#include "bench/harness/counted_works.h"
#include "bench/vm_engine/suite/copy_loop_code.h"
#include "bench/vm_mem/suite/guest_memory.h"
#include "vm_engine/emit.h"
#include "vm_engine/engine.h"
#include "vm_engine/fastmem.h"

namespace vm_bench {
namespace {

using vm_engine::AddressMode;
using vm_engine::CodeBuffer;
using vm_engine::EmitConfig;
using vm_engine::Reg;

constexpr std::uint64_t kArenaBits = 30;
constexpr std::uint64_t kRamBytes = 1 << 20;
constexpr std::size_t kLoads = 1024;  // in one pass; a count is rounded up to passes

// RAM that an arena can show, and a vCPU that has all that is loaded in its TLB.
struct Machine {
  Machine() {
    const auto range = vm_mem::GuestRange::make(vm_mem::GuestAddress{0}, kRamBytes);
    require(memory->add_ram(*range, {.backing = vm_mem::Backing::kMemfd}).ok(), "no guest memory");
    engine.reset(vm_engine::create_engine(*memory, {}).value());
    vme_cpu* made = nullptr;
    require(vme_cpu_create(engine.get(), &made) == VME_OK, "no host memory for a vCPU");
    cpu.reset(made);
    arena = vm_engine::FastmemArena::create(
                *memory, {.bytes = std::uint64_t{1} << kArenaBits, .guard_bytes = kRamBytes})
                .value();
    require(arena->mode() == vm_engine::FastmemMode::kFastmem && arena->attach(cpu.get()).ok(),
            "no arena");
    for (std::size_t i = 0; i < kLoads; ++i) {
      const std::uint64_t gva = i % 512 * 8;
      loads.push_back({nullptr, reinterpret_cast<const std::byte*>(gva), 8});
      std::uint64_t value = 0;
      require(vm_engine::load(*cpu, gva, value) == VME_OK, "a load failed");
    }
  }
  ~Machine() { arena->detach(cpu.get()); }

  std::unique_ptr<vm_mem::MemoryManager> memory = vm_mem::MemoryManager::create({}).value();
  vm_engine::EnginePtr engine;
  vm_engine::CpuPtr cpu;
  std::unique_ptr<vm_engine::FastmemArena> arena;
  std::vector<LoopCopy> loads;
};

[[noreturn]] void leave() {
  require(false, "a load of the benchmark missed");
  __builtin_unreachable();
}

enum class Load { kNone, kSoftTlb, kFastmem };

// The address is in rsi. Where a load misses, the program ends.
void emit_load(CodeBuffer& code, Machine& machine, Load load) {
  CopyLoopCode::set_register(code, Reg::kR8, reinterpret_cast<std::uint64_t>(machine.cpu.get()));
  CopyLoopCode::set_register(code, Reg::kR9,
                             reinterpret_cast<std::uint64_t>(machine.arena->base()));
  if (load == Load::kNone) return;
  EmitConfig config = vm_engine::default_emit_config();
  config.address_mode = load == Load::kSoftTlb ? AddressMode::kSoftTlb : AddressMode::kFastmem;
  config.cpu = Reg::kR8;
  config.fastmem_base = Reg::kR9;
  config.result = Reg::kRdx;
  config.scratch &= ~(vm_engine::reg_bit(Reg::kR8) | vm_engine::reg_bit(Reg::kR9));
  config.red_zone_bytes = 0;
  config.arena_bits = config.gva_bits = kArenaBits;
  config.exit = vm_engine::ExitTarget::at_address(reinterpret_cast<std::uint64_t>(&leave));
  config.helpers.load = reinterpret_cast<std::uint64_t>(&leave);
  require(vm_engine::emit_load(code, config, Reg::kRax, Reg::kRsi, {.bytes = 8}).ok(),
          "a load of the benchmark is not emitted");
}

void run(Load load, std::uint64_t count) {
  Machine machine;
  const CopyLoopCode code([&](CodeBuffer& buffer) { emit_load(buffer, machine, load); });
  for (std::uint64_t done = 0; done < count; done += kLoads) code.run(machine.loads);
}

}  // namespace
}  // namespace vm_bench

int main(int argc, char** argv) {
  using vm_bench::Load;
  const std::array<vm_bench::CountedWork, 3> works = {
      {{"empty/all", [](std::uint64_t count) { vm_bench::run(Load::kNone, count); }},
       {"softtlb_hit_x86/all", [](std::uint64_t count) { vm_bench::run(Load::kSoftTlb, count); }},
       {"fastmem_hit/all", [](std::uint64_t count) { vm_bench::run(Load::kFastmem, count); }}}};
  return vm_bench::run_counted_works(works, argc, argv);
}
