#include "tools/vmrun/image.h"

#include <elf.h>
#include <gtest/gtest.h>

#include <cstring>
#include <string>

namespace vmrun {
namespace {

constexpr std::uint64_t kRam = 0x8000'0000;
constexpr std::uint64_t kRaw = 0x8020'0000;

absl::StatusOr<Image> parse(const std::string& file) {
  return parse_image(std::as_bytes(std::span(file)), kRam, kRaw);
}
std::string refusal(const std::string& file) { return std::string(parse(file).status().message()); }

struct Elf {
  Elf64_Ehdr header{};
  Elf64_Phdr segment{};

  Elf() {
    std::memcpy(header.e_ident, ELFMAG, SELFMAG);
    header.e_ident[EI_CLASS] = ELFCLASS64;
    header.e_ident[EI_DATA] = ELFDATA2LSB;
    header.e_machine = EM_RISCV;
    header.e_entry = 0xffff'0010;
    header.e_phoff = sizeof header;
    header.e_phentsize = sizeof segment;
    header.e_phnum = 1;
    segment = {.p_type = PT_LOAD,
               .p_flags = 0,
               .p_offset = sizeof header + sizeof segment,
               .p_vaddr = 0xffff'0000,
               .p_paddr = 0x8040'0000,
               .p_filesz = 4,
               .p_memsz = 4096,
               .p_align = 1};
  }
  std::string bytes() const {
    std::string out(sizeof header + sizeof segment, '\0');
    std::memcpy(out.data(), &header, sizeof header);
    std::memcpy(out.data() + sizeof header, &segment, sizeof segment);
    return out + "code";
  }
};

TEST(ImageTest, AnElfProgramGoesToItsPhysicalAddress) {
  const std::string file = Elf().bytes();
  const auto image = parse(file);
  ASSERT_TRUE(image.ok()) << image.status();
  EXPECT_EQ(image->entry, 0x8040'0010u);
  ASSERT_EQ(image->segments.size(), 1u);
  EXPECT_EQ(image->segments[0].address, 0x8040'0000u);
  EXPECT_EQ(image->segments[0].memory_bytes, 4096u);
  EXPECT_EQ(std::memcmp(image->segments[0].content.data(), "code", 4), 0);
}

// The physical address of the entry is a virtual one of the second segment.
TEST(ImageTest, TheEntryIsTranslatedOnce) {
  Elf elf;
  elf.header.e_phnum = 2;
  elf.header.e_phoff = sizeof elf.header;
  elf.segment.p_offset = 0;
  Elf64_Phdr second = elf.segment;
  second.p_vaddr = elf.segment.p_paddr;
  second.p_paddr = 0x8400'0000;
  std::string file = elf.bytes().substr(0, sizeof elf.header + sizeof elf.segment);
  file.append(reinterpret_cast<const char*>(&second), sizeof second);
  const auto image = parse(file);
  ASSERT_TRUE(image.ok()) << image.status();
  EXPECT_EQ(image->segments.size(), 2u);
  EXPECT_EQ(image->entry, 0x8040'0010u);
}

TEST(ImageTest, AnElfProgramForAnotherMachineIsRefused) {
  Elf elf;
  elf.header.e_machine = EM_X86_64;
  EXPECT_EQ(refusal(elf.bytes()),
            "an ELF program, but not for RISC-V with 64 bits (machine 62, class 2)");
  elf = Elf();
  elf.header.e_ident[EI_CLASS] = ELFCLASS32;
  EXPECT_EQ(parse(elf.bytes()).status().code(), absl::StatusCode::kInvalidArgument);
}

TEST(ImageTest, DamagedElfProgramsAreRefused) {
  const std::string whole = Elf().bytes();
  for (std::size_t bytes = 4; bytes < whole.size(); ++bytes) {
    EXPECT_EQ(refusal(whole.substr(0, bytes)).substr(0, 22), "a damaged ELF program:") << bytes;
  }
  Elf elf;
  elf.header.e_phoff = ~std::uint64_t{0} - 8;
  EXPECT_FALSE(parse(elf.bytes()).ok());
  elf = Elf();
  elf.segment.p_offset = ~std::uint64_t{0};
  EXPECT_FALSE(parse(elf.bytes()).ok());
  elf = Elf();
  elf.segment.p_memsz = 2;  // less than in the file
  EXPECT_FALSE(parse(elf.bytes()).ok());
  elf = Elf();
  elf.segment.p_type = PT_NOTE;
  EXPECT_EQ(refusal(elf.bytes()), "a damaged ELF program: nothing in it is to be loaded");
}

std::string linux_image(std::uint64_t text_offset, std::uint64_t image_bytes) {
  std::string out(128, 'L');
  std::memcpy(&out[8], &text_offset, 8);
  std::memcpy(&out[16], &image_bytes, 8);
  std::memset(&out[24], 0, 8);
  std::memcpy(&out[48], "RISCV\0\0\0RSC\x05", 12);
  return out;
}

TEST(ImageTest, ALinuxImageGoesToItsOffsetAndTakesWhatItSays) {
  const std::string file = linux_image(0x20'0000, 0x1000);
  const auto image = parse(file);
  ASSERT_TRUE(image.ok()) << image.status();
  EXPECT_EQ(image->entry, kRam + 0x20'0000);
  EXPECT_EQ(image->segments[0].memory_bytes, 0x1000u);
  const std::string old = linux_image(0, 0);
  EXPECT_EQ(parse(old)->segments[0].memory_bytes, old.size());
  std::string big_endian = file;
  big_endian[24] = 1;
  EXPECT_EQ(refusal(big_endian), "a big-endian Linux Image");
}

TEST(ImageTest, OtherBytesAreTakenAsTheyAre) {
  const std::string file = "some code";
  const auto image = parse(file);
  ASSERT_TRUE(image.ok());
  EXPECT_EQ(image->entry, kRaw);
  EXPECT_EQ(image->segments[0].address, kRaw);
  EXPECT_EQ(image->segments[0].content.size(), file.size());
}

TEST(ImageTest, WhatIsKnownToBeNoRiscvImageIsRefused) {
  EXPECT_EQ(refusal(""), "the file is empty");
  EXPECT_EQ(refusal("\x1f\x8b" + std::string(100, 'x')), "compressed; unpack it with gunzip");
  EXPECT_EQ(refusal("MZ" + std::string(100, 'x')),
            "a kernel or EFI program, but not a RISC-V Linux Image");
}

}  // namespace
}  // namespace vmrun
