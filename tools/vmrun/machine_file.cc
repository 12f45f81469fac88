#include "tools/vmrun/machine_file.h"

#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>
#include <chrono>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <filesystem>
#include <utility>

#include <fmt/format.h>

#include "tools/command_line/signals.h"
#include "tools/vmrun/terminal.h"

namespace vmrun {
namespace {

constexpr std::string_view kSpec = "vmrun";
constexpr std::string_view kSession = "session";
constexpr std::string_view kHost = "host";

bool is_same_node(const char* a, const char* b) {
  struct stat of_a {
  }, of_b{};
  return ::stat(a, &of_a) == 0 && ::stat(b, &of_b) == 0 && of_a.st_dev == of_b.st_dev &&
         of_a.st_ino == of_b.st_ino;
}

std::string folder_of(const std::filesystem::path& path) {
  const std::string folder = path.parent_path();
  return folder.empty() ? "." : folder;
}

// Be it that neither is there yet: the other one may come into being while the machine runs.
bool is_same_file(const std::filesystem::path& a, const std::filesystem::path& b) {
  return is_same_node(a.c_str(), b.c_str()) ||
         (a.filename() == b.filename() && is_same_node(folder_of(a).c_str(), folder_of(b).c_str()));
}

absl::Status unusable(const std::string& path, int error) {
  return absl::UnavailableError(fmt::format("{}: {}", path, std::strerror(error)));
}

template <typename State>
vm_mem::DeviceState packed(std::string_view id, std::uint32_t version, const State& state) {
  vm_device::StateWriter to;
  state.save(to);
  return {.id = std::string(id), .version = version, .bytes = std::move(to).take()};
}

std::string mebibytes(std::uint64_t bytes) {
  return fmt::format("{:.1f} MiB", static_cast<double>(bytes) / (1 << 20));
}

vm_mem::SnapshotStep until_signal(std::uint64_t, std::uint64_t) {
  return command_line::noted_signal() == 0 ? vm_mem::SnapshotStep::kContinue
                                           : vm_mem::SnapshotStep::kCancel;
}

}  // namespace

absl::Status check_save_path(const Options& options) {
  const std::string& path = options.snapshot.save;
  std::vector<std::string> used = {options.slots.console.value_or(""),
                                   options.trace,
                                   options.stats_file,
                                   options.script,
                                   options.firmware,
                                   options.kernel,
                                   options.initrd};
  for (const DiskFile& disk : options.disks) used.push_back(disk.path);
  for (const std::string& other : used) {
    // "-" is no file of those that may have it.
    if (other.empty() || other == "-" || !is_same_file(path, other)) continue;
    return absl::InvalidArgumentError(fmt::format("{}: the machine uses this file", path));
  }
  if (::access(folder_of(path).c_str(), W_OK | X_OK) != 0) return unusable(path, errno);
  std::error_code ignored;
  return std::filesystem::is_directory(path, ignored) ? unusable(path, EISDIR) : absl::OkStatus();
}

absl::StatusOr<std::string> save_machine(Machine& machine, const HostSlots& slots,
                                         const Options& options, const SavedSession& session,
                                         const vm_mem::LazyRestore* lazy) {
  const auto start = std::chrono::steady_clock::now();
  auto states = machine.save_states();
  if (!states.ok()) return states.status();
  const auto spec = spec_of(options);
  if (!spec.ok()) return spec.status();
  states->push_back(packed(kSpec, MachineSpec::kVersion, *spec));
  states->push_back(packed(kSession, SavedSession::kVersion, session));
  states->push_back(packed(kHost, HostSlots::kStateVersion, slots));
  vm_mem::SnapshotSaveOptions how{.states = *std::move(states), .progress = until_signal};
  if (lazy != nullptr) how.working_set = lazy->touched();
  const auto saved = vm_mem::save_snapshot(machine.memory(), options.snapshot.save, how);
  if (!saved.ok()) return saved.status();
  const std::chrono::duration<double, std::milli> spent = std::chrono::steady_clock::now() - start;
  return fmt::format("saved {}: {} of {} in {:.0f} ms, after {} instructions",
                     options.snapshot.save, mebibytes(saved->file_bytes),
                     mebibytes(options.memory_bytes), spent.count(), machine.retired());
}

absl::StatusOr<MachineFile> MachineFile::open(const std::string& path) {
  auto snapshot = vm_mem::Snapshot::open(path);
  if (!snapshot.ok()) return snapshot.status();
  MachineFile file(*std::move(snapshot));
  bool is_ours = false;
  for (const vm_mem::DeviceState& it : file.snapshot_->states()) is_ours |= it.id == kSpec;
  if (!is_ours) {
    return absl::InvalidArgumentError(path + ": a snapshot, but not of a machine of vmrun's");
  }
  absl::Status status = file.load(std::string(kSpec), MachineSpec::kVersion,
                                  [&](auto& from) { file.spec_.load(from).IgnoreError(); });
  if (!status.ok()) return status;
  status = file.load(std::string(kSession), SavedSession::kVersion,
                     [&](auto& from) { file.session_.load(from); });
  if (!status.ok()) return status;
  return file;
}

absl::StatusOr<vm_mem::DeviceState> MachineFile::state(const std::string& id) const {
  auto found = snapshot_->state(id);
  if (found.ok() || found.status().code() != absl::StatusCode::kNotFound) return found;
  return absl::DataLossError("the snapshot does not have it");
}

absl::Status MachineFile::load(const std::string& id, std::uint32_t version,
                               const std::function<void(vm_device::StateReader&)>& use) const {
  const auto found = state(id);
  absl::Status status = found.status();
  if (found.ok() && found->version != version) {
    status = absl::UnimplementedError(
        fmt::format("it has version {}; this program knows {}", found->version, version));
  } else if (found.ok()) {
    vm_device::StateReader from(found->bytes);
    use(from);
    status = from.finish();
  }
  if (status.ok()) return status;
  return {status.code(),
          fmt::format("{}: state '{}': {}", snapshot_->path(), id, std::string(status.message()))};
}

// Whoever touched the page waits meanwhile: nothing of what would be made of it gets out.
[[noreturn]] void end_damaged(const absl::Status& why) {
  RawMode::give_back();
  const std::string reason(why.message());
  std::fputs(fmt::format("vmrun: {}: the guest cannot go on\n", reason).c_str(), stderr);
  std::_Exit(1);
}

absl::StatusOr<std::unique_ptr<vm_mem::LazyRestore>> MachineFile::restore_memory(
    Machine& machine, RestoreMode mode, const Complain& complain) {
  if (mode == RestoreMode::kLazy) {
    vm_mem::LazyRestoreOptions options;
    options.on_damage = [](vm_mem::GuestAddress, const absl::Status& why) -> vm_mem::LazyDamage {
      end_damaged(why);
    };
    auto started = vm_mem::LazyRestore::start(machine.memory(), snapshot_, options);
    if (started.ok() && (*started)->statistics().eager != 0) {
      complain(
          "--lazy: --memory-mode fastmem has memory at two addresses; all of it was brought at "
          "once");
    }
    if (started.ok() ||
        !(absl::IsUnimplemented(started.status()) || absl::IsPermissionDenied(started.status()))) {
      return started;
    }
    complain("--lazy is not possible, all memory is brought at once: " +
             std::string(started.status().message()));
  }
  absl::Status status = vm_mem::restore_snapshot(machine.memory(), *snapshot_);
  if (!status.ok()) return status;
  return nullptr;
}

absl::StatusOr<std::unique_ptr<vm_mem::LazyRestore>> MachineFile::restore(
    Machine& machine, HostSlots& slots, RestoreMode mode, const Complain& complain) {
  auto lazy = restore_memory(machine, mode, complain);
  if (!lazy.ok()) return lazy;
  absl::Status status = machine.load_states([this](const std::string& id) { return state(id); });
  if (!status.ok()) {
    return absl::Status(status.code(),
                        fmt::format("{}: {}", snapshot_->path(), std::string(status.message())));
  }
  status =
      load(std::string(kHost), HostSlots::kStateVersion, [&](auto& from) { slots.load(from); });
  if (!status.ok()) return status;
  return lazy;
}

}  // namespace vmrun
