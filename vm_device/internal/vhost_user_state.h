// What a vhost-user back end keeps from connection to connection.
#ifndef VM_DEVICE_INTERNAL_VHOST_USER_STATE_H_
#define VM_DEVICE_INTERNAL_VHOST_USER_STATE_H_

#include <atomic>
#include <cstdint>
#include <memory>

#include "vm_device/internal/vhost_user_transport.h"
#include "vm_device/vhost_user.h"
#include "vm_mem/memory_manager.h"
#include "vm_mem/memory_reader.h"

namespace vm_device::internal {

class VhostUserState {
 public:
  VhostUserState(std::unique_ptr<vm_mem::MemoryManager> guest_memory,
                 std::unique_ptr<VirtioDevice> device, VhostUserOptions how)
      : options(std::move(how)),
        memory(std::move(guest_memory)),
        reader(*memory, vm_mem::Route::kDma),
        transport(std::move(device), reader, counts) {}

  const VhostUserOptions options;
  VhostUserCounts counts;
  std::atomic<std::uint64_t> connections{0};
  std::atomic<std::uint64_t> messages{0};
  std::atomic<std::uint64_t> refused{0};
  std::atomic<std::uint64_t> iotlb_misses{0};
  std::atomic<std::uint64_t> iotlb_updates{0};
  std::atomic<std::uint64_t> iotlb_invalidations{0};
  std::atomic<bool> stopping{false};
  const std::unique_ptr<vm_mem::MemoryManager> memory;
  vm_mem::MemoryReader reader;
  VhostUserTransport transport;
};

}  // namespace vm_device::internal

#endif  // VM_DEVICE_INTERNAL_VHOST_USER_STATE_H_
