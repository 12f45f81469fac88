// The helpers that move guest virtual memory in bulk. What lies in one page of each operand,
// in memory that the TLB has, is moved here; the rest is a Transfer.
#include "vm_engine/internal/cpu.h"
#include "vm_engine/internal/transfer.h"
#include "vm_engine/vm_engine.h"
#include "vm_mem/guest_copy.h"
#include "vm_mem/statistics.h"

namespace {

using vm_engine::internal::Cpu;
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
  std::byte* to;
  const std::byte* from;
  void operator()(std::uint64_t n) const { vm_mem::copy_within_guest(to, from, n); }
};
struct Fill {
  std::byte* to;
  std::byte value;
  void operator()(std::uint64_t n) const { vm_mem::fill_guest(to, value, n); }
};
struct Read {
  std::byte* to;
  const std::byte* from;
  void operator()(std::uint64_t n) const { vm_mem::copy_from_guest(to, from, n); }
};
struct Write {
  std::byte* to;
  const std::byte* from;
  void operator()(std::uint64_t n) const { vm_mem::copy_to_guest(to, from, n); }
};

template <typename Work>
[[gnu::noinline]] std::uint64_t finish_counted(const Cpu& cpu, std::uint64_t n, Work work) {
  cpu.memory().count_copy(n);
  work(n);
  return 0;
}

// The end of a direct access. A page that is open for direct stores is marked already, and
// again when it is closed.
template <typename Work>
[[gnu::always_inline]] inline std::uint64_t finish(const Cpu& cpu, std::uint64_t n, Work work) {
  if (n > vm_mem::kUncountedBytes) return finish_counted(cpu, n, work);
  work(n);
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

// Whether all that these reach may be accessed directly. Where all memory of the TLB is so,
// the plan has said it.
template <Cpu::Looks kLooks, typename... Reach>
[[gnu::always_inline]] inline bool direct(const Reach&... reach) {
  return kLooks == Cpu::Looks::kDirect || (reach.detail->direct && ...);
}

template <Cpu::Looks kLooks>
[[gnu::always_inline]] inline std::uint64_t copy_by(Cpu& cpu, const Cpu::Plan& plan,
                                                    std::uint64_t dst_gva, std::uint64_t src_gva,
                                                    std::uint64_t n, std::uint32_t flags) {
  Cpu::Reach from, to;
  if (!suits(cpu, plan, n) || !Cpu::find(plan.source, src_gva, n, &vme_tlb_entry::read, from) ||
      !Cpu::find(plan.destination, dst_gva, n, &vme_tlb_entry::write, to) ||
      !direct<kLooks>(from, to) || !moves(to.host, from.host, n, flags)) [[unlikely]]
    return transfer_copy(cpu, dst_gva, src_gva, n, flags);
  return finish(cpu, n, Copy{to.host, from.host});
}

template <Cpu::Looks kLooks>
[[gnu::always_inline]] inline std::uint64_t fill_by(Cpu& cpu, const Cpu::Plan& plan,
                                                    std::uint64_t dst_gva, std::uint64_t pattern,
                                                    std::uint64_t n, std::uint32_t flags) {
  Cpu::Reach to;
  if (!suits(cpu, plan, n) || plan.element_mask != 0 ||
      !Cpu::find(plan.destination, dst_gva, n, &vme_tlb_entry::write, to) || !direct<kLooks>(to))
      [[unlikely]]
    return transfer_fill(cpu, dst_gva, pattern, n, flags);
  return finish(cpu, n, Fill{to.host, static_cast<std::byte>(pattern & 0xff)});
}

template <Cpu::Looks kLooks>
[[gnu::always_inline]] inline std::uint64_t read_by(Cpu& cpu, const Cpu::Plan& plan, void* host,
                                                    std::uint64_t src_gva, std::uint64_t n,
                                                    std::uint32_t flags) {
  Cpu::Reach from;
  if (!suits(cpu, plan, n) || host == nullptr ||
      !Cpu::find(plan.source, src_gva, n, &vme_tlb_entry::read, from) || !direct<kLooks>(from))
      [[unlikely]]
    return transfer_read(cpu, host, src_gva, n, flags);
  return finish(cpu, n, Read{static_cast<std::byte*>(host), from.host});
}

template <Cpu::Looks kLooks>
[[gnu::always_inline]] inline std::uint64_t write_by(Cpu& cpu, const Cpu::Plan& plan,
                                                     std::uint64_t dst_gva, const void* host,
                                                     std::uint64_t n, std::uint32_t flags) {
  Cpu::Reach to;
  if (!suits(cpu, plan, n) || host == nullptr ||
      !Cpu::find(plan.destination, dst_gva, n, &vme_tlb_entry::write, to) || !direct<kLooks>(to))
      [[unlikely]]
    return transfer_write(cpu, dst_gva, host, n, flags);
  return finish(cpu, n, Write{to.host, static_cast<const std::byte*>(host)});
}

// The plan for flags that follow others, and for a TLB that has memory which is not direct.
template <Cpu::Helper kHelper>
const Cpu::Plan& looking_plan(Cpu& cpu, std::uint32_t flags) {
  const auto& plan = cpu.plan_of<kHelper, Cpu::Looks::kEach>(flags);
  if (!cpu.has_indirect() || plan.flags != flags) cpu.make_plan(kHelper, flags);
  return cpu.has_indirect() ? plan : cpu.plan_of<kHelper>(flags);
}

[[gnu::noinline]] std::uint64_t look_and_copy(Cpu& cpu, std::uint64_t dst_gva,
                                              std::uint64_t src_gva, std::uint64_t n,
                                              std::uint32_t flags) {
  const Cpu::Plan& plan = looking_plan<Cpu::Helper::kCopy>(cpu, flags);
  return copy_by<Cpu::Looks::kEach>(cpu, plan, dst_gva, src_gva, n, flags);
}

[[gnu::noinline]] std::uint64_t look_and_fill(Cpu& cpu, std::uint64_t dst_gva,
                                              std::uint64_t pattern, std::uint64_t n,
                                              std::uint32_t flags) {
  const Cpu::Plan& plan = looking_plan<Cpu::Helper::kFill>(cpu, flags);
  return fill_by<Cpu::Looks::kEach>(cpu, plan, dst_gva, pattern, n, flags);
}

[[gnu::noinline]] std::uint64_t look_and_read(Cpu& cpu, void* host, std::uint64_t src_gva,
                                              std::uint64_t n, std::uint32_t flags) {
  const Cpu::Plan& plan = looking_plan<Cpu::Helper::kRead>(cpu, flags);
  return read_by<Cpu::Looks::kEach>(cpu, plan, host, src_gva, n, flags);
}

[[gnu::noinline]] std::uint64_t look_and_write(Cpu& cpu, std::uint64_t dst_gva, const void* host,
                                               std::uint64_t n, std::uint32_t flags) {
  const Cpu::Plan& plan = looking_plan<Cpu::Helper::kWrite>(cpu, flags);
  return write_by<Cpu::Looks::kEach>(cpu, plan, dst_gva, host, n, flags);
}

}  // namespace

