// The whole machine: memory, harts and devices, wired as layout.h says.
#ifndef VMRUN_MACHINE_H_
#define VMRUN_MACHINE_H_

#include <array>
#include <bitset>
#include <cstddef>
#include <cstdint>
#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "tools/vmrun/boot.h"
#include "tools/vmrun/breakpoints.h"
#include "tools/vmrun/clint.h"
#include "tools/vmrun/finisher.h"
#include "tools/vmrun/flash.h"
#include "tools/vmrun/hart.h"
#include "tools/vmrun/layout.h"
#include "tools/vmrun/plic.h"
#include "tools/vmrun/slots.h"
#include "tools/vmrun/traced_device.h"
#include "tools/vmrun/uart.h"
#include "vm_device/mmio_bus.h"
#include "vm_device/virtio_mmio.h"
#include "vm_mem/memory_manager.h"
#include "vm_mem/snapshot_info.h"

namespace vmrun {

// What stands between the virtio slots and memory.
enum class SlotIommu : std::uint8_t { kNone, kIdentity };

// How long a hart runs before the next one does.
inline constexpr std::uint64_t kTurnInstructions = 5000;

struct MachineOptions {
  std::uint64_t memory_bytes = 0;     // a multiple of 4096
  unsigned harts = 1;                 // up to kMostHarts
  std::vector<DiskFile> disks;        // for the virtio slots in this order
  std::function<void(char)> console;  // what the guest prints
  // kIdentity: an IOMMU that maps RAM to itself, and nothing else.
  SlotIommu iommu = SlotIommu::kNone;
  // For the virtio slots after those of the disks.
  std::vector<std::unique_ptr<vm_device::VirtioDevice>> devices = {};
  // Translates with these; else the hart interprets.
  std::optional<JitOptions> jit = std::nullopt;
  LoopMode loops = LoopMode::kRecognised;
  // What is told of all that happens; it outlives the machine. Null: nothing.
  Trace* trace = nullptr;
};

using HartSet = std::bitset<kMostHarts>;

class Machine {
 public:
  // Errors:  those of MemoryManager and RawImage; kInvalidArgument: too many disks and
  //          devices, no such number of harts.
  static absl::StatusOr<std::unique_ptr<Machine>> create(MachineOptions options);
  Machine(const Machine&) = delete;
  Machine& operator=(const Machine&) = delete;

  // Loads the files, and puts the harts where QEMU's reset vector would: pc at the
  // firmware, a0 = the hart's number, a1 = the device tree, a2 = what fw_dynamic wants to
  // know.
  //
  // Errors:  those of load_boot_files
  absl::Status boot(const BootFiles& files);

  // Runs until the instructions are executed, all harts wait, one traps for ever or is at a
  // breakpoint, or the guest has finished. Harts take turns on this thread: their clocks agree when
  // a round of turns begins, and no reservation outlives a turn.
  StopReason run(std::uint64_t instructions);
  // Has run() return soon, with kBudget: where going on with what is left of the instructions
  // comes to the same as not having stopped. From inside a device.
  void pause();
  // The same as soon as so many instructions are retired.
  void pause_at(std::uint64_t retired) { pause_at_ = retired; }

  // From here on: where harts stop, and which of them run() runs.
  void set_breakpoints(Breakpoints breakpoints);
  void let_run(HartSet harts) { held_ = ~harts; }
  // One instruction of one hart; WFI does not wait. kTrapLoop as run().
  StopReason step(std::size_t number, StepInterrupts interrupts);

  // What the guest told the finisher.
  const std::optional<Finish>& finish() const { return finish_; }
  // Until the next timer interrupt that can wake a hart; UINT64_MAX where none can.
  std::uint64_t ticks_to_timer() const;
  // Lets time pass without instructions.
  void skip(std::uint64_t ticks);

  // Whether a hart that waits would go on.
  bool can_wake() const;
  // Whether it is in WFI, and nothing has come that ends it.
  bool waits(std::size_t number) const;
  // Ends its WFI, as it may end at any time.
  void wake(std::size_t number) { waiting_[number] = false; }

