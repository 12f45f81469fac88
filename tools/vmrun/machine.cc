#include "tools/vmrun/machine.h"

#include <algorithm>
#include <utility>

#include "absl/strings/str_format.h"
#include "tools/vmrun/trap.h"
#include "vm_device/raw_image.h"
#include "vm_device/virtio_blk.h"

namespace vmrun {
namespace {

using vm_mem::GuestAddress;
using vm_mem::GuestRange;

GuestRange range_of(std::uint64_t base, std::uint64_t bytes) {
  return GuestRange::make(GuestAddress{base}, bytes).value();
}

absl::StatusOr<std::unique_ptr<vm_device::VirtioDevice>> open_disk(const DiskFile& disk) {
  auto image = vm_device::RawImage::open(disk.path, disk.access);
  if (!image.ok()) return image.status();
  return vm_device::VirtioBlk::create(*std::move(image));
}

// Translated code is watched; to be seen at a second address, memory needs a descriptor.
vm_mem::RamOptions ram_options(const MachineOptions& options) {
  vm_mem::RamOptions out{.dirty_tracking = vm_mem::DirtyTracking::kOn};
  if (!options.jit) return out;
  out.code_watch = vm_mem::CodeWatching::kOn;
  if (options.jit->memory_mode == MemoryMode::kFastmem) out.backing = vm_mem::Backing::kMemfd;
  return out;
}

absl::StatusOr<std::vector<std::unique_ptr<Hart>>> create_harts(vm_mem::MemoryManager& memory,
                                                                unsigned count, LoopMode loops) {
  if (count == 0 || count > kMostHarts) {
    return absl::InvalidArgumentError(
        absl::StrFormat("%d harts: 1 to %d are possible", count, kMostHarts));
  }
  std::vector<std::unique_ptr<Hart>> harts;
  for (unsigned number = 0; number < count; ++number) {
    auto hart = Hart::create(memory);
    if (!hart.ok()) return hart.status();
    (*hart)->state().number = number;
    (*hart)->set_loop_mode(loops);
    harts.push_back(*std::move(hart));
  }
  return harts;
}

absl::Status translate_on(const std::vector<std::unique_ptr<Hart>>& harts, JitOptions options) {
  for (const auto& hart : harts) {
    std::vector<vme_cpu*> neighbours;
    for (const auto& other : harts) {
      if (other != hart) neighbours.push_back(&other->memory().cpu());
    }
    if (absl::Status status = hart->use_jit(options, std::move(neighbours)); !status.ok())
      return status;
  }
  return absl::OkStatus();
}

constexpr std::uint64_t kA0 = 10;
constexpr std::uint64_t kA1 = 11;
constexpr std::uint64_t kA2 = 12;

}  // namespace

absl::StatusOr<std::unique_ptr<Machine>> Machine::create(MachineOptions options) {
  if (options.disks.size() + options.devices.size() > kVirtioSlots) {
    return absl::InvalidArgumentError(absl::StrFormat("%d virtio devices, but only %d slots",
                                                      options.disks.size() + options.devices.size(),
                                                      kVirtioSlots));
  }
  const auto range = GuestRange::make(GuestAddress{kRamBase}, options.memory_bytes);
  if (!range) return absl::InvalidArgumentError("more memory than there are addresses");
  auto memory = vm_mem::MemoryManager::create({});
  if (!memory.ok()) return memory.status();
  const auto ram = (*memory)->add_ram(*range, ram_options(options));
  if (!ram.ok()) return ram.status();
  auto harts = create_harts(**memory, options.harts, options.loops);
  if (!harts.ok()) return harts.status();
  if (options.jit) {
    options.jit->ram_base = kRamBase;
    options.jit->ram_bytes = options.memory_bytes;
    if (const absl::Status status = translate_on(*harts, *options.jit); !status.ok()) return status;
  }
  std::unique_ptr<Machine> machine(
      new Machine(std::move(options), *std::move(memory), *std::move(harts), *ram));
  const auto writes = machine->memory_->add_dirty_client("state");
  if (!writes.ok()) return writes.status();
  machine->writes_ = *writes;
  if (const absl::Status status = machine->create_iommu(); !status.ok()) return status;
  if (const absl::Status status = machine->attach_devices(); !status.ok()) return status;
  return machine;
}

Machine::Machine(MachineOptions options, std::unique_ptr<vm_mem::MemoryManager> memory,
                 std::vector<std::unique_ptr<Hart>> harts, vm_mem::RegionId ram)
    : options_(std::move(options)),
      memory_(std::move(memory)),
      harts_(std::move(harts)),
      ram_(ram),
      clint_(clint_ports(), [this] { hart().yield(); }),
      plic_(pins()),
      uart_(plic_.line(kUartInterrupt), options_.console),
      finisher_([this](Finish finish) {
        finish_ = finish;
        hart().yield();
      }),
      bus_(*memory_) {
  for (const auto& hart : harts_) {
    hart->set_breakpoints(&breakpoints_);
    hart->set_trace(options_.trace);
  }
}

absl::Status Machine::create_iommu() {
  if (options_.iommu == SlotIommu::kNone) return absl::OkStatus();
  auto iommu = vm_device::Iommu::create({});
  if (!iommu.ok()) return iommu.status();
  iommu_ = *std::move(iommu);
  const auto domain = iommu_->create_domain();
  if (!domain.ok()) return domain.status();
  identity_ = *domain;
  return iommu_->map(*domain, {kRamBase, options_.memory_bytes}, GuestAddress{kRamBase},
                     vm_device::DmaAccess::kReadWrite);
}

absl::Status Machine::attach_devices() {
  const struct {
    std::uint64_t base;
    std::uint64_t bytes;
    vm_mem::MmioHandler* device;
    const char* name;
  } fixed[] = {{kFinisherBase, kFinisherBytes, &finisher_, "finisher"},
               {kClintBase, kClintBytes, &clint_, "clint"},
               {kPlicBase, kPlicBytes, &plic_, "plic"},
               {kUartBase, kUartBytes, &uart_, "uart"},
               {kFlashBase, kFlashBytes, &flash_[0], "flash0"},
               {kFlashBase + kFlashBytes, kFlashBytes, &flash_[1], "flash1"}};
  for (const auto& [base, bytes, device, name] : fixed) {
    if (const auto status = attach(range_of(base, bytes), device, name); !status.ok()) {
      return status;
    }
  }
  for (unsigned slot = 0; slot < kVirtioSlots; ++slot) {
    if (const auto status = attach_virtio(slot); !status.ok()) return status;
  }
  return absl::OkStatus();
}

absl::Status Machine::attach(GuestRange range, vm_mem::MmioHandler* device, std::string name) {
  if (options_.trace == nullptr || !options_.trace->kinds().mmio) {
    return bus_.attach(range, device, name);
  }
  traced_.push_back(std::make_unique<TracedDevice>(
      *device, *options_.trace, TracedDevice::Place{name, range.begin().value},
      [this]() -> const HartState& { return hart().state(); }));
  return bus_.attach(range, traced_.back().get(), name);
}

absl::Status Machine::attach_virtio(unsigned slot) {
  std::unique_ptr<vm_device::VirtioDevice> device;
  if (slot < options_.disks.size()) {
    auto disk = open_disk(options_.disks[slot]);
    if (!disk.ok()) return disk.status();
    device = *std::move(disk);
  } else if (slot - options_.disks.size() < options_.devices.size()) {
    device = std::move(options_.devices[slot - options_.disks.size()]);
  }
  const vm_device::VirtioMmioOptions options{.iommu = iommu_.get(), .device = {slot}};
  if (iommu_ != nullptr) {
    absl::Status status = iommu_->add_device(options.device);
    if (status.ok()) status = iommu_->attach(options.device, *identity_);
    if (!status.ok()) return status;
  }
  virtio_.push_back(std::make_unique<vm_device::VirtioMmio>(
      *memory_, std::move(device), plic_.line(kVirtioFirstInterrupt + slot), options));
  return attach(range_of(kVirtioBase + slot * kVirtioBytes, kVirtioBytes), virtio_.back().get(),
                absl::StrFormat("virtio%d", slot));
}

absl::Status Machine::boot(const BootFiles& files) {
  const auto loaded = load_boot_files(*memory_, options_.memory_bytes, options_.harts, files);
  if (!loaded.ok()) return loaded.status();
  for (const auto& hart : harts_) {
    HartState& state = hart->state();
    state.pc = loaded->pc;
    state.x[kA0] = state.number;
    state.x[kA1] = loaded->device_tree;
    state.x[kA2] = loaded->dynamic_info;
  }
  return absl::OkStatus();
}

std::vector<Clint::Port> Machine::clint_ports() const {
  std::vector<Clint::Port> out;
  for (const auto& hart : harts_) out.push_back({&hart->state().clock, &hart->state().pins});
  return out;
}

std::vector<InterruptPins*> Machine::pins() const {
  std::vector<InterruptPins*> out;
  for (const auto& hart : harts_) out.push_back(&hart->state().pins);
  return out;
}

std::uint64_t Machine::retired() const {
  std::uint64_t sum = 0;
  for (const auto& hart : harts_) sum += hart->state().clock.retired();
  return sum;
}

// Up to the next timer interrupt of any hart.
std::uint64_t Machine::turn_budget(std::uint64_t instructions) const {
  std::uint64_t budget = instructions;
  if (harts_.size() > 1) {
    budget = std::min(budget, kTurnInstructions);
  } else if (pause_at_ > retired()) {
    budget = std::min(budget, pause_at_ - retired());
  }
  for (std::size_t hart = 0; hart < harts_.size(); ++hart) {
    const std::uint64_t ticks = clint_.ticks_left(hart);
    if (ticks == 0 || ticks >= budget) continue;
    // Not a part of a tick longer: where a turn is cut in two would move the interrupt.
    const std::uint64_t begun = harts_[hart]->state().clock.retired() % kInstructionsPerTick;
    budget = std::min(budget, ticks * kInstructionsPerTick - begun);
  }
  return budget;
}

Hart& Machine::turn_to(std::size_t number) {
  Hart& hart = *harts_[number];
  running_ = number;
  clint_.run_on(number);
  if (harts_.size() > 1) hart.state().reservation = {};
  return hart;
}

// kWait: all of them wait. After a breakpoint the others come first, so that none starves.
StopReason Machine::take_turns(std::uint64_t budget) {
  bool all_wait = true;
  const std::size_t first = std::exchange(first_, 0);
  for (std::size_t turn = 0; turn < harts_.size() && !finish_; ++turn) {
    const std::size_t number = (first + turn) % harts_.size();
    if (waits(number) || held_[number]) continue;
    const StopReason reason = turn_to(number).run(budget);
    waiting_[number] = reason == StopReason::kWait;
    if (reason == StopReason::kBreakpoint) first_ = number + 1;
    if (reason == StopReason::kTrapLoop || reason == StopReason::kBreakpoint) return reason;
    if (reason != StopReason::kWait) all_wait = false;
  }
  return all_wait ? StopReason::kWait : StopReason::kBudget;
}

void Machine::set_breakpoints(Breakpoints breakpoints) {
  if (breakpoints == breakpoints_) return;
  breakpoints_ = std::move(breakpoints);
  for (const auto& hart : harts_) hart->forget_blocks();
}

StopReason Machine::step(std::size_t number, StepInterrupts interrupts) {
  clint_.update();
  const StopReason reason = turn_to(number).step(interrupts);
  waiting_[number] = false;
  align_clocks();
  clint_.update();
  return reason;
}

// A hart that has waited, or has executed less, was idle meanwhile.
void Machine::align_clocks() {
  std::uint64_t latest = 0;
  for (const auto& hart : harts_) latest = std::max(latest, hart->state().clock.ticks());
  for (const auto& hart : harts_) {
    Clock& clock = hart->state().clock;
    clock.skip(latest - clock.ticks());
  }
}

StopReason Machine::run(std::uint64_t instructions) {
  const std::uint64_t end = retired() + instructions;
  while (retired() < end && !finish_) {
    clint_.update();
    const StopReason reason = take_turns(turn_budget(end - retired()));
    align_clocks();
    clint_.update();
    if (reason == StopReason::kTrapLoop || reason == StopReason::kBreakpoint) return reason;
    if (reason == StopReason::kWait && !can_wake()) return reason;
    if (std::exchange(pauses_, false) || retired() >= pause_at_) break;
  }
  return StopReason::kBudget;
}

// A round of several harts' turns is not cut short: who comes when would be different.
void Machine::pause() {
  pauses_ = true;
  if (harts_.size() == 1) hart().yield();
}

bool Machine::waits(std::size_t number) const {
  return waiting_[number] && !has_wakeup(harts_[number]->state());
}

bool Machine::can_wake() const {
  return std::any_of(harts_.begin(), harts_.end(), [this](const auto& hart) {
    return !held_[hart->state().number] && has_wakeup(hart->state());
  });
}

std::uint64_t Machine::ticks_to_timer() const {
  std::uint64_t least = UINT64_MAX;
  for (std::size_t hart = 0; hart < harts_.size(); ++hart) {
    const bool enabled = (harts_[hart]->state().csrs.mie & mask_of(Interrupt::kTimer)) != 0;
    if (enabled && !held_[hart]) least = std::min(least, clint_.ticks_left(hart));
  }
  return least;
}

void Machine::skip(std::uint64_t ticks) {
  for (const auto& hart : harts_) hart->state().clock.skip(ticks);
  clint_.update();
}

std::optional<std::uint64_t> Machine::iommu_faults() {
  if (iommu_ == nullptr) return std::nullopt;
  std::array<vm_device::IommuFault, 64> faults;
  while (const std::size_t polled = iommu_->poll_faults(faults)) polled_faults_ += polled;
  return polled_faults_ + iommu_->lost_faults();
}

absl::Status Machine::written_pages(vm_mem::DirtyPages& out) {
  return memory_->harvest_dirty(writes_, ram_, out);
}

std::uint64_t Machine::dirty_pages() const { return memory_->dirty_page_count(ram_).value_or(0); }

}  // namespace vmrun
