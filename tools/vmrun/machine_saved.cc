// The machine in a snapshot: a state for each hart and each device.

#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "tools/vmrun/hart_saved.h"
#include "tools/vmrun/machine.h"

namespace vmrun {
namespace {

using vm_device::StateReader;
using vm_device::StateWriter;

constexpr std::uint32_t kVersion = 1;  // of what is not a hart's or a virtio slot's

// A device whose functions give no status.
template <typename Device>
struct Plain {
  Device* device;
  absl::Status save(StateWriter& to) const {
    device->save(to);
    return absl::OkStatus();
  }
  absl::Status load(StateReader& from) const {
    device->load(from);
    return from.finish();
  }
};

struct SavedHart {
  HartState* hart;
  void save(StateWriter& to) const { save_hart(*hart, to); }
  void load(StateReader& from) const { load_hart(*hart, from); }
};

absl::Status named(const std::string& id, const absl::Status& status) {
  if (status.ok()) return status;
  return {status.code(), absl::StrCat("state '", id, "': ", status.message())};
}

}  // namespace

template <typename Archive, typename Self>
void Machine::fields(Archive& archive, Self& self) {
  auto first = std::uint64_t{self.first_};
  auto running = std::uint64_t{self.running_};
  archive(self.waiting_, first, running, self.polled_faults_);
  self.first_ = first;
  self.running_ = running;
}

template <typename Use>
absl::Status Machine::each_slot(Use use) {
  for (std::size_t slot = 0; slot < options_.disks.size() + options_.devices.size(); ++slot) {
    const std::string id = absl::StrCat("virtio/", slot);
    const absl::Status status = use(id, vm_device::VirtioMmio::kStateVersion, *virtio_[slot]);
    if (!status.ok()) return named(id, status);
  }
  return absl::OkStatus();
}

// Harts before what drives their pins by their clocks.
template <typename Use>
absl::Status Machine::each_other(Use use) {
  struct Self {
    void save(StateWriter& to) const { fields(to, *machine); }
    // At once: devices that are loaded after it may ask for the hart that runs.
    void load(StateReader& from) const {
      fields(from, *machine);
      const std::size_t harts = machine->harts_.size();
      from.check(machine->first_ <= harts && machine->running_ < harts, "a hart that there is not");
      if (!from.ok()) machine->first_ = machine->running_ = 0;
    }
    Machine* machine;
  };
  const auto plain = [&]<typename Device>(const std::string& id, Device&& device,
                                          std::uint32_t version = kVersion) {
    return named(id, use(id, version, Plain<std::remove_reference_t<Device>>{&device}));
  };
  absl::Status status = plain("machine", Self{this});
  for (std::size_t hart = 0; status.ok() && hart < harts_.size(); ++hart) {
    status =
        plain(absl::StrCat("cpu/", hart), SavedHart{&harts_[hart]->state()}, kHartStateVersion);
  }
  if (status.ok()) status = plain("clint", clint_);
  if (status.ok()) status = plain("plic", plic_);
  if (status.ok()) status = plain("uart", uart_);
  for (std::size_t bank = 0; status.ok() && bank < flash_.size(); ++bank) {
    status = plain(absl::StrCat("flash/", bank), flash_[bank]);
  }
  return status;
}

absl::StatusOr<std::vector<vm_mem::DeviceState>> Machine::save_states() {
  std::vector<vm_mem::DeviceState> states;
  iommu_faults();
  const auto save = [&](const std::string& id, std::uint32_t version, auto&& device) {
    StateWriter to;
    const absl::Status status = device.save(to);
    states.push_back({.id = id, .version = version, .bytes = std::move(to).take()});
    return status;
  };
  // Those that are drained come first: they drive interrupts.
  if (absl::Status bad = each_slot(save); !bad.ok()) return bad;
  if (absl::Status bad = each_other(save); !bad.ok()) return bad;
  return states;
}

absl::Status Machine::load_states(const FindState& state) {
  const auto load = [&](const std::string& id, std::uint32_t version, auto&& device) {
    const auto found = state(id);
    if (!found.ok()) return found.status();
    if (found->version != version) {
      return absl::UnimplementedError(
          absl::StrFormat("it has version %u; this program knows %u", found->version, version));
    }
    StateReader from(found->bytes);
    return device.load(from);
  };
  if (absl::Status bad = each_other(load); !bad.ok()) return bad;
  if (absl::Status bad = each_slot(load); !bad.ok()) return bad;
  for (const auto& hart : harts_) hart->forget_translations();
  return absl::OkStatus();
}

}  // namespace vmrun