uint64_t vme_copy(vme_cpu* block, uint64_t dst_gva, uint64_t src_gva, uint64_t n, uint32_t flags) {
  if (!Cpu::is_cpu(block)) [[unlikely]]
    return n;
  auto& cpu = static_cast<Cpu&>(*block);
  const Cpu::Plan& plan = cpu.plan_of<Cpu::Helper::kCopy>(flags);
  if (plan.flags != flags) [[unlikely]]
    return look_and_copy(cpu, dst_gva, src_gva, n, flags);
  return copy_by<Cpu::Looks::kDirect>(cpu, plan, dst_gva, src_gva, n, flags);
}

uint64_t vme_fill(vme_cpu* block, uint64_t dst_gva, uint64_t pattern, uint64_t n, uint32_t flags) {
  if (!Cpu::is_cpu(block)) [[unlikely]]
    return n;
  auto& cpu = static_cast<Cpu&>(*block);
  const Cpu::Plan& plan = cpu.plan_of<Cpu::Helper::kFill>(flags);
  if (plan.flags != flags) [[unlikely]]
    return look_and_fill(cpu, dst_gva, pattern, n, flags);
  return fill_by<Cpu::Looks::kDirect>(cpu, plan, dst_gva, pattern, n, flags);
}

uint64_t vme_read(vme_cpu* block, void* host, uint64_t src_gva, uint64_t n, uint32_t flags) {
  if (!Cpu::is_cpu(block)) [[unlikely]]
    return n;
  auto& cpu = static_cast<Cpu&>(*block);
  const Cpu::Plan& plan = cpu.plan_of<Cpu::Helper::kRead>(flags);
  if (plan.flags != flags) [[unlikely]]
    return look_and_read(cpu, host, src_gva, n, flags);
  return read_by<Cpu::Looks::kDirect>(cpu, plan, host, src_gva, n, flags);
}

uint64_t vme_write(vme_cpu* block, uint64_t dst_gva, const void* host, uint64_t n, uint32_t flags) {
  if (!Cpu::is_cpu(block)) [[unlikely]]
    return n;
  auto& cpu = static_cast<Cpu&>(*block);
  const Cpu::Plan& plan = cpu.plan_of<Cpu::Helper::kWrite>(flags);
  if (plan.flags != flags) [[unlikely]]
    return look_and_write(cpu, dst_gva, host, n, flags);
  return write_by<Cpu::Looks::kDirect>(cpu, plan, dst_gva, host, n, flags);
}
