#include "tools/vmmem/snapshot_command.h"
#include "tools/command_line/printable.h"

#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>
#include <csignal>
#include <cstring>
#include <string>
#include <string_view>

#include <fmt/format.h>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "tools/command_line/signals.h"
#include "tools/vmmem/console.h"
#include "tools/vmmem/policy_output.h"
#include "tools/vmmem/snapshot_report.h"
#include "vm_mem/snapshot.h"
#include "vm_mem/snapshot_convert.h"
#include "vm_mem/snapshot_pages.h"

namespace vmmem {
namespace {

using command_line::printable;

using vm_mem::Snapshot;
using vm_mem::SnapshotStep;

// What goes to standard output, and the exit status.
struct Outcome {
  std::string text;
  int status = 0;
};

// The line of progress, gone with this object; a signal cancels.
class Watched {
 public:
  explicit Watched(std::string_view label) : progress_(label, STDERR_FILENO) {}

  vm_mem::SnapshotProgress callback() {
    return [this](std::uint64_t done, std::uint64_t total) {
      progress_.show(done, total);
      return command_line::noted_signal() == 0 ? SnapshotStep::kContinue : SnapshotStep::kCancel;
    };
  }

 private:
  Progress progress_;
};

bool is_same_folder(const std::string& one, const std::string& other) {
  struct stat first {};
  struct stat second {};
  return stat(folder_of(one).c_str(), &first) == 0 &&
         stat(folder_of(other).c_str(), &second) == 0 && first.st_dev == second.st_dev &&
         first.st_ino == second.st_ino;
}

// Before the work: an output that cannot be written, or must not be, is known then.
absl::Status check_output(const std::string& path, Existing existing) {
  const auto refused = [&](std::string_view reason) {
    return absl::FailedPreconditionError(fmt::format("{}: {}", path, reason));
  };
  const std::string folder = folder_of(path);
  struct stat about {};
  if (stat(folder.c_str(), &about) != 0 || !S_ISDIR(about.st_mode)) {
    return refused(fmt::format("there is no folder {}; make it first", folder));
  }
  if (access(folder.c_str(), W_OK | X_OK) != 0) {
    return refused(fmt::format("the folder {} cannot be written ({}); choose another", folder,
                               std::strerror(errno)));
  }
  if (lstat(path.c_str(), &about) != 0) {
    return errno == ENOENT ? absl::OkStatus() : refused(std::strerror(errno));
  }
  if (S_ISDIR(about.st_mode)) return refused("this is a folder; name a file in it");
  if (!S_ISREG(about.st_mode)) return refused("this is no regular file; it is not replaced");
  if (existing == Existing::kReplaced) return absl::OkStatus();
  return refused("is there already; --force replaces it");
}

std::string data_text(std::uint64_t pages) {
  return fmt::format("{} ({})", counted(pages, "page"), amount(pages * vm_mem::kGuestPageBytes));
}

std::string saved_text(const std::string& path, const vm_mem::SnapshotSaved& saved,
                       std::string_view of) {
  return fmt::format("{}: {} {}, {} on the disk\n", path, data_text(saved.data_pages), of,
                     amount(saved.file_bytes));
}

absl::StatusOr<Outcome> inspect(const SnapshotRequest& request, Format format) {
  absl::StatusOr<Snapshot> snapshot = Snapshot::open(request.file);
  absl::Status parents;
  if (!snapshot.ok()) {
    parents = snapshot.status();
    snapshot = Snapshot::open(request.file, {.parents = vm_mem::SnapshotParents::kIgnore});
    if (!snapshot.ok()) return snapshot.status();
  }
  return Outcome{.text = format == Format::kJson ? inspect_json(*snapshot, parents)
                                                 : inspect_text(*snapshot, parents)};
}

absl::StatusOr<Outcome> verify(const SnapshotRequest& request) {
  const absl::StatusOr<Snapshot> snapshot =
      Snapshot::open(request.file, {.parents = request.parents});
  if (!snapshot.ok()) return snapshot.status();
  {
    Watched watched("verify");
    const absl::Status verified = snapshot->verify({.progress = watched.callback()});
    if (!verified.ok()) return verified;
  }
  std::uint64_t pages = 0;
  std::uint64_t states = 0;
  const auto chain = snapshot->chain();
  for (const vm_mem::SnapshotInfo& file : chain) {
    pages += file.data_pages;
    states += file.states.size();
  }
  const bool is_alone = chain.size() <= snapshot->info().depth;
  return Outcome{.text = fmt::format("{}: good: {}, {}, {}{}\n", request.file,
                                     counted(chain.size(), "file"), data_text(pages),
                                     counted(states, "state"),
                                     is_alone ? "; its parents were not read" : "")};
}

absl::StatusOr<Outcome> diff(const SnapshotRequest& request, Format format) {
  const absl::StatusOr<Snapshot> first = Snapshot::open(request.file);
  if (!first.ok()) return first.status();
  const absl::StatusOr<Snapshot> second = Snapshot::open(request.other);
  if (!second.ok()) return second.status();
  absl::StatusOr<vm_mem::SnapshotDiff> found;
  {
    Watched watched("diff");
    found = vm_mem::diff_snapshots(*first, *second, {.progress = watched.callback()});
  }
  if (!found.ok()) return found.status();
  const DiffReport report{.first = *first, .second = *second, .diff = *found};
  return Outcome{.text = format == Format::kJson ? diff_json(report) : diff_text(report),
                 .status = report.is_same() ? 0 : 1};
}

absl::StatusOr<Outcome> merge(const SnapshotRequest& request) {
  const absl::StatusOr<Snapshot> top = Snapshot::open(request.file);
  if (!top.ok()) return top.status();
  const auto files = static_cast<std::uint32_t>(top->chain().size());
  if (request.youngest > files) {
    return absl::InvalidArgumentError(fmt::format("{}: the chain has {}, not {}", request.file,
                                                  counted(files, "file"), request.youngest));
  }
  const std::uint32_t merged = request.youngest == 0 ? files : request.youngest;
  if (merged < files && !is_same_folder(request.file, request.other)) {
    return absl::InvalidArgumentError(
        fmt::format("{}: it would rest on files beside {}: name a file in that folder",
                    request.other, request.file));
  }
  absl::StatusOr<vm_mem::SnapshotSaved> saved;
  {
    Watched watched("merge");
    saved = vm_mem::merge_snapshots(*top, request.other,
                                    {.kept = files - merged,
                                     .progress = watched.callback(),
                                     .compression = request.compression});
  }
  if (!saved.ok()) return saved.status();
  const std::string rests = merged == files
                                ? "needs no other"
                                : "rests on " + printable(top->chain()[merged - 1].parent_name);
  return Outcome{.text = saved_text(request.other, *saved,
                                    fmt::format("of {}; it {}", counted(merged, "file"), rests))};
}

absl::StatusOr<Outcome> export_image(const SnapshotRequest& request) {
  const absl::StatusOr<Snapshot> snapshot = Snapshot::open(request.file);
  if (!snapshot.ok()) return snapshot.status();
  {
    Watched watched("export");
    const absl::Status done =
        vm_mem::export_flat_image(*snapshot, request.other, {.progress = watched.callback()});
    if (!done.ok()) return done;
  }
  std::string regions;
  for (const vm_mem::GuestRange& region : snapshot->info().regions) {
    regions += fmt::format(" --region 0x{:x}:0x{:x}", region.begin().value, region.bytes());
  }
  return Outcome{.text = fmt::format("{}: {} of memory:{}\n", request.other,
                                     amount(snapshot->info().guest_pages * vm_mem::kGuestPageBytes),
                                     regions)};
}

absl::StatusOr<Outcome> import_image(const SnapshotRequest& request) {
  absl::StatusOr<vm_mem::SnapshotSaved> saved;
  {
    Watched watched("import");
    saved = vm_mem::import_flat_image(
        request.file, request.regions, request.other,
        {.progress = watched.callback(), .compression = request.compression});
  }
  if (!saved.ok()) return saved.status();
  return Outcome{.text = saved_text(request.other, *saved, "that are not zero")};
}

absl::StatusOr<Outcome> carry_out(const SnapshotRequest& request, Format format) {
  switch (request.command) {
    case SnapshotCommand::kInspect: return inspect(request, format);
    case SnapshotCommand::kVerify: return verify(request);
    case SnapshotCommand::kDiff: return diff(request, format);
    default: break;
  }
  absl::Status writable = check_output(request.other, request.existing);
  if (!writable.ok()) return writable;
  switch (request.command) {
    case SnapshotCommand::kMerge: return merge(request);
    case SnapshotCommand::kExport: return export_image(request);
    default: return import_image(request);
  }
}

// What to do about it, where the message alone does not say so.
std::string_view advice(const absl::Status& status, const SnapshotRequest& request) {
  const std::string message = message_of(status);
  switch (status.code()) {
    case absl::StatusCode::kUnimplemented:
      return message.find("built without") == message.npos
                 ? "; a later version of this program may, or the one that wrote it"
                 : "";
    case absl::StatusCode::kNotFound:
      if (message.find("(the parent of ") == message.npos) return "";
      return request.command == SnapshotCommand::kVerify
                 ? "; put it there, or verify the file --alone"
                 : "; put it there";
    case absl::StatusCode::kPermissionDenied:
      return message.find(": creating ") == message.npos ? "" : "; choose another folder";
    case absl::StatusCode::kResourceExhausted:
      return message.find("writ") != message.npos || message.find("sync") != message.npos
                 ? "; nothing was written: make room, or choose another disk"
                 : "";
    case absl::StatusCode::kInvalidArgument:
      if (message.find("this is no snapshot") != message.npos) {
        return "; `vmmem snapshot import` takes flat images";
      }
      return message.ends_with("this is a symbolic link") ? "; name the file that it leads to" : "";
    default: return "";
  }
}

// As who does not catch the signal.
void end_by_signal(int number) {
  std::signal(number, SIG_DFL);
  std::raise(number);
}

}  // namespace

int run_snapshot(const SnapshotRequest& request, Format format) {
  command_line::note_signals();
  const int trouble = request.command == SnapshotCommand::kDiff ? 2 : 1;
  const absl::StatusOr<Outcome> outcome = carry_out(request, format);
  std::signal(SIGPIPE, SIG_DFL);  // who reads the output may have seen enough
  if (outcome.ok()) return publish(outcome->text) == 0 ? outcome->status : trouble;
  if (outcome.status().code() == absl::StatusCode::kCancelled) {
    complain("interrupted; no file was written or changed");
    end_by_signal(command_line::noted_signal());
  }
  complain(printable(message_of(outcome.status())) +
           std::string(advice(outcome.status(), request)));
  return trouble;
}

}  // namespace vmmem
