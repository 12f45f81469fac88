// RAM at one host address, at its own guest addresses: for code in M-mode, where those are
// physical.
#ifndef VMRUN_JIT_FASTMEM_H_
#define VMRUN_JIT_FASTMEM_H_

#include <cstdint>
#include <memory>
#include <string>

#include "vm_engine/fastmem.h"
#include "vm_engine/vm_engine.h"
#include "vm_mem/guest_address.h"
#include "vm_mem/memory_manager.h"

namespace vmrun {

class JitFastmem {
 public:
  // Never null. Where there is no arena, is_on() is false and reason() says why.
  // Needs:  both outlive it; the vCPU does not run.
  static std::unique_ptr<JitFastmem> create(vme_cpu& cpu, vm_mem::MemoryManager& memory,
                                            vm_mem::GuestRange ram);
  JitFastmem(const JitFastmem&) = delete;
  JitFastmem& operator=(const JitFastmem&) = delete;
  ~JitFastmem();

  bool is_on() const { return arena_ != nullptr; }
  const std::string& reason() const { return reason_; }
  unsigned arena_bits() const { return arena_bits_; }

  // Faults of this thread's emitted code are the vCPU's from here on. Before each run.
  // Errors:  false: translated code may not be run.
  bool enter_thread();

 private:
  explicit JitFastmem(vme_cpu& cpu);
  absl::Status start(vm_mem::MemoryManager& memory, vm_mem::GuestRange ram);

  vme_cpu* cpu_;
  std::uint64_t id_;  // of all there ever were in the process
  unsigned arena_bits_ = 0;
  std::unique_ptr<vm_engine::FastmemArena> arena_;
  std::string reason_;
};

}  // namespace vmrun

#endif  // VMRUN_JIT_FASTMEM_H_
