// Bytes that another process shares, and may cut off while they are in use.
#ifndef VM_DEVICE_INTERNAL_FOREIGN_BYTES_H_
#define VM_DEVICE_INTERNAL_FOREIGN_BYTES_H_

#include <cstddef>
#include <cstdint>
#include <memory>

#include "absl/status/statusor.h"
#include "vm_device/internal/owned_fd.h"
#include "vm_mem/memory_manager.h"
#include "vm_mem/memory_reader.h"

namespace vm_device::internal {

// Whether access to a file's memory has to expect faults. What nobody can cut off cannot fault,
// but where a pool of huge pages may run dry.
vm_mem::FaultRecovery recovery_for(int fd);

// A file's range at addresses from 0 on: access by a MemoryManager gives an error where plain
// access would be SIGBUS.
class ForeignBytes {
 public:
  // Errors:  kInvalidArgument  no bytes, an offset that is no multiple of the page size, or a
  //                            file that is too short
  //          kUnavailable      it cannot be mapped; errno in the message
  //          also those of MemoryManager::add_ram().
  static absl::StatusOr<std::unique_ptr<ForeignBytes>> map(const OwnedFd& fd, std::uint64_t offset,
                                                           std::uint64_t bytes);
  ForeignBytes(const ForeignBytes&) = delete;
  ForeignBytes& operator=(const ForeignBytes&) = delete;
  ~ForeignBytes();

  std::uint64_t bytes() const { return bytes_; }
  vm_mem::MemoryManager& memory() { return *memory_; }
  // The quicker way, for one thread at a time.
  vm_mem::MemoryReader& reader() { return *reader_; }

 private:
  ForeignBytes(void* mapping, std::uint64_t mapped, std::uint64_t bytes)
      : mapping_(mapping), mapped_(mapped), bytes_(bytes) {}

  void* mapping_;
  std::uint64_t mapped_;
  std::uint64_t bytes_;
  std::unique_ptr<vm_mem::MemoryManager> memory_;
  std::unique_ptr<vm_mem::MemoryReader> reader_;
};

}  // namespace vm_device::internal

#endif  // VM_DEVICE_INTERNAL_FOREIGN_BYTES_H_
