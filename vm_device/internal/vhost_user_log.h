// The bitmap in which a vhost-user front end finds the pages that its back end has written.
#ifndef VM_DEVICE_INTERNAL_VHOST_USER_LOG_H_
#define VM_DEVICE_INTERNAL_VHOST_USER_LOG_H_

#include <cstdint>
#include <memory>
#include <optional>
#include <vector>

#include "absl/status/status.h"
#include "vm_device/internal/foreign_bytes.h"
#include "vm_device/internal/owned_fd.h"
#include "vm_device/internal/vhost_user_memory.h"
#include "vm_mem/memory_manager.h"

namespace vm_device::internal {

// Bit p % 8 of byte p / 8 is the page of 4096 bytes at guest address p * 4096. The front end
// clears bits while they are set here.
class VhostUserLog {
 public:
  // Needs:  `memory` outlives this object.
  explicit VhostUserLog(vm_mem::MemoryManager& memory) : memory_(memory) {}
  ~VhostUserLog() { stop(); }
  VhostUserLog(const VhostUserLog&) = delete;
  VhostUserLog& operator=(const VhostUserLog&) = delete;

  // Where to. What was written up to now is in the old one.
  void use(std::unique_ptr<ForeignBytes> bits) { bits_ = std::move(bits); }
  // Is told after bits were set.
  void use_signal(OwnedFd signal) { signal_ = std::move(signal); }

  // What is written from here on counts.
  // Errors:  those of MemoryManager::add_dirty_client().
  absl::Status start();
  void stop();
  bool is_running() const { return client_.has_value(); }

  // Sets the bits of what was written before the call, and not told yet.
  // Errors:  those of MemoryManager::harvest_dirty(): told the next time.
  absl::Status tell(const VhostUserMemory& regions);

 private:
  bool set(std::uint64_t first_page, std::span<const std::uint64_t> words);
  void set_word(std::uint64_t index, std::uint64_t bits);

  vm_mem::MemoryManager& memory_;
  std::unique_ptr<ForeignBytes> bits_;
  OwnedFd signal_;
  std::optional<vm_mem::DirtyClient> client_;
  std::vector<vm_mem::DirtyRegion> harvest_;
};

}  // namespace vm_device::internal

#endif  // VM_DEVICE_INTERNAL_VHOST_USER_LOG_H_