  // The one that ran last, at first hart 0.
  Hart& hart() { return *harts_[running_]; }
  Hart& hart(std::size_t number) { return *harts_[number]; }
  std::size_t hart_count() const { return harts_.size(); }
  Uart& uart() { return uart_; }
  vm_mem::MemoryManager& memory() { return *memory_; }
  // By all harts.
  std::uint64_t retired() const;
  std::uint64_t dirty_pages() const;
  // The pages of RAM that were written since the last call, or ever.
  // Errors:  those of MemoryManager::harvest_dirty.
  absl::Status written_pages(vm_mem::DirtyPages& out);
  // DMA that the IOMMU has refused; nullopt: there is none.
  std::optional<std::uint64_t> iommu_faults();

  // For a snapshot: harts and devices, and what the machine itself knows. Requests of virtio
  // devices that were taken are completed before, in guest memory, which is saved after this.
  //
  // Needs:   not called from inside run().
  // Errors:  those of VirtioMmio::save()
  absl::StatusOr<std::vector<vm_mem::DeviceState>> save_states();
  // Goes on from there, once memory is as it was. `state` gives the one of this name.
  //
  // Needs:   a machine with as many harts and the same devices, that has not run.
  // Errors:  those of `state`; kDataLoss and kFailedPrecondition: a state that is none, or not
  //          of this machine, with its name; kUnimplemented: of another version.
  //          The machine cannot be used then.
  using FindState = std::function<absl::StatusOr<vm_mem::DeviceState>(const std::string& id)>;
  absl::Status load_states(const FindState& state);

 private:
  Machine(MachineOptions options, std::unique_ptr<vm_mem::MemoryManager> memory,
          std::vector<std::unique_ptr<Hart>> harts, vm_mem::RegionId ram);
  absl::Status create_iommu();
  absl::Status attach_devices();
  absl::Status attach(vm_mem::GuestRange range, vm_mem::MmioHandler* device, std::string name);
  absl::Status attach_virtio(unsigned slot);
  std::vector<Clint::Port> clint_ports() const;
  std::vector<InterruptPins*> pins() const;
  std::uint64_t turn_budget(std::uint64_t instructions) const;
  Hart& turn_to(std::size_t number);
  StopReason take_turns(std::uint64_t budget);
  template <typename Archive, typename Self>
  static void fields(Archive& archive, Self& self);
  // Calls `use` with the name, the version and the saved part of each, until it gives an error.
  template <typename Use>
  absl::Status each_slot(Use use);
  template <typename Use>
  absl::Status each_other(Use use);
  void align_clocks();

  MachineOptions options_;
  std::unique_ptr<vm_mem::MemoryManager> memory_;
  std::vector<std::unique_ptr<Hart>> harts_;
  std::array<bool, kMostHarts> waiting_{};  // in WFI
  std::size_t running_ = 0;
  std::size_t first_ = 0;  // of a round of turns
  HartSet held_;
  bool pauses_ = false;
  std::uint64_t pause_at_ = UINT64_MAX;
  Breakpoints breakpoints_;
  vm_mem::RegionId ram_;
  vm_mem::DirtyClient writes_{};
  std::optional<Finish> finish_;
  Clint clint_;
  Plic plic_;
  Uart uart_;
  Finisher finisher_;
  std::array<Flash, kFlashBanks> flash_;
  std::unique_ptr<vm_device::Iommu> iommu_;
  std::optional<vm_device::IommuDomainId> identity_;
  std::uint64_t polled_faults_ = 0;
  std::vector<std::unique_ptr<vm_device::VirtioMmio>> virtio_;
  std::vector<std::unique_ptr<TracedDevice>> traced_;
  vm_device::MmioBus bus_;  // last: it takes its regions away before the devices go
};

}  // namespace vmrun

#endif  // VMRUN_MACHINE_H_
