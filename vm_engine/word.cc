// The helpers for one word: what the slow paths of emitted loads and stores call.
#include "vm_engine/internal/cpu.h"
#include "vm_engine/internal/helper_flags.h"
#include "vm_engine/internal/transfer.h"
#include "vm_engine/soft_tlb.h"
#include "vm_engine/vm_engine.h"

namespace {

using vm_engine::detail::load_host;
using vm_engine::detail::store_host;
using vm_engine::internal::Cpu;
using vm_engine::internal::destination_mode;
using vm_engine::internal::element_bytes;
using vm_engine::internal::kOrderMask;
using vm_engine::internal::kPageMask;
using vm_engine::internal::source_mode;
using vm_engine::internal::Transfer;
using vm_engine::internal::TransferKind;
using vm_engine::internal::TransferRequest;

// Modes that exist, elements that do.
constexpr std::uint32_t kPlainWordFlags = VME_NO_MMIO | VME_ONCE | 0x377;
constexpr std::uint32_t kWordFlags = kOrderMask | VME_NO_MMIO | VME_ONCE | 0x7ff;

std::uint64_t transfer(Cpu& cpu, const TransferRequest& request) {
  return Transfer(cpu, request).run();
}

bool is_plain(std::uint32_t flags) { return (flags & ~kPlainWordFlags) == 0; }

std::uint64_t load_word(const std::byte* host, std::uint64_t bytes) {
  const auto at = reinterpret_cast<std::uint64_t>(host);
  switch (bytes) {
    case 1: return load_host<std::uint8_t>(at);
    case 2: return load_host<std::uint16_t>(at);
    case 4: return load_host<std::uint32_t>(at);
    default: return load_host<std::uint64_t>(at);
  }
}

void store_word(std::byte* host, std::uint64_t value, std::uint64_t bytes) {
  const auto at = reinterpret_cast<std::uint64_t>(host);
  switch (bytes) {
    case 1: return store_host(at, static_cast<std::uint8_t>(value));
    case 2: return store_host(at, static_cast<std::uint16_t>(value));
    case 4: return store_host(at, static_cast<std::uint32_t>(value));
    default: return store_host(at, value);
  }
}

// A word's flags as those of a transfer of one element, which refuses what it does not know.
// One element is ordered as an element.
std::uint32_t word_transfer(std::uint32_t flags) {
  if ((flags & ~kWordFlags) != 0) return ~0u;
  return (flags & kOrderMask) == VME_ORDER_ACQREL_ENDS ? (flags & ~kOrderMask) | VME_ORDER_TSO_ELEM
                                                       : flags;
}

}  // namespace

vme_value vme_load(vme_cpu* block, uint64_t gva, uint32_t flags) {
  const std::uint64_t bytes = element_bytes(flags);
  Cpu* cpu = Cpu::from(block);
  if (cpu == nullptr) return {.value = 0, .left = bytes};
  if (is_plain(flags)) {
    const unsigned mode = source_mode(flags);
    Cpu::Reach from;
    if (cpu->enter(gva, bytes, VME_ACCESS_READ, mode, from)) {
      return {.value = load_word(from.host, bytes), .left = 0};
    }
  }
  std::uint64_t value = 0;
  const std::uint64_t left = transfer(*cpu, {.kind = TransferKind::kRead,
                                             .bytes = bytes,
                                             .flags = word_transfer(flags),
                                             .source_gva = gva,
                                             .host_to = reinterpret_cast<std::byte*>(&value)});
  return {.value = left == 0 ? value : 0, .left = left};
}

uint64_t vme_store(vme_cpu* block, uint64_t gva, uint64_t value, uint32_t flags) {
  const std::uint64_t bytes = element_bytes(flags);
  Cpu* cpu = Cpu::from(block);
  if (cpu == nullptr) return bytes;
  if (is_plain(flags)) {
    const unsigned mode = destination_mode(flags);
    Cpu::Reach to;
    if (cpu->enter(gva, bytes, VME_ACCESS_WRITE, mode, to)) {
      store_word(to.host, value, bytes);
      to.detail->mark_written(gva & ~kPageMask, bytes, vm_mem::WriteCause::kStore);
      return 0;
    }
  }
  return transfer(*cpu, {.kind = TransferKind::kWrite,
                         .bytes = bytes,
                         .flags = word_transfer(flags),
                         .destination_gva = gva,
                         .host_from = reinterpret_cast<const std::byte*>(&value)});
}
