#include "tests/support/emitted_functions.h"

#include <initializer_list>
#include <span>
#include <stdexcept>
#include <string>

namespace vm_test {
namespace {

using vm_engine::EmitConfig;
using vm_engine::Isa;
using vm_engine::Reg;
using vm_engine::reg_bit;
using vm_engine::RegSet;

constexpr std::size_t kCodeBytes = 4 << 20;

// A function takes the destination, the source, the size, the vCPU and the arena's base.
struct HostIsa {
  FunctionRegisters registers;
  Reg cpu, base, result;
  RegSet scratch;
  unsigned rsp_mod_16;  // behind the prologue
  std::initializer_list<std::uint8_t> prologue, nothing_left, epilogue;
};

// Code in line takes more registers than calls may change: rbx, rbp and r12 to r15 are saved.
const HostIsa kX86{
    .registers = {Reg::kRdi, Reg::kRsi, Reg::kRdx, Reg::kRdx},
    .cpu = Reg::kRcx,
    .base = Reg::kR8,
    .result = Reg::kRax,
    .scratch = 0xfe29,  // rax, rbx, rbp, r9 to r15
    .rsp_mod_16 = 8,
    .prologue = {0x53, 0x55, 0x41, 0x54, 0x41, 0x55, 0x41, 0x56, 0x41, 0x57},
    .nothing_left = {0x31, 0xc0},  // xor eax, eax
    .epilogue = {0x41, 0x5f, 0x41, 0x5e, 0x41, 0x5d, 0x41, 0x5c, 0x5d, 0x5b, 0xc3},
};
const HostIsa kA64{
    .registers = {Reg::kX0, Reg::kX1, Reg::kX2, Reg::kX1},
    .cpu = Reg::kX3,
    .base = Reg::kX4,
    .result = Reg::kX0,
    .scratch = 0x3ffe0,  // x5 to x17
    .rsp_mod_16 = 0,
    .prologue = {},
    .nothing_left = {0x00, 0x00, 0x80, 0xd2},  // mov x0, #0
    .epilogue = {0xc0, 0x03, 0x5f, 0xd6},      // ret
};

const HostIsa& host_isa() {
  return vm_engine::default_emit_config().isa == Isa::kAArch64 ? kA64 : kX86;
}

vm_engine::CodeMemory new_memory() {
  auto memory = vm_engine::CodeMemory::create(kCodeBytes);
  if (!memory.ok()) throw std::runtime_error(std::string(memory.status().message()));
  return std::move(*memory);
}

EmitConfig config_for(vm_engine::AddressMode mode, vm_engine::VectorLevel level) {
  const HostIsa& isa = host_isa();
  EmitConfig config = vm_engine::default_emit_config();
  if (level != config.level) config.scratch_vectors &= vm_engine::kLowVectors;
  config.address_mode = mode;
  config.level = level;
  config.scratch = isa.scratch;
  config.cpu = isa.cpu;
  config.result = isa.result;
  config.fastmem_base = isa.base;
  config.rsp_mod_16 = isa.rsp_mod_16;
  config.red_zone_bytes = 0;
  config.exit = vm_engine::ExitTarget::at_offset(0);
  config.host_faults = vm_engine::HostFaults::kCaught;
  return config;
}

}  // namespace

FunctionRegisters EmittedFunctions::registers() { return host_isa().registers; }

void EmittedFunctions::check(const absl::Status& status) {
  if (!status.ok()) throw std::runtime_error(std::string(status.message()));
}

EmittedFunctions::EmittedFunctions(vm_engine::AddressMode mode, vm_engine::VectorLevel level)
    : memory_(new_memory()), config_(config_for(mode, level)) {
  buffer_.bytes = memory_.writable();
  append(host_isa().epilogue);  // the exit, with the result in place
}

EmittedFunctions::~EmittedFunctions() { vme_code_unregister(registered_); }

template <typename Bytes>
void EmittedFunctions::append(const Bytes& bytes) {
  for (const std::uint8_t byte : bytes) buffer_.bytes[buffer_.used++] = std::byte{byte};
}

void EmittedFunctions::begin() {
  buffer_.used = (buffer_.used + 15) / 16 * 16;
  functions_.push_back({.entry = buffer_.used, .first_site = buffer_.fault_sites.size()});
  append(host_isa().prologue);
}

std::size_t EmittedFunctions::end(Complete complete) {
  if (complete == Complete::kFallsThrough) append(host_isa().nothing_left);
  append(host_isa().epilogue);
  check(emit_slow_paths(buffer_));
  return functions_.size() - 1;
}

void EmittedFunctions::register_sites(vme_engine* engine, LandingPads pads) {
  std::span<vme_site> sites = buffer_.fault_sites;
  for (std::size_t i = functions_.size(); pads == LandingPads::kOneForAll && i-- > 0;) {
    const std::span<vme_site> own = sites.subspan(functions_[i].first_site);
    for (vme_site& site : own) site.land_off = own.front().land_off;
    sites = sites.first(functions_[i].first_site);
  }
  check(memory_.publish(0, buffer_.used));
  const std::span<const std::byte> code = memory_.executable();
  auto* const base = const_cast<std::byte*>(code.data());
  if (vme_code_register(engine, base, code.size(), buffer_.fault_sites.data(),
                        buffer_.fault_sites.size(), &registered_) != VME_OK) {
    throw std::runtime_error("the sites are refused");
  }
}

EmittedFunctions::Result EmittedFunctions::call(std::size_t function, vme_cpu* cpu,
                                                std::uint64_t dst, std::uint64_t src,
                                                std::uint64_t size) const {
  using Code = Result (*)(std::uint64_t, std::uint64_t, std::uint64_t, vme_cpu*, void*);
  const std::byte* const entry = memory_.executable().data() + functions_[function].entry;
  return reinterpret_cast<Code>(reinterpret_cast<std::uintptr_t>(entry))(dst, src, size, cpu,
                                                                         cpu->fastmem_base);
}

}  // namespace vm_test
