// The helpers that move guest virtual memory in bulk. What lies in one page of each operand,
// in memory that the TLB has, is moved here; the rest is a Transfer.
#include "vm_engine/internal/cpu.h"
#include "vm_engine/internal/transfer.h"
#include "vm_engine/vm_engine.h"
#include "vm_mem/guest_copy.h"
#include "vm_mem/statistics.h"

namespace {

using vm_engine::internal::Cpu;
using vm_engine::internal::kPageMask;
using vm_engine::internal::TlbDetail;
using vm_engine::internal::Transfer;
using vm_engine::internal::TransferKind;
using vm_engine::internal::TransferRequest;

// Whether the access may use the TLB, and its length is one that the plan is for.
[[gnu::always_inline]] inline bool suits(const Cpu& cpu, const Cpu::Plan& plan, std::uint64_t n) {
  return n - 1 < plan.most_bytes && (n & plan.element_mask) == 0 && cpu.is_current();
}

// Whether what the flags ask of operands that overlap is a move as if through a buffer. Of
// those that propagate, a plan has the ascending ones.
[[gnu::always_inline]] inline bool moves(const std::byte* to, const std::byte* from,
                                         std::uint64_t n, std::uint32_t flags) {
  return (flags & VME_OVERLAP_PROPAGATE) == 0 || static_cast<std::uint64_t>(to - from) - 1 >= n - 1;
}

struct Copy {
  static constexpr bool kWrites = true;
  std::byte* to;
  const std::byte* from;
  void operator()(std::uint64_t n) const { vm_mem::copy_within_guest(to, from, n); }
};
struct Fill {
  static constexpr bool kWrites = true;
  std::byte* to;
  std::byte value;
  void operator()(std::uint64_t n) const { vm_mem::fill_guest(to, value, n); }
};
struct Read {
  static constexpr bool kWrites = false;
  std::byte* to;
  const std::byte* from;
  void operator()(std::uint64_t n) const { vm_mem::copy_from_guest(to, from, n); }
};
struct Write {
  static constexpr bool kWrites = true;
  std::byte* to;
  const std::byte* from;
  void operator()(std::uint64_t n) const { vm_mem::copy_to_guest(to, from, n); }
};

// The rest of a direct access, and its end: n bytes are moved, then the page of `gva` that
// they went to is marked, where there is one. Apart, so that the way here needs few registers.
template <typename Work>
[[gnu::noinline]] std::uint64_t finish(Cpu& cpu, [[maybe_unused]] std::uint64_t gva,
                                       [[maybe_unused]] const TlbDetail* written, std::uint64_t n,
                                       Work work) {
  if (n > vm_mem::kUncountedBytes) cpu.memory().count_copy(n);
  work(n);
  if constexpr (Work::kWrites) {
    written->mark_written(gva & ~kPageMask, n, vm_mem::WriteCause::kCopy);
  }
  return 0;
}

std::uint64_t run(Cpu& cpu, const TransferRequest& request) { return Transfer(cpu, request).run(); }

// With the parameters of the helpers, so that they come here by a jump.
[[gnu::noinline]] std::uint64_t transfer_copy(Cpu& cpu, std::uint64_t dst_gva,
                                              std::uint64_t src_gva, std::uint64_t n,
                                              std::uint32_t flags) {
  return run(cpu, {.kind = TransferKind::kCopy,
                   .bytes = n,
                   .flags = flags,
                   .source_gva = src_gva,
                   .destination_gva = dst_gva});
}

[[gnu::noinline]] std::uint64_t transfer_fill(Cpu& cpu, std::uint64_t dst_gva,
                                              std::uint64_t pattern, std::uint64_t n,
                                              std::uint32_t flags) {
  return run(cpu, {.kind = TransferKind::kFill,
                   .bytes = n,
                   .flags = flags,
                   .destination_gva = dst_gva,
                   .pattern = pattern});
}

[[gnu::noinline]] std::uint64_t transfer_read(Cpu& cpu, void* host, std::uint64_t src_gva,
                                              std::uint64_t n, std::uint32_t flags) {
  return run(cpu, {.kind = TransferKind::kRead,
                   .bytes = n,
                   .flags = flags,
                   .source_gva = src_gva,
                   .host_to = static_cast<std::byte*>(host)});
}

[[gnu::noinline]] std::uint64_t transfer_write(Cpu& cpu, std::uint64_t dst_gva, const void* host,
                                               std::uint64_t n, std::uint32_t flags) {
  return run(cpu, {.kind = TransferKind::kWrite,
                   .bytes = n,
                   .flags = flags,
                   .destination_gva = dst_gva,
                   .host_from = static_cast<const std::byte*>(host)});
}

// Once for flags that follow others.
[[gnu::noinline]] std::uint64_t plan_and_copy(Cpu& cpu, std::uint64_t dst_gva,
                                              std::uint64_t src_gva, std::uint64_t n,
                                              std::uint32_t flags) {
  cpu.make_plan(Cpu::Helper::kCopy, flags);
  return vme_copy(&cpu, dst_gva, src_gva, n, flags);
}

[[gnu::noinline]] std::uint64_t plan_and_fill(Cpu& cpu, std::uint64_t dst_gva,
                                              std::uint64_t pattern, std::uint64_t n,
                                              std::uint32_t flags) {
  cpu.make_plan(Cpu::Helper::kFill, flags);
  return vme_fill(&cpu, dst_gva, pattern, n, flags);
}

[[gnu::noinline]] std::uint64_t plan_and_read(Cpu& cpu, void* host, std::uint64_t src_gva,
                                              std::uint64_t n, std::uint32_t flags) {
  cpu.make_plan(Cpu::Helper::kRead, flags);
  return vme_read(&cpu, host, src_gva, n, flags);
}

[[gnu::noinline]] std::uint64_t plan_and_write(Cpu& cpu, std::uint64_t dst_gva, const void* host,
                                               std::uint64_t n, std::uint32_t flags) {
  cpu.make_plan(Cpu::Helper::kWrite, flags);
  return vme_write(&cpu, dst_gva, host, n, flags);
}

}  // namespace

