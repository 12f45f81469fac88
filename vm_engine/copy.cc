// The helpers that move guest virtual memory.
#include "vm_engine/internal/cpu.h"
#include "vm_engine/internal/transfer.h"
#include "vm_engine/vm_engine.h"

namespace {

using vm_engine::internal::Cpu;
using vm_engine::internal::Transfer;
using vm_engine::internal::TransferKind;
using vm_engine::internal::TransferRequest;

std::uint64_t run(vme_cpu* block, const TransferRequest& request) {
  Cpu* cpu = Cpu::from(block);
  return cpu == nullptr ? request.bytes : Transfer(*cpu, request).run();
}

}  // namespace

uint64_t vme_copy(vme_cpu* cpu, uint64_t dst_gva, uint64_t src_gva, uint64_t n, uint32_t flags) {
  return run(cpu, {.kind = TransferKind::kCopy,
                   .bytes = n,
                   .flags = flags,
                   .source_gva = src_gva,
                   .destination_gva = dst_gva});
}

uint64_t vme_fill(vme_cpu* cpu, uint64_t dst_gva, uint64_t pattern, uint64_t n, uint32_t flags) {
  return run(cpu, {.kind = TransferKind::kFill,
                   .bytes = n,
                   .flags = flags,
                   .destination_gva = dst_gva,
                   .pattern = pattern});
}

uint64_t vme_read(vme_cpu* cpu, void* host, uint64_t src_gva, uint64_t n, uint32_t flags) {
  return run(cpu, {.kind = TransferKind::kRead,
                   .bytes = n,
                   .flags = flags,
                   .source_gva = src_gva,
                   .host_to = static_cast<std::byte*>(host)});
}

uint64_t vme_write(vme_cpu* cpu, uint64_t dst_gva, const void* host, uint64_t n, uint32_t flags) {
  return run(cpu, {.kind = TransferKind::kWrite,
                   .bytes = n,
                   .flags = flags,
                   .destination_gva = dst_gva,
                   .host_from = static_cast<const std::byte*>(host)});
}
