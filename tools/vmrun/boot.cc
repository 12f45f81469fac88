#include "tools/vmrun/boot.h"

#include <array>
#include <vector>

#include "absl/strings/str_format.h"
#include "tools/vmrun/device_tree.h"
#include "tools/vmrun/image.h"
#include "tools/vmrun/layout.h"
#include "tools/vmrun/seed.h"

namespace vmrun {
namespace {

using vm_mem::GuestAddress;

// U-Boot moves the tree away before it uses the end of RAM; an alignment of 2 MiB is
// QEMU's, and keeps the tree out of the way of early code that rounds.
constexpr std::uint64_t kTreeAlignment = 2 << 20;
constexpr std::uint64_t kKernelOffset = 2 << 20;
constexpr std::uint64_t kInitrdAlignment = 4096;

struct Range {
  std::uint64_t begin = 0;
  std::uint64_t bytes = 0;

  std::uint64_t end() const { return begin + bytes; }
};

struct Taken {
  Range range;
  std::string name;
};

absl::Status named(const std::string& name, const absl::Status& status) {
  return absl::Status(status.code(),
                      absl::StrFormat("%s: %s", name, std::string(status.message())));
}

// Memory as it fills: what is put there, and that nothing is put there twice.
class Loader {
 public:
  Loader(vm_mem::MemoryManager& memory, std::uint64_t memory_bytes)
      : memory_(&memory), ram_{kRamBase, memory_bytes} {}

  const Range& ram() const { return ram_; }

  // Keeps a place for what is written there later.
  absl::Status reserve(const std::string& name, const Range& range) {
    if (range.begin < ram_.begin || range.begin > ram_.end() ||
        range.bytes > ram_.end() - range.begin) {
      return absl::OutOfRangeError(
          absl::StrFormat("0x%x bytes at 0x%x are not within the RAM from 0x%x to 0x%x",
                          range.bytes, range.begin, ram_.begin, ram_.end()));
    }
    for (const Taken& other : taken_) {
      if (range.begin >= other.range.end() || other.range.begin >= range.end()) continue;
      return absl::OutOfRangeError(absl::StrFormat("0x%x bytes at 0x%x would overwrite %s at 0x%x",
                                                   range.bytes, range.begin, other.name,
                                                   other.range.begin));
    }
    taken_.push_back({range, name});
    return absl::OkStatus();
  }

  absl::Status write(std::uint64_t at, std::span<const std::byte> content) {
    if (memory_->write(GuestAddress{at}, content).ok()) return absl::OkStatus();
    return absl::InternalError("RAM cannot be written");
  }

  absl::Status put(const std::string& name, const Segment& segment) {
    const absl::Status status = reserve(name, {segment.address, segment.memory_bytes});
    return status.ok() ? write(segment.address, segment.content) : status;
  }

  absl::StatusOr<std::uint64_t> put_image(const BootFile& file, std::uint64_t raw) {
    const auto image = parse_image(file.content, ram_.begin, raw);
    if (!image.ok()) return image.status();
    for (const Segment& segment : image->segments) {
      if (const absl::Status status = put(file.name, segment); !status.ok()) return status;
    }
    return image->entry;
  }

 private:
  vm_mem::MemoryManager* memory_;
  Range ram_;
  std::vector<Taken> taken_;
};

absl::Status check_firmware(const BootFile& firmware, std::uint64_t tree_at,
                            std::uint64_t memory_bytes) {
  if (firmware.content.empty()) return absl::InvalidArgumentError("the firmware is empty");
  if (tree_at > kRamBase) return absl::OkStatus();
  return absl::OutOfRangeError(absl::StrFormat(
      "%d bytes of memory are too little for a firmware and the device tree", memory_bytes));
}

absl::StatusOr<Range> put_initrd(Loader& loader, const BootFile& file, std::uint64_t tree_at) {
  const std::uint64_t room = tree_at - loader.ram().begin;
  if (file.content.empty()) return absl::InvalidArgumentError("the file is empty");
  if (file.content.size() > room) {
    return absl::OutOfRangeError(absl::StrFormat(
        "%d bytes do not fit into the %d below the device tree", file.content.size(), room));
  }
  const std::uint64_t at = (tree_at - file.content.size()) & ~(kInitrdAlignment - 1);
  const Range range{at, file.content.size()};
  const absl::Status status = loader.put(file.name, {at, file.content, range.bytes});
  if (!status.ok()) return status;
  return range;
}

// OpenSBI's struct fw_dynamic_info: version 2, go on in S-mode.
// Source:  OpenSBI, include/sbi/fw_dynamic.h.
std::array<std::uint64_t, 6> dynamic_info(std::uint64_t entry) {
  constexpr std::uint64_t kMagic = 0x4942'534f;
  constexpr std::uint64_t kVersion = 2;
  constexpr std::uint64_t kSupervisor = 1;
  return {kMagic, kVersion, entry, kSupervisor, 0, 0};
}

// Kernel and initial RAM disk: where the kernel is entered, and what the tree says of both.
absl::StatusOr<std::uint64_t> put_kernel(Loader& loader, const BootFiles& files,
                                         std::uint64_t tree_at, TreeOptions& tree) {
  const auto entry = loader.put_image(*files.kernel, loader.ram().begin + kKernelOffset);
  if (!entry.ok()) return named(files.kernel->name, entry.status());
  tree.command_line = files.append;
  if (files.initrd) {
    const auto initrd = put_initrd(loader, *files.initrd, tree_at);
    if (!initrd.ok()) return named(files.initrd->name, initrd.status());
    tree.initrd_begin = initrd->begin;
    tree.initrd_end = initrd->end();
  }
  return *entry;
}

// The tree, and at the end of its room what fw_dynamic wants to know.
absl::Status put_tree(Loader& loader, const TreeOptions& options, const Range& room,
                      const std::array<std::uint64_t, 6>& info) {
  const auto tree = make_device_tree(options);
  if (!tree.ok()) return tree.status();
  const absl::Status status = loader.write(room.begin, *tree);
  return status.ok() ? loader.write(room.end() - sizeof info, std::as_bytes(std::span(info)))
                     : status;
}

}  // namespace

absl::StatusOr<BootState> load_boot_files(vm_mem::MemoryManager& memory, std::uint64_t memory_bytes,
                                          unsigned harts, const BootFiles& files) {
  Loader loader(memory, memory_bytes);
  const std::uint64_t tree_at = (loader.ram().end() - kMostTreeBytes) & ~(kTreeAlignment - 1);
  const Range tree{tree_at, kMostTreeBytes};
  absl::Status status = check_firmware(files.firmware, tree_at, memory_bytes);
  if (status.ok()) status = loader.reserve("the device tree", tree);
  if (!status.ok()) return named(files.firmware.name, status);
  const auto firmware = loader.put_image(files.firmware, kRamBase);
  if (!firmware.ok()) return named(files.firmware.name, firmware.status());
  BootState state{.pc = *firmware, .device_tree = tree_at};
  std::array<std::uint64_t, 6> info{};
  TreeOptions options{.memory_bytes = memory_bytes, .harts = harts};
  if (files.seed) options.rng_seed = rng_seed(*files.seed);
  if (files.kernel) {
    const auto kernel = put_kernel(loader, files, tree_at, options);
    if (!kernel.ok()) return kernel.status();
    info = dynamic_info(*kernel);
    state.dynamic_info = tree.end() - sizeof info;
  }
  status = put_tree(loader, options, tree, info);
  if (!status.ok()) return status;
  return state;
}

}  // namespace vmrun
