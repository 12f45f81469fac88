// Puts devices at guest addresses, and keeps a device's DMA from coming back to the
// device itself.
#ifndef VM_DEVICE_MMIO_BUS_H_
#define VM_DEVICE_MMIO_BUS_H_

#include <memory>
#include <string_view>

#include "absl/status/status.h"
#include "vm_mem/memory_manager.h"

namespace vm_device {

// A device is entered at most once by one transaction (a chain of MMIO and DMA on
// one thread): the second entry is refused with AccessFault::kBusy, before the
// device sees it. Other threads and other devices are not affected.
class MmioBus {
 public:
  // Needs:  `memory` outlives this object.
  explicit MmioBus(vm_mem::MemoryManager& memory);
  MmioBus(const MmioBus&) = delete;
  MmioBus& operator=(const MmioBus&) = delete;
  // Removes its regions. One that an alias shows stays, and tells every access kDevice.
  //
  // Needs:  no access to its devices, or to those that it has had, in progress on any thread.
  ~MmioBus();

  // Errors:  as MemoryManager::add_mmio; kAlreadyExists also where the device is
  //          attached already. After an error nothing is attached.
  // Needs:   `device` outlives this object, or is detached.
  absl::Status attach(vm_mem::GuestRange range, vm_mem::MmioHandler* device, std::string_view name);
  // Returns when no thread is in the device, and none will be.
  //
  // Errors:  kNotFound            the device is not attached
  //          kFailedPrecondition  this thread is in the device
  // Needs:   not called from a device that the accesses it waits for may wait for.
  absl::Status detach(vm_mem::MmioHandler* device);

 private:
  struct State;
  std::unique_ptr<State> state_;
};

}  // namespace vm_device

#endif  // VM_DEVICE_MMIO_BUS_H_
