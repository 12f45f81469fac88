// Memory for translated code. No page is writable and executable at once: the same memory
// is mapped twice, at one address to write it, at another to run it.
#ifndef VM_ENGINE_CODE_MEMORY_H_
#define VM_ENGINE_CODE_MEMORY_H_

#include <cstddef>
#include <memory>
#include <span>

#include "absl/status/status.h"
#include "absl/status/statusor.h"

namespace vm_engine {

// Threads:  the views may be used by any number; publish(), write() and
//           synchronize_threads() too. Who writes where is the translator's business.
class CodeMemory {
 public:
  // Units:   `bytes` is rounded up to the host page size.
  // Errors:  kInvalidArgument    0 bytes
  //          kPermissionDenied   the host does not let the memory be executed (a security
  //                              module, a seccomp filter); the message carries errno
  //          kResourceExhausted  no memory, no address space; the message carries errno
  // Cost:    a memfd and two mappings; pages come with their first use.
  static absl::StatusOr<CodeMemory> create(std::size_t bytes);

  CodeMemory(CodeMemory&&) noexcept;
  CodeMemory& operator=(CodeMemory&&) noexcept;
  // Needs:  no thread runs code in it.
  ~CodeMemory();

  // Where code is written: readable and writable. The byte at offset i of it is run at
  // offset i of executable(), so code that is emitted here must not depend on where it
  // stands; distances within the memory hold.
  std::span<std::byte> writable() const;
  // Where code is run: readable and executable.
  std::span<const std::byte> executable() const;

  // Copies code to `offset` through the copy core and publishes it.
  // Errors:  kOutOfRange: it does not fit there; nothing is written.
  absl::Status write(std::size_t offset, std::span<const std::byte> code);

  // Makes what was written to [offset, offset + bytes) of writable() fit to run: on hosts
  // whose instruction cache does not follow stores, it is brought up to date.
  //
  // Memory:  a thread that learns of the code's address after this (by an acquire load, a
  //          lock) runs the new code, where it has not run or fetched other code from
  //          there before. For memory that is used again, synchronize_threads().
  // Errors:  kOutOfRange.
  // Source:  Arm Architecture Reference Manual, B2.4.4; Intel SDM volume 3, 8.1.3.
  absl::Status publish(std::size_t offset, std::size_t bytes);

  // After it every thread of this process has passed an instruction that makes it forget
  // what it fetched ahead, this one included: needed between publishing code where other
  // threads may have run other code, and letting them go there again.
  //
  // Errors:  kUnimplemented: the host has no membarrier(2) for it (Linux 4.16).
  // Cost:    an interrupt on every CPU that runs this process, a few microseconds.
  // Source:  membarrier(2), MEMBARRIER_CMD_PRIVATE_EXPEDITED_SYNC_CORE.
  static absl::Status synchronize_threads();

 private:
  struct Views;
  explicit CodeMemory(std::unique_ptr<Views> views);
  absl::Status check_inside(std::size_t offset, std::size_t bytes) const;

  std::unique_ptr<Views> views_;
};

}  // namespace vm_engine

#endif  // VM_ENGINE_CODE_MEMORY_H_
