// The virtio transport over MMIO, version 2: a page of registers in front of a device.
#ifndef VM_DEVICE_VIRTIO_MMIO_H_
#define VM_DEVICE_VIRTIO_MMIO_H_

#include <cstdint>
#include <memory>
#include <vector>

#include "absl/status/status.h"
#include "vm_device/dma.h"
#include "vm_device/interrupt_line.h"
#include "vm_device/iommu.h"
#include "vm_device/state_bytes.h"
#include "vm_device/virtio_device.h"
#include "vm_mem/memory_manager.h"

namespace vm_device {

namespace internal {
class GateStay;
class TransactionChain;
class TransportGate;
}  // namespace internal

inline constexpr std::uint64_t kVirtioMmioBytes = 4096;

// What becomes of a driver that does not accept VIRTIO_F_ACCESS_PLATFORM.
enum class AccessPlatform : std::uint8_t {
  kOptional,  // it is served: for an IOMMU that maps the driver's memory to itself
  kRequired,  // FEATURES_OK stays clear
};

// Where the device stands.
struct VirtioMmioOptions {
  // Rings and buffers are IOVAs of `device` there. Null: they are guest addresses.
  Iommu* iommu = nullptr;
  IommuDeviceId device = {};
  AccessPlatform access_platform = AccessPlatform::kOptional;
  // Not offered though the device and the rings have them, e.g. kFeatureRingPacked.
  std::uint64_t withheld_features = 0;
};

// Registers are 32 bits wide. Any other access to them, and any access to an offset
// that has no register, reads as zero or is ignored, as is a write to a read-only
// register. The configuration space takes 1, 2, 4 and 8 bytes.
//
// A queue error sets DEVICE_NEEDS_RESET and interrupts the driver; the queue stops
// until the driver resets the device (or, with RING_RESET, the queue; the bit stays then),
// other queues go on. Queue registers are fixed while the queue is ready, the driver's
// features once FEATURES_OK is set, and no queue becomes ready before. Nor does one whose
// size or addresses cannot be.
//
// Behind an IOMMU VIRTIO_F_ACCESS_PLATFORM is offered, and no driver's DMA goes around it.
//
// What a device or its transport puts off goes on at the driver's next accesses, one queue
// at each; an interrupt asks for them as long as there is some, acknowledged or not.
//
// Needs:    to be attached to an MmioBus: it keeps the device's own DMA out.
// Threads:  any number at a time. DMA of another device that finds this one in use is
//           refused (kBusy) instead of waiting, so that devices never wait in a circle. A
//           notification by such DMA interrupts, and is served at the next access: as part
//           of the transaction that it came from, so that what it leads to does not come
//           back to a device of that one.
// Cost:     rings and buffers are reached by DMA on the MemoryManager, not by Virtqueue's
//           quick path: accesses come from any thread, and a MemoryReader that is kept
//           between them would hold a map that it has to be parked for.
// Source:   virtio 1.2, sections 2.1, 2.6.1 and 4.2.
class VirtioMmio final : public vm_mem::MmioHandler, private VirtioTransport {
 public:
  // `device` may be null: an empty slot, which a driver finds (device id 0) and leaves
  // alone.
  //
  // Needs:   `memory`, `line` and the IOMMU outlive this object.
  // Errors:  what the device throws passes through its access, which ends there; what host
  //          threads have woken meanwhile waits for the next one.
  VirtioMmio(vm_mem::MemoryManager& memory, std::unique_ptr<VirtioDevice> device,
             InterruptLine& line, VirtioMmioOptions options = {});
  VirtioMmio(const VirtioMmio&) = delete;
  VirtioMmio& operator=(const VirtioMmio&) = delete;
  ~VirtioMmio() override;

  vm_mem::AccessFault mmio_read(std::uint64_t offset, unsigned size, std::uint64_t& value) override;
  vm_mem::AccessFault mmio_write(std::uint64_t offset, unsigned size, std::uint64_t value) override;

