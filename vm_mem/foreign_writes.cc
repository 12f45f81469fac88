#include "vm_mem/foreign_writes.h"

#include <optional>
#include <utility>

#include "absl/strings/str_format.h"
#include "vm_mem/dirty_log.h"
#include "vm_mem/internal/write_protect_watch.h"

namespace vm_mem {

using internal::WriteProtectWatch;

// The copy of the section keeps the memory and its log alive. It is declared first, so
// that it goes last.
class ForeignWriteTracker::Watch {
 public:
  Watch(const MapSection& section, std::optional<WriteProtectWatch> protection, std::string reason)
      : section_(section), protection_(std::move(protection)), reason_(std::move(reason)) {}

  ForeignWriteMethod method() const {
    return protection_ ? ForeignWriteMethod::kWriteProtect : ForeignWriteMethod::kAllDirty;
  }
  const std::string& reason() const { return reason_; }

  absl::Status collect() {
    const auto mark = [this](std::uint64_t offset, std::uint64_t bytes) {
      section_.dirty_log->mark(section_.region_offset + offset, bytes);
    };
    absl::Status status = protection_ ? protection_->collect(mark) : absl::OkStatus();
    if (!protection_ || !status.ok()) mark(0, section_.range.bytes());
    return status;
  }

 private:
  MapSection section_;
  std::optional<WriteProtectWatch> protection_;
  std::string reason_;
};

absl::StatusOr<ForeignWriteTracker> ForeignWriteTracker::watch(
    const MapSection& section, std::span<const ForeignWriteMethod> allowed) {
  if (section.kind != RegionKind::kRam || section.dirty_log == nullptr) {
    return absl::FailedPreconditionError(
        absl::StrFormat("writes to region 0x%x are not tracked: it has no dirty log",
                        static_cast<std::uint64_t>(section.region)));
  }
  std::string reason;
  for (const ForeignWriteMethod method : allowed) {
    std::optional<WriteProtectWatch> protection;
    if (method == ForeignWriteMethod::kWriteProtect) {
      auto made = WriteProtectWatch::make({section.host, section.range.bytes()});
      if (!made.ok()) {
        reason = std::string(made.status().message());
        continue;
      }
      protection.emplace(*std::move(made));
    }
    return ForeignWriteTracker(
        std::make_unique<Watch>(section, std::move(protection), std::move(reason)));
  }
  return absl::UnimplementedError(absl::StrFormat("no way to see foreign writes to region 0x%x: %s",
                                                  static_cast<std::uint64_t>(section.region),
                                                  reason.empty() ? "none is allowed" : reason));
}

ForeignWriteTracker::ForeignWriteTracker(std::unique_ptr<Watch> watch) : watch_(std::move(watch)) {}
ForeignWriteTracker::ForeignWriteTracker(ForeignWriteTracker&&) noexcept = default;
ForeignWriteTracker& ForeignWriteTracker::operator=(ForeignWriteTracker&&) noexcept = default;
ForeignWriteTracker::~ForeignWriteTracker() = default;

ForeignWriteMethod ForeignWriteTracker::method() const { return watch_->method(); }
const std::string& ForeignWriteTracker::reason() const { return watch_->reason(); }
absl::Status ForeignWriteTracker::collect() { return watch_->collect(); }

}  // namespace vm_mem
