// What a file to boot is: an ELF program, a Linux Image, or bytes without a header.
#ifndef VMRUN_IMAGE_H_
#define VMRUN_IMAGE_H_

#include <cstddef>
#include <cstdint>
#include <span>
#include <vector>

#include "absl/status/statusor.h"

namespace vmrun {

// Bytes for guest physical memory; zeros follow them up to memory_bytes.
struct Segment {
  std::uint64_t address = 0;
  std::span<const std::byte> content;
  std::uint64_t memory_bytes = 0;
};

struct Image {
  std::uint64_t entry = 0;
  std::vector<Segment> segments;
};

// A Linux Image goes to its offset from `ram`, bytes without a header to `raw`; an ELF
// program says itself where it goes. The content stays the caller's.
//
// Errors:  kInvalidArgument  empty; compressed; an ELF program or a kernel for another
//                            machine, or a damaged one
// Source:  the ELF-64 object file format 1.5; Linux, Documentation/riscv/boot-image-header.
absl::StatusOr<Image> parse_image(std::span<const std::byte> file, std::uint64_t ram,
                                  std::uint64_t raw);

}  // namespace vmrun

#endif  // VMRUN_IMAGE_H_
