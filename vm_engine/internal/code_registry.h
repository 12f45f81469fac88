// All registered code of the process, for the handler and for who changes it.
#ifndef VM_ENGINE_INTERNAL_CODE_REGISTRY_H_
#define VM_ENGINE_INTERNAL_CODE_REGISTRY_H_

#include <cstdint>
#include <memory>

#include "vm_engine/internal/code_index.h"

namespace vm_engine::internal {

// Errors:  VME_EINVAL (overlap), VME_ENOMEM; `code` is then gone.
vme_rc add_code(std::unique_ptr<vme_code> code);
// Frees it once no handler looks at it.
// Errors:  VME_ENOMEM: it stays.
vme_rc remove_code(vme_code& code);

// Needs:   a HandlerStay, which the answer is good for.
// Memory:  async-signal-safe.
vme_code* find_code(std::uintptr_t address);

// Takes one site of this engine that has become hot and has not been told of.
bool take_hot_site(vme_engine& engine, vme_hot_site& site);

// Whether [begin, begin + bytes) is mapped executable, as far as the host tells.
// The runs that were found last are believed, whatever has become of them.
bool is_executable(std::uintptr_t begin, std::uint64_t bytes);

// For fork_guard.h.
void lock_code_for_fork();
void unlock_code_after_fork();

}  // namespace vm_engine::internal

#endif  // VM_ENGINE_INTERNAL_CODE_REGISTRY_H_
