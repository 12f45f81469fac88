#include "tools/vmrun/machine_spec.h"

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <cstring>
#include <span>

#include <fmt/format.h>

#include "tools/vmrun/hash.h"
#include "tools/vmrun/layout.h"

namespace vmrun {
namespace {

constexpr std::uint64_t kSampledBlocks = 64;
constexpr std::uint64_t kSampleBytes = 4096;

absl::Status refusal(std::string text) { return absl::InvalidArgumentError(std::move(text)); }

class Descriptor {
 public:
  explicit Descriptor(int number) : number_(number) {}
  Descriptor(const Descriptor&) = delete;
  Descriptor& operator=(const Descriptor&) = delete;
  ~Descriptor() {
    if (number_ >= 0) ::close(number_);
  }
  int get() const { return number_; }

 private:
  int number_;
};

// Blocks all over the disk, the first and the last among them.
bool sample(int descriptor, std::uint64_t bytes, std::uint64_t& hash) {
  Hash out;
  std::array<std::byte, kSampleBytes> block;
  const std::uint64_t last = bytes > kSampleBytes ? bytes - kSampleBytes : 0;
  for (std::uint64_t i = 0; i < kSampledBlocks; ++i) {
    const std::uint64_t at =
        last / (kSampledBlocks - 1) * i + last % (kSampledBlocks - 1) * i / (kSampledBlocks - 1);
    const ssize_t got = ::pread(descriptor, block.data(), block.size(), static_cast<off_t>(at));
    if (got < 0) return false;
    out.add_bytes(std::span(block).first(static_cast<std::size_t>(got)));
  }
  hash = out.value();
  return true;
}

template <typename Archive, typename Spec>
void machine_fields(Archive& archive, Spec& spec) {
  archive(spec.memory_bytes, spec.harts, spec.has_iommu, spec.has_rng);
  archive.choice(spec.console, ConsoleKind::kUser);
}

template <typename Archive, typename Disk>
void disk_fields(Archive& archive, Disk& disk) {
  archive(disk.bytes, disk.is_read_only, disk.sample);
}

absl::Status adopt_memory_and_harts(const MachineSpec& spec, Options& options) {
  const SnapshotOptions& said = options.snapshot;
  if (said.has_memory && options.memory_bytes != spec.memory_bytes) {
    return refusal(
        fmt::format("--memory: the machine of {} has {}M", said.restore, spec.memory_bytes >> 20));
  }
  if (said.has_harts && options.harts != spec.harts) {
    return refusal(fmt::format("--harts {}: the machine of {} has {}", options.harts, said.restore,
                               spec.harts));
  }
  const IommuMode iommu = spec.has_iommu ? IommuMode::kIdentity : IommuMode::kOff;
  if (said.has_iommu && options.iommu != iommu) {
    return refusal(fmt::format("--iommu: that of {} is {}", said.restore,
                               spec.has_iommu ? "identity" : "off"));
  }
  if (options.seed && options.seed != spec.seed) {
    return refusal(fmt::format("--seed {}: the machine of {} has {}", *options.seed, said.restore,
                               spec.seed ? fmt::format("{}", *spec.seed) : "none"));
  }
  options.memory_bytes = spec.memory_bytes;
  options.harts = spec.harts;
  options.iommu = iommu;
  options.seed = options.slots.seed = spec.seed;
  return absl::OkStatus();
}

absl::Status adopt_disks(const MachineSpec& spec, const Options& options) {
  const std::string& file = options.snapshot.restore;
  if (options.disks.size() != spec.disks.size()) {
    return refusal(fmt::format(
        "--disk: the machine of {} has {}, and {} given", file, spec.disks.size(),
        options.disks.size() == 1 ? "one is" : fmt::format("{} are", options.disks.size())));
  }
  for (std::size_t i = 0; i < spec.disks.size(); ++i) {
    const DiskFile& disk = options.disks[i];
    const DiskIdentity& wanted = spec.disks[i];
    const auto found = identify_disk(disk);
    if (!found.ok()) return found.status();
    if (found->bytes != wanted.bytes) {
      return refusal(fmt::format("{}: not the disk of {}, which has {} bytes and not {}", disk.path,
                                 file, wanted.bytes, found->bytes));
    }
    if (found->is_read_only != wanted.is_read_only) {
      return refusal(fmt::format(
          "{}: the disk of {} is {}", disk.path, file,
          wanted.is_read_only ? "read-only: add ,readonly" : "written: leave out ,readonly"));
    }
    if (found->sample != wanted.sample) {
      return refusal(
          fmt::format("{}: not the disk of {} as it was then: something else is written on it",
                      disk.path, file));
    }
  }
  return absl::OkStatus();
}

absl::Status adopt_nets(const MachineSpec& spec, Options& options) {
  const std::string& file = options.snapshot.restore;
  std::vector<NetOption>& nets = options.slots.nets;
  if (nets.empty()) {
    for (const NetKind kind : spec.nets) nets.push_back({.kind = kind});
    const bool has_sockets = std::count(spec.nets.begin(), spec.nets.end(), NetKind::kSockets) != 0;
    if (!has_sockets) return absl::OkStatus();
    return refusal(
        fmt::format("--net: the machine of {} has {}, with sockets: say each of them again", file,
                    spec.nets.size()));
  }
  if (nets.size() == spec.nets.size()) return absl::OkStatus();
  return refusal(fmt::format("--net: the machine of {} has {}", file, spec.nets.size()));
}

absl::Status adopt_other_slots(const MachineSpec& spec, Options& options) {
  const std::string& file = options.snapshot.restore;
  SlotOptions& slots = options.slots;
  if (slots.has_rng && !spec.has_rng) {
    return refusal(fmt::format("--rng: the machine of {} has none", file));
  }
  slots.has_rng = spec.has_rng;
  if (slots.console && spec.console == ConsoleKind::kNone) {
    return refusal(fmt::format("--console: the machine of {} has none", file));
  }
  if (!slots.console && spec.console == ConsoleKind::kFile) {
    return refusal(fmt::format("--console: the machine of {} has one: say where to", file));
  }
  if (!slots.console && spec.console == ConsoleKind::kUser) slots.console = "-";
  return absl::OkStatus();
}

}  // namespace

absl::StatusOr<DiskIdentity> identify_disk(const DiskFile& disk) {
  const auto refused = [&] {
    return absl::UnavailableError(fmt::format("{}: {}", disk.path, std::strerror(errno)));
  };
  const Descriptor file(::open(disk.path.c_str(), O_RDONLY | O_CLOEXEC | O_NONBLOCK));
  const off_t end = file.get() < 0 ? -1 : ::lseek(file.get(), 0, SEEK_END);
  if (end < 0) return refused();
  DiskIdentity out{.bytes = static_cast<std::uint64_t>(end),
                   .is_read_only = disk.access == vm_device::ImageAccess::kReadOnly};
  if (!out.is_read_only && ::fdatasync(file.get()) != 0 && errno != EINVAL) return refused();
  if (!sample(file.get(), out.bytes, out.sample)) return refused();
  return out;
}

void MachineSpec::save(vm_device::StateWriter& to) const {
  machine_fields(to, *this);
  to(seed.has_value(), seed.value_or(0));
  to(static_cast<std::uint8_t>(disks.size()), static_cast<std::uint8_t>(nets.size()));
  for (const DiskIdentity& disk : disks) disk_fields(to, disk);
  for (const NetKind net : nets) to.choice(net, NetKind::kSockets);
}

absl::Status MachineSpec::load(vm_device::StateReader& from) {
  machine_fields(from, *this);
  bool has_seed = false;
  std::uint64_t number = 0;
  std::uint8_t disk_count = 0;
  std::uint8_t net_count = 0;
  from(has_seed, number, disk_count, net_count);
  if (has_seed) seed = number;
  const bool can_be_memory = memory_bytes >= kLeastMemoryBytes &&
                             memory_bytes <= kMostMemoryBytes && memory_bytes % 4096 == 0;
  from.check(can_be_memory, "no memory that a machine can have");
  from.check(harts >= 1 && harts <= kMostHarts, "no number of harts");
  const unsigned devices =
      disk_count + net_count + (console != ConsoleKind::kNone ? 1u : 0u) + (has_rng ? 1u : 0u);
  from.check(devices <= kVirtioSlots, "more devices than slots");
  if (!from.ok()) return from.status();
  disks.resize(disk_count);
  nets.resize(net_count);
  for (DiskIdentity& disk : disks) disk_fields(from, disk);
  for (NetKind& net : nets) from.choice(net, NetKind::kSockets);
  return from.finish();
}

absl::StatusOr<MachineSpec> spec_of(const Options& options) {
  MachineSpec spec{.memory_bytes = options.memory_bytes,
                   .harts = options.harts,
                   .has_iommu = options.iommu == IommuMode::kIdentity,
                   .has_rng = options.slots.has_rng,
                   .seed = options.seed};
  if (options.slots.console) {
    spec.console = options.slots.console == "-" ? ConsoleKind::kUser : ConsoleKind::kFile;
  }
  for (const DiskFile& disk : options.disks) {
    auto identity = identify_disk(disk);
    if (!identity.ok()) return identity.status();
    spec.disks.push_back(*identity);
  }
  for (const NetOption& net : options.slots.nets) spec.nets.push_back(net.kind);
  return spec;
}

absl::Status adopt(const MachineSpec& spec, Options& options) {
  absl::Status status = adopt_memory_and_harts(spec, options);
  if (status.ok()) status = adopt_nets(spec, options);
  if (status.ok()) status = adopt_other_slots(spec, options);
  if (status.ok()) status = adopt_disks(spec, options);
  return status;
}

}  // namespace vmrun
