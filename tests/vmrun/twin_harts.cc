#include "tests/vmrun/twin_harts.h"

#include <algorithm>
#include <array>
#include <cstddef>

#include "tests/vmrun/assembler.h"
#include "tests/vmrun/fuzz_instruction.h"
#include "tests/vmrun/random_program.h"

namespace vmrun {
namespace {

namespace as = assembler;

constexpr std::uint64_t kRam = 0x8000'0000;
constexpr std::uint64_t kRamPages = 16;
constexpr std::uint64_t kPage = 4096;
constexpr std::uint64_t kCodePages = 4;  // from kRam on
constexpr std::uint64_t kCodeBytes = kCodePages * kPage;
constexpr std::uint64_t kHandler = kRam + kCodeBytes;  // one page
constexpr std::uint64_t kData = kHandler + kPage;
// Where no immediate of an instruction reaches: the tables of three levels.
constexpr std::uint64_t kTables = 0xa000'0000;
// Pages of guest addresses: the code, an alias of it, the data, the lowest table.
constexpr std::uint64_t kVirtual = 0x3f'c000'0000;
constexpr std::uint64_t kAlias = 16, kVirtualData = 32, kEntries = 48;
constexpr std::uint64_t kR = 2, kW = 4, kX = 8, kU = 16, kAd = 0xc0;

// Goes on two bytes behind what trapped.
constexpr std::uint32_t kSkip[] = {as::csrrw(31, 0x340, 31), as::csrrs(31, 0x341, 0),
                                   as::addi(31, 31, 2),      as::csrrw(0, 0x341, 31),
                                   as::csrrw(31, 0x340, 31), as::kMret};

std::vector<std::byte> contents(vm_mem::MemoryManager& memory, std::uint64_t at,
                                std::uint64_t pages) {
  std::vector<std::byte> out(pages * kPage);
  static_cast<void>(memory.read(vm_mem::GuestAddress{at}, out));
  return out;
}

}  // namespace

TwinHarts::Twin TwinHarts::make_twin(vm_mem::Backing backing) {
  Twin twin{vm_mem::MemoryManager::create({}).value(), nullptr};
  const vm_mem::RamOptions watched{.backing = backing, .code_watch = vm_mem::CodeWatching::kOn};
  for (const auto& [at, pages] :
       {std::pair{kRam, kRamPages}, std::pair{kTables, std::uint64_t{3}}}) {
    const auto range = vm_mem::GuestRange::make(vm_mem::GuestAddress{at}, pages * kPage);
    static_cast<void>(twin.memory->add_ram(*range, watched).value());
  }
  twin.hart = Hart::create(*twin.memory).value();
  return twin;
}

void TwinHarts::write(std::uint64_t address, std::span<const std::byte> bytes) {
  for (Twin* twin : {&translating_, &interpreting_}) {
    static_cast<void>(twin->memory->write(vm_mem::GuestAddress{address}, bytes));
  }
}

void TwinHarts::write_entry(std::uint64_t at, std::uint64_t physical, std::uint64_t bits) {
  const std::array entry{physical >> 12 << 10 | bits};
  write(at, std::as_bytes(std::span(entry)));
}

void TwinHarts::map_pages(std::uint64_t bits) {
  write_entry(kTables + 8 * (kVirtual >> 30 & 511), kTables + kPage, 1);
  write_entry(kTables + kPage, kTables + 2 * kPage, 1);
  const std::uint64_t common = 1 | kR | ((bits & 1) != 0 ? kAd : 0) | ((bits & 2) != 0 ? kU : 0);
  const std::uint64_t lowest = kTables + 2 * kPage;
  for (std::uint64_t page = 0; page < kCodePages; ++page) {
    write_entry(lowest + 8 * page, kRam + page * kPage, common | kX);
    write_entry(lowest + 8 * (kAlias + page), kRam + page * kPage, common | kW);
    write_entry(lowest + 8 * (kVirtualData + page), kData + page * kPage, common | kW);
  }
  write_entry(lowest + 8 * kEntries, lowest, common | kW);
}

TwinHarts::TwinHarts(std::span<const std::uint8_t> input) {
  vm_mem::ByteSource source(input);
  const std::uint64_t settings = source.take(1);
  // An arena shows memory that has a descriptor.
  has_fastmem_ = (settings & 4) != 0;
  translating_ = make_twin(has_fastmem_ ? vm_mem::Backing::kMemfd : vm_mem::Backing::kAnonymous);
  interpreting_ = make_twin(vm_mem::Backing::kAnonymous);
  JitOptions options{.interpreted_runs = 0};
  if (has_fastmem_) {
    options.memory_mode = MemoryMode::kFastmem;
    options.ram_base = kRam;
    options.ram_bytes = kRamPages * kPage;
  }
  is_ready_ = translating_.hart->use_jit(options).ok() &&
              translating_.hart->jit()->fallback_reason().empty();
  map_pages(settings);
  write(kHandler, std::as_bytes(std::span(kSkip)));
  set_up(source);
  for (std::uint64_t count = 1 + source.below(8); count != 0; --count) {
    slices_.push_back(
        {.pc = source.take(2),
         .privilege = std::array{Privilege::kMachine, Privilege::kSupervisor,
                                 Privilege::kSupervisor, Privilege::kUser}[source.below(4)],
         .instructions = 1 + 4 * source.take(1),
         .event = source.below(8),
         .operand = source.take(4)});
  }
  // Across the end of a page.
  std::vector<std::uint16_t> code;
  while (!source.empty()) {
    const auto next = fuzz_instruction(source);
    code.insert(code.end(), next.begin(), next.end());
  }
  code.resize(std::clamp<std::uint64_t>(code.size(), 1, kCodeBytes / 2));
  const std::uint64_t begin = (kCodeBytes / 2 - code.size()) & ~std::uint64_t{1};
  write(kRam + begin, std::as_bytes(std::span(code)));
  for (Slice& slice : slices_) slice.pc = begin + 2 * (slice.pc % code.size());
}

void TwinHarts::set_up(vm_mem::ByteSource& source) {
  const std::uint64_t seed = source.take(2);
  for (Twin* twin : {&translating_, &interpreting_}) {
    RandomProgram random(seed);
    HartState& state = twin->hart->state();
    for (std::size_t i = 1; i < 32; ++i) state.x[i] = random.value();
    for (std::size_t i = 0; i < 32; ++i) {
      state.f[i] = i < RandomProgram::kSingles ? random.single() : random.value();
    }
    state.csrs.mtvec = kHandler;
    state.csrs.mstatus = kMstatusFs | kMstatusMpp | kMstatusMie | (seed & 1) * kMstatusSum;
    state.csrs.mie = kInterruptMask;
    state.csrs.mcounteren = state.csrs.scounteren = 7;
    state.csrs.menvcfg |= kEnvcfgCbie | kEnvcfgCbcfe | kEnvcfgCbze;
    state.csrs.senvcfg |= kEnvcfgCbie | kEnvcfgCbcfe | kEnvcfgCbze;
    state.csrs.pmpcfg[15] = 0x1f;
    state.csrs.pmpaddr[15] = ~std::uint64_t{0} >> 10;
    state.csrs.satp = std::uint64_t{8} << 60 | kTables >> 12;
  }
}

void TwinHarts::begin(const Slice& slice) {
  const bool physical = slice.privilege == Privilege::kMachine;
  for (Twin* twin : {&translating_, &interpreting_}) {
    HartState& state = twin->hart->state();
    state.pc = (physical ? kRam : kVirtual) + slice.pc;
    state.privilege = slice.privilege;
    const auto middle = [&](std::uint64_t real, std::uint64_t page) {
      return (physical ? real : kVirtual + page * kPage) + kCodeBytes / 2;
    };
    state.x[kDataRegister] = middle(kData, kVirtualData);
    state.x[kAliasRegister] = middle(kRam, kAlias);
    state.x[kEntryRegister] = physical ? kTables + 2 * kPage : kVirtual + kEntries * kPage;
  }
}

void TwinHarts::happen(const Slice& slice) {
  constexpr Interrupt kInterrupts[] = {Interrupt::kTimer, Interrupt::kSoftware,
                                       Interrupt::kExternal, Interrupt::kSupervisorTimer};
  const Interrupt interrupt = kInterrupts[slice.operand % 4];
  const std::array word{static_cast<std::uint32_t>(slice.operand)};
  switch (slice.event) {
    case 1: return write(kRam + slice.operand % (kCodeBytes - 4), std::as_bytes(std::span(word)));
    case 2:
      translating_.hart->state().pins.raise(interrupt);
      return interpreting_.hart->state().pins.raise(interrupt);
    case 3:
      translating_.hart->state().pins.lower(interrupt);
      return interpreting_.hart->state().pins.lower(interrupt);
    default: return;
  }
}

// The reference decodes each block anew, as the other one is told of what is written to code.
void TwinHarts::run_slice(const Slice& slice) {
  for (Twin* twin : {&translating_, &interpreting_}) {
    Hart& hart = *twin->hart;
    const std::uint64_t end = hart.state().clock.retired() + slice.instructions;
    while (hart.state().clock.retired() < end) {
      if (hart.jit() == nullptr) hart.forget_code();
      const std::uint64_t left = end - hart.state().clock.retired();
      if (hart.run(hart.jit() == nullptr ? 1 : left) == StopReason::kTrapLoop) break;
    }
  }
}

std::string TwinHarts::difference(Twin& got, Twin& want) {
  HartState &a = got.hart->state(), &b = want.hart->state();
  if (a.pc != b.pc) return "pc";
  if (a.clock.retired() != b.clock.retired()) return "instructions";
  if (a.privilege != b.privilege) return "privilege";
  if (!std::equal(&a.x[0], &a.x[kSink], &b.x[0])) return "x";
  if (a.f != b.f) return "f";
  if (!(a.csrs == b.csrs)) return "CSRs";
  for (const auto& [at, pages] :
       {std::pair{kRam, kRamPages}, std::pair{kTables, std::uint64_t{3}}}) {
    if (contents(*got.memory, at, pages) != contents(*want.memory, at, pages)) return "memory";
  }
  return {};
}

std::string TwinHarts::run() {
  if (!is_ready_) return "no translator, or not the one asked for";
  for (std::size_t i = 0; i < slices_.size(); ++i) {
    begin(slices_[i]);
    happen(slices_[i]);
    run_slice(slices_[i]);
    const std::string found = difference(translating_, interpreting_);
    if (!found.empty()) return found + " after slice " + std::to_string(i);
  }
  return {};
}

}  // namespace vmrun
