#include "vm_device/state_bytes.h"

#include <algorithm>

#include "absl/strings/str_format.h"

namespace vm_device {

void StateWriter::bytes(std::span<const std::byte> from, std::size_t most) {
  const auto part = from.first(std::min(from.size(), most));
  put(std::uint64_t{part.size()});
  bytes_.insert(bytes_.end(), part.begin(), part.end());
}

std::span<const std::byte> StateReader::take(std::size_t count) {
  if (!ok()) return {};
  if (bytes_.size() - at_ < count) {
    refuse("the state ends too early");
    return {};
  }
  const auto taken = bytes_.subspan(at_, count);
  at_ += count;
  return taken;
}

std::span<const std::byte> StateReader::bytes(std::size_t most) {
  std::uint64_t count = 0;
  get(count);
  check(count <= most, "more bytes than there can be");
  return ok() ? take(count) : std::span<const std::byte>();
}

void StateReader::bytes(std::vector<std::byte>& to, std::size_t most) {
  const auto from = bytes(most);
  to.assign(from.begin(), from.end());
}

void StateReader::refuse(std::string_view reason) {
  if (!ok()) return;
  refused_at_ = at_;
  reason_ = reason;
}

absl::Status StateReader::status() const {
  if (ok()) return absl::OkStatus();
  return absl::DataLossError(
      absl::StrFormat("byte %d of %d: %s", refused_at_, bytes_.size(), reason_));
}

absl::Status StateReader::finish() {
  check(at_ == bytes_.size(), "bytes that no field has");
  return status();
}

}  // namespace vm_device
