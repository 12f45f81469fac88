// Stands before a device, and has the trace say what passes.
#ifndef VMRUN_TRACED_DEVICE_H_
#define VMRUN_TRACED_DEVICE_H_

#include <cstdint>
#include <functional>
#include <string>
#include <utility>

#include "tools/vmrun/trace.h"
#include "vm_mem/mmio_handler.h"

namespace vmrun {

class TracedDevice final : public vm_mem::MmioHandler {
 public:
  struct Place {
    std::string name;
    std::uint64_t base = 0;
  };

  // Needs:  `device` and `trace` outlive this object. `hart` says who is running.
  TracedDevice(vm_mem::MmioHandler& device, Trace& trace, Place place,
               std::function<const HartState&()> hart)
      : device_(&device), trace_(&trace), place_(std::move(place)), hart_(std::move(hart)) {}

  vm_mem::AccessFault mmio_read(std::uint64_t offset, unsigned size,
                                std::uint64_t& value) override {
    const vm_mem::AccessFault fault = device_->mmio_read(offset, size, value);
    return note("read", offset, size, value, fault);
  }
  vm_mem::AccessFault mmio_write(std::uint64_t offset, unsigned size,
                                 std::uint64_t value) override {
    const vm_mem::AccessFault fault = device_->mmio_write(offset, size, value);
    return note("write", offset, size, value, fault);
  }

 private:
  vm_mem::AccessFault note(const char* kind, std::uint64_t offset, unsigned size,
                           std::uint64_t value, vm_mem::AccessFault fault) {
    trace_->note_access(hart_(), {kind, place_.base + offset, size, value, fault}, place_.name);
    return fault;
  }

  vm_mem::MmioHandler* device_;
  Trace* trace_;
  Place place_;
  std::function<const HartState&()> hart_;
};

}  // namespace vmrun

#endif  // VMRUN_TRACED_DEVICE_H_
