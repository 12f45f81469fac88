#include "vm_device/virtio_device.h"

#include "absl/strings/str_format.h"

namespace vm_device {

absl::Status VirtioDevice::save(StateWriter&) const {
  return absl::UnimplementedError(
      absl::StrFormat("virtio devices of type %u cannot be saved", device_id()));
}

absl::Status VirtioDevice::load(StateReader&) {
  return absl::UnimplementedError(
      absl::StrFormat("virtio devices of type %u cannot be restored", device_id()));
}

}  // namespace vm_device
