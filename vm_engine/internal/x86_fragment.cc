#include "vm_engine/internal/x86_fragment.h"

#include <bit>
#include <cstddef>

#include "vm_engine/vm_engine.h"

namespace vm_engine::internal {
namespace {

namespace x86 = asmjit::x86;

// A field of the fault record, in the vCPU's block.
x86::Mem in_fault(Reg cpu, std::size_t offset, unsigned bytes) {
  return x86::Mem(gp(cpu), static_cast<std::int32_t>(VME_CPU_FAULT_OFFSET + offset), bytes);
}

}  // namespace

X86Fragment::X86Fragment(const EmitConfig& config, Fragment& out)
    : hot(config.level), slow(config.level), config_(config), out_(out) {}

void X86Fragment::to_stub(std::size_t field, std::uint32_t stub) {
  out_.stub_calls.push_back({.from = out_.origin + field, .stub = stub});
}

void X86Fragment::site(const GuestRange& range, unsigned bytes, std::uint64_t done) {
  if (!has_sites(config_)) return;
  out_.sites.push_back({.pc_off = static_cast<std::uint32_t>(out_.origin + hot.size()),
                        .land_off = 0,
                        .access = static_cast<std::uint8_t>(range.access),
                        .size_log2 = static_cast<std::uint8_t>(std::countr_zero(bytes)),
                        .side = range.side,
                        .flags = site_flags(config_),
                        .cookie = config_.cookie,
                        .adj = static_cast<std::uint16_t>(done),
                        .guest_pc = config_.guest_pc});
}

void X86Fragment::pad(std::size_t first, std::size_t last) {
  for (std::size_t site = first; site <= last && site < sites(); ++site) {
    pads_.push_back({.site = out_.first_site + site, .to = slow.size()});
  }
}

void X86Fragment::call(const X86Frame& frame, std::uint64_t helper) {
  frame.clear_upper(slow);
  slow->mov(x86::rax, helper);
  slow->call(x86::rax);
}

void X86Fragment::exit_if(const X86Frame& frame, Reg left, std::uint64_t copied_of) {
  const asmjit::Label complete = slow->newLabel();
  slow->test(gp(left), gp(left));
  slow->jz(complete);
  frame.set(slow, config_.result, left);
  frame.leave(slow);
  to_exit(copied_of);
  slow->bind(complete);
}

void X86Fragment::back() { backs_.push_back(slow.jump()); }

void X86Fragment::to_exit(std::uint64_t copied_of) {
  if (config_.cookie != VME_NO_SITE || config_.guest_pc != 0) {
    const auto low = static_cast<std::int32_t>(config_.guest_pc);
    const auto high = static_cast<std::int32_t>(config_.guest_pc >> 32);
    slow->mov(in_fault(config_.cpu, offsetof(vme_fault, site), 2), config_.cookie);
    slow->mov(in_fault(config_.cpu, offsetof(vme_fault, guest_pc), 4), low);
    slow->mov(in_fault(config_.cpu, offsetof(vme_fault, guest_pc) + 4, 4), high);
  }
  if (copied_of != 0) {
    // The helper began behind what was stored before it.
    const x86::Mem done = in_fault(config_.cpu, offsetof(vme_fault, done), 8);
    slow->mov(done, static_cast<std::int32_t>(copied_of));
    slow->sub(done, gp(config_.result));
  }
  if (!config_.exit.is_offset()) return slow.jump_to(config_.exit.value());
  exits_.push_back({.from = slow.jump(), .to = static_cast<std::size_t>(config_.exit.value())});
}

absl::Status X86Fragment::finish() {
  if (absl::Status bad = hot.take(out_.code); !bad.ok()) return bad;
  if (slow.size() == 0) return absl::OkStatus();
  SlowPath path{.isa = Isa::kX86_64};
  if (absl::Status bad = slow.take(path.code); !bad.ok()) return bad;
  for (const SlowPath::Link& entry : entries_) {
    path.entries.push_back({.from = out_.origin + entry.from, .to = entry.to});
  }
  path.leaves = exits_;
  for (const std::size_t field : backs_) {
    path.leaves.push_back({.from = field, .to = out_.origin + out_.code.size()});
  }
  path.pads = pads_;
  out_.slow = std::move(path);
  return absl::OkStatus();
}

}  // namespace vm_engine::internal
