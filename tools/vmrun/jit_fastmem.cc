#include "tools/vmrun/jit_fastmem.h"

#include <atomic>
#include <bit>

namespace vmrun {
namespace {

std::atomic<std::uint64_t> last_id{0};
thread_local std::uint64_t attached_id = 0;

}  // namespace

JitFastmem::JitFastmem(vme_cpu& cpu) : cpu_(&cpu), id_(++last_id) {}

std::unique_ptr<JitFastmem> JitFastmem::create(vme_cpu& cpu, vm_mem::MemoryManager& memory,
                                               vm_mem::GuestRange ram) {
  std::unique_ptr<JitFastmem> made(new JitFastmem(cpu));
  if (const absl::Status status = made->start(memory, ram); !status.ok()) {
    made->arena_.reset();
    made->reason_ = std::string(status.message());
  }
  return made;
}

absl::Status JitFastmem::start(vm_mem::MemoryManager& memory, vm_mem::GuestRange ram) {
  if (vme_fault_install(0) != VME_OK) {
    return absl::UnimplementedError("the host does not let faults be handled");
  }
  const std::uint64_t end = ram.begin().value + ram.bytes();
  const std::uint64_t bytes = std::bit_ceil(end);
  arena_bits_ = static_cast<unsigned>(std::countr_zero(bytes));
  auto arena = vm_engine::FastmemArena::create(
      memory, {.bytes = bytes, .space = vm_engine::FastmemSpace::kVirtual});
  if (!arena.ok()) return arena.status();
  arena_ = *std::move(arena);
  if (arena_->mode() == vm_engine::FastmemMode::kSoftTlb) {
    return absl::UnimplementedError(arena_->reason());
  }
  if (absl::Status mapped = arena_->map(ram.begin().value, ram); !mapped.ok()) return mapped;
  return arena_->attach(cpu_);
}

JitFastmem::~JitFastmem() {
  if (attached_id == id_) {
    vme_thread_detach();
    attached_id = 0;
  }
  if (arena_ != nullptr) arena_->detach(cpu_);
}

bool JitFastmem::enter_thread() {
  if (attached_id == id_) return true;
  if (vme_thread_attach(cpu_) != VME_OK) return false;
  attached_id = id_;
  return true;
}

}  // namespace vmrun
