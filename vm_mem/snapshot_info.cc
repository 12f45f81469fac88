#include "vm_mem/snapshot_info.h"

#include <sys/random.h>

#include <chrono>
#include <cstring>
#include <string_view>

namespace vm_mem {

SnapshotId SnapshotId::make() {
  SnapshotId id;
  if (getrandom(id.bytes.data(), id.bytes.size(), GRND_NONBLOCK) !=
      static_cast<ssize_t>(id.bytes.size())) {
    const auto now = std::chrono::system_clock::now().time_since_epoch().count();
    const auto here = reinterpret_cast<std::uintptr_t>(&id);
    std::memcpy(id.bytes.data(), &now, sizeof now);
    std::memcpy(id.bytes.data() + sizeof now, &here, sizeof here);
  }
  // Version 4, of the variant of RFC 4122.
  id.bytes[6] = (id.bytes[6] & std::byte{0x0f}) | std::byte{0x40};
  id.bytes[8] = (id.bytes[8] & std::byte{0x3f}) | std::byte{0x80};
  return id;
}

std::string SnapshotId::text() const {
  constexpr std::string_view kDigits = "0123456789abcdef";
  std::string text;
  for (std::size_t i = 0; i < bytes.size(); ++i) {
    if (i == 4 || i == 6 || i == 8 || i == 10) text += '-';
    const auto byte = std::to_integer<unsigned>(bytes[i]);
    text += kDigits[byte >> 4];
    text += kDigits[byte & 15];
  }
  return text;
}

}  // namespace vm_mem