  // Why the queue has stopped; for messages and tests.
  //
  // Needs:  not called from inside the device.
  VirtqueueError queue_error(std::uint16_t queue);

  // Of what save() writes.
  static constexpr std::uint32_t kStateVersion = 1;

  // Everything that driver and device have agreed on and come to: registers, queues, what
  // waits to be served, interrupts, the device's own. Requests that were taken are completed
  // before, in guest memory and its rings; those that were not taken stay there, and are taken
  // after the load. So guest memory is saved after this.
  //
  // Needs:   no vCPU runs, and no other device's DMA; not called from inside the device.
  // Errors:  kUnimplemented       the device cannot be saved
  //          kFailedPrecondition  the device has not given all requests back
  absl::Status save(StateWriter& to);
  // Goes on from there, and drives the interrupt line. Reads all that there is.
  //
  // Needs:   as save(); guest memory is as it was when it was saved; a device of the same kind
  //          and options behind a transport of the same options.
  // Errors:  kDataLoss            the bytes are no such state, or one that cannot be
  //          kFailedPrecondition  they are another device's
  //          The device is then as after a reset.
  absl::Status load(StateReader& from);

 private:
  struct QueueState {
    VirtqueueConfig config;
    Virtqueue queue;
    bool is_error_told = false;
  };

  DmaSpace& dma() override { return dma_; }
  Virtqueue& queue(std::uint16_t index) override { return queues_[index].queue; }
  std::uint64_t accepted_features() const override { return driver_features_; }
  void signal_used(std::uint16_t queue) override;
  void signal_config() override;
  void defer(std::uint16_t queue) override;
  void wake(std::uint16_t queue) override;
  void wake_config() override;
  bool enter();
  void leave(internal::GateStay& stay);
  void wake_work(std::size_t what);
  std::uint32_t read_register(std::uint64_t offset) const;
  void write_register(std::uint64_t offset, std::uint32_t value);
  void read_config(std::uint64_t offset, unsigned size, std::uint64_t& value) const;
  void write_config(std::uint64_t offset, unsigned size, std::uint64_t value);

  QueueState* selected();
  const QueueState* selected() const;
  std::uint64_t offered_features() const;
  void write_queue_register(std::uint64_t offset, std::uint32_t value);
  void write_driver_features(std::uint32_t value);
  void write_queue_ready(QueueState& state, std::uint32_t value);
  void write_queue_reset(QueueState& state, std::uint32_t value);
  void forget_requests(const QueueState& state);
  void write_status(std::uint32_t value);
  bool is_servable(std::uint32_t queue) const;
  void notify(std::uint32_t queue);
  void serve(std::uint16_t queue);
  void put_off(std::uint16_t queue, const internal::TransactionChain& chain);
  void run_deferred();
  void call_for_access();
  void report_errors();
  void reset();
  bool accepts(std::uint64_t features) const;
  template <typename Archive, typename Transport>
  static void registers(Archive& archive, Transport& transport);
  absl::Status save_queue(StateWriter& to, std::uint16_t index);
  absl::Status load_queue(StateReader& from, std::uint16_t index);
  absl::Status load_all(StateReader& from);
  void raise(std::uint32_t cause);
  void update_line();

  DmaSpace dma_;
  const VirtioMmioOptions options_;
  InterruptLine* line_;
  std::unique_ptr<internal::TransportGate> gate_;
  std::vector<QueueState> queues_;
  std::uint64_t driver_features_ = 0;
  std::uint32_t device_features_select_ = 0;
  std::uint32_t driver_features_select_ = 0;
  std::uint32_t queue_select_ = 0;
  std::uint32_t interrupt_status_ = 0;
  std::uint32_t status_ = 0;
  std::uint32_t config_generation_ = 0;
  std::unique_ptr<VirtioDevice> device_;  // the first to go: its threads use the rest
};

}  // namespace vm_device

#endif  // VM_DEVICE_VIRTIO_MMIO_H_
