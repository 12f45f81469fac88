// Puts what a machine starts from into its memory.
#ifndef VMRUN_BOOT_H_
#define VMRUN_BOOT_H_

#include <cstddef>
#include <cstdint>
#include <optional>
#include <span>
#include <string>

#include "absl/status/statusor.h"
#include "vm_mem/memory_manager.h"

namespace vmrun {

struct BootFile {
  std::string name;  // for messages
  std::span<const std::byte> content;
};

// Firmware without a header goes to the start of RAM; a kernel without one 2 MiB behind
// it, where OpenSBI's fw_jump looks for it as well.
struct BootFiles {
  BootFile firmware;
  std::optional<BootFile> kernel = std::nullopt;
  std::optional<BootFile> initrd = std::nullopt;
  std::string append = {};                           // the kernel's command line
  std::optional<std::uint64_t> seed = std::nullopt;  // of what the device tree gives by chance
};

// What the firmware finds in its registers, as from QEMU's reset vector.
struct BootState {
  std::uint64_t pc = 0;
  std::uint64_t device_tree = 0;   // a1
  std::uint64_t dynamic_info = 0;  // a2: for OpenSBI's fw_dynamic; 0: there is no kernel
};

// The device tree is near the end of RAM, an initial RAM disk below it.
//
// Errors:  each message begins with the name of the file that it is about, if it is about one.
//          kInvalidArgument  those of parse_image
//          kOutOfRange       not in RAM, not enough of it, or one would overwrite another
absl::StatusOr<BootState> load_boot_files(vm_mem::MemoryManager& memory, std::uint64_t memory_bytes,
                                          unsigned harts, const BootFiles& files);

}  // namespace vmrun

#endif  // VMRUN_BOOT_H_