uint64_t vme_copy(vme_cpu* block, uint64_t dst_gva, uint64_t src_gva, uint64_t n, uint32_t flags) {
  if (!Cpu::is_cpu(block)) [[unlikely]]
    return n;
  auto& cpu = static_cast<Cpu&>(*block);
  const Cpu::Plan& plan = cpu.plan_of<Cpu::Helper::kCopy>(flags);
  if (plan.flags != flags) [[unlikely]]
    return plan_and_copy(cpu, dst_gva, src_gva, n, flags);
  Cpu::Reach from, to;
  if (!suits(cpu, plan, n) || !Cpu::find(plan.source, src_gva, n, &vme_tlb_entry::read, from) ||
      !cpu.is_direct(from) || !Cpu::find(plan.destination, dst_gva, n, &vme_tlb_entry::write, to) ||
      !cpu.is_direct(to) || !moves(to.host, from.host, n, flags)) [[unlikely]]
    return transfer_copy(cpu, dst_gva, src_gva, n, flags);
  return finish(cpu, dst_gva, to.detail, n, Copy{to.host, from.host});
}

uint64_t vme_fill(vme_cpu* block, uint64_t dst_gva, uint64_t pattern, uint64_t n, uint32_t flags) {
  if (!Cpu::is_cpu(block)) [[unlikely]]
    return n;
  auto& cpu = static_cast<Cpu&>(*block);
  const Cpu::Plan& plan = cpu.plan_of<Cpu::Helper::kFill>(flags);
  if (plan.flags != flags) [[unlikely]]
    return plan_and_fill(cpu, dst_gva, pattern, n, flags);
  Cpu::Reach to;
  if (!suits(cpu, plan, n) || plan.element_mask != 0 ||
      !Cpu::find(plan.destination, dst_gva, n, &vme_tlb_entry::write, to) || !cpu.is_direct(to))
      [[unlikely]]
    return transfer_fill(cpu, dst_gva, pattern, n, flags);
  return finish(cpu, dst_gva, to.detail, n, Fill{to.host, static_cast<std::byte>(pattern & 0xff)});
}

uint64_t vme_read(vme_cpu* block, void* host, uint64_t src_gva, uint64_t n, uint32_t flags) {
  if (!Cpu::is_cpu(block)) [[unlikely]]
    return n;
  auto& cpu = static_cast<Cpu&>(*block);
  const Cpu::Plan& plan = cpu.plan_of<Cpu::Helper::kRead>(flags);
  if (plan.flags != flags) [[unlikely]]
    return plan_and_read(cpu, host, src_gva, n, flags);
  Cpu::Reach from;
  if (!suits(cpu, plan, n) || host == nullptr ||
      !Cpu::find(plan.source, src_gva, n, &vme_tlb_entry::read, from) || !cpu.is_direct(from))
      [[unlikely]]
    return transfer_read(cpu, host, src_gva, n, flags);
  return finish(cpu, src_gva, from.detail, n, Read{static_cast<std::byte*>(host), from.host});
}

uint64_t vme_write(vme_cpu* block, uint64_t dst_gva, const void* host, uint64_t n, uint32_t flags) {
  if (!Cpu::is_cpu(block)) [[unlikely]]
    return n;
  auto& cpu = static_cast<Cpu&>(*block);
  const Cpu::Plan& plan = cpu.plan_of<Cpu::Helper::kWrite>(flags);
  if (plan.flags != flags) [[unlikely]]
    return plan_and_write(cpu, dst_gva, host, n, flags);
  Cpu::Reach to;
  if (!suits(cpu, plan, n) || host == nullptr ||
      !Cpu::find(plan.destination, dst_gva, n, &vme_tlb_entry::write, to) || !cpu.is_direct(to))
      [[unlikely]]
    return transfer_write(cpu, dst_gva, host, n, flags);
  return finish(cpu, dst_gva, to.detail, n, Write{to.host, static_cast<const std::byte*>(host)});
}
