#include "tools/vmrun/image.h"

#include <elf.h>

#include <algorithm>
#include <cstring>
#include <optional>
#include <string_view>

#include "absl/strings/str_format.h"

namespace vmrun {
namespace {

using Bytes = std::span<const std::byte>;

template <typename T>
std::optional<T> object_at(Bytes file, std::uint64_t offset) {
  if (offset > file.size() || file.size() - offset < sizeof(T)) return std::nullopt;
  T object;
  std::memcpy(&object, &file[offset], sizeof object);
  return object;
}

bool has_at(Bytes file, std::uint64_t offset, std::string_view magic) {
  if (offset > file.size() || file.size() - offset < magic.size()) return false;
  return std::memcmp(&file[offset], magic.data(), magic.size()) == 0;
}

absl::Status damaged(const char* what) {
  return absl::InvalidArgumentError(absl::StrFormat("a damaged ELF program: %s", what));
}

absl::Status check_header(const Elf64_Ehdr& header) {
  if (header.e_ident[EI_CLASS] != ELFCLASS64 || header.e_ident[EI_DATA] != ELFDATA2LSB ||
      header.e_machine != EM_RISCV) {
    return absl::InvalidArgumentError(
        absl::StrFormat("an ELF program, but not for RISC-V with 64 bits (machine %d, class %d)",
                        header.e_machine, header.e_ident[EI_CLASS]));
  }
  if (header.e_phentsize != sizeof(Elf64_Phdr)) return damaged("the size of its segment headers");
  return absl::OkStatus();
}

bool is_loaded(const Elf64_Phdr& header) { return header.p_type == PT_LOAD && header.p_memsz != 0; }

// Where the segment puts what is at a virtual address, if it has it.
std::optional<std::uint64_t> physical_of(const Elf64_Phdr& header, std::uint64_t address) {
  const std::uint64_t offset = address - header.p_vaddr;
  if (!is_loaded(header) || offset >= header.p_memsz) return std::nullopt;
  return header.p_paddr + offset;
}

absl::Status add_segment(Bytes file, const Elf64_Phdr& header, Image& image) {
  if (!is_loaded(header)) return absl::OkStatus();
  if (header.p_offset > file.size() || header.p_filesz > file.size() - header.p_offset ||
      header.p_filesz > header.p_memsz) {
    return damaged("a segment reaches beyond the end of the file");
  }
  image.segments.push_back({.address = header.p_paddr,
                            .content = file.subspan(header.p_offset, header.p_filesz),
                            .memory_bytes = header.p_memsz});
  return absl::OkStatus();
}

absl::StatusOr<Image> parse_elf(Bytes file) {
  const auto header = object_at<Elf64_Ehdr>(file, 0);
  if (!header) return damaged("it ends within its header");
  if (const absl::Status status = check_header(*header); !status.ok()) return status;
  Image image;
  std::optional<std::uint64_t> entry;  // physical; the header has the virtual address
  for (std::uint64_t i = 0; i < header->e_phnum; ++i) {
    const auto segment = object_at<Elf64_Phdr>(file, header->e_phoff + i * sizeof(Elf64_Phdr));
    if (!segment || header->e_phoff > file.size()) return damaged("it ends within its headers");
    const absl::Status status = add_segment(file, *segment, image);
    if (!status.ok()) return status;
    if (!entry) entry = physical_of(*segment, header->e_entry);
  }
  image.entry = entry.value_or(header->e_entry);
  if (image.segments.empty()) return damaged("nothing in it is to be loaded");
  return image;
}

struct LinuxHeader {
  std::uint32_t code[2];
  std::uint64_t text_offset;
  std::uint64_t image_bytes;
  std::uint64_t flags;
  std::uint32_t version;
  std::uint32_t reserved[3];
  char magic[8];
  char magic2[4];
  std::uint32_t reserved2;
};
static_assert(sizeof(LinuxHeader) == 64);
constexpr std::uint64_t kMagic2Offset = offsetof(LinuxHeader, magic2);

absl::StatusOr<Image> parse_linux(Bytes file, std::uint64_t ram) {
  const auto header = object_at<LinuxHeader>(file, 0);
  if (!header) return absl::InvalidArgumentError("a Linux Image that ends within its header");
  if ((header->flags & 1) != 0) return absl::InvalidArgumentError("a big-endian Linux Image");
  // An image that does not say what it takes with its zeros takes at least what it has.
  const std::uint64_t bytes = std::max<std::uint64_t>(header->image_bytes, file.size());
  const std::uint64_t at = ram + header->text_offset;
  return Image{.entry = at, .segments = {{.address = at, .content = file, .memory_bytes = bytes}}};
}

}  // namespace

absl::StatusOr<Image> parse_image(Bytes file, std::uint64_t ram, std::uint64_t raw) {
  using namespace std::string_view_literals;
  if (file.empty()) return absl::InvalidArgumentError("the file is empty");
  if (has_at(file, 0, "\x1f\x8b"sv)) {
    return absl::InvalidArgumentError("compressed; unpack it with gunzip");
  }
  if (has_at(file, 0, ELFMAG)) return parse_elf(file);
  if (has_at(file, kMagic2Offset, "RSC\x05"sv)) return parse_linux(file, ram);
  if (has_at(file, 0, "MZ"sv)) {
    return absl::InvalidArgumentError("a kernel or EFI program, but not a RISC-V Linux Image");
  }
  return Image{.entry = raw,
               .segments = {{.address = raw, .content = file, .memory_bytes = file.size()}}};
}

}  // namespace vmrun
