// A block device on a file: what the guest writes is there, and what the host does to the
// file under it, or refuses, reaches the guest as an error and no further.

#include <gtest/gtest.h>
#include <sched.h>
#include <signal.h>
#include <sys/mount.h>
#include <sys/resource.h>
#include <unistd.h>

#include <filesystem>
#include <fstream>
#include <optional>

#include "tests/support/bytes.h"
#include "tests/support/temporary_file.h"
#include "tests/vm_device/blk_machine.h"
#include "tests/vm_device/toy_device.h"
#include "vm_device/raw_image.h"

namespace vm_device {
namespace {

using vm_test::noise;

constexpr std::uint32_t kDiskBytes = 1 << 20;

// A machine whose disk is the file at `path`, all 'x'.
class FileMachine {
 public:
  explicit FileMachine(std::string path, std::uint32_t bytes = kDiskBytes)
      : path_(std::move(path)) {
    std::ofstream(path_) << std::string(bytes, 'x');
    auto opened = RawImage::open(path_, ImageAccess::kReadWrite);
    EXPECT_TRUE(opened.ok()) << opened.status();
    image = opened->get();
    machine.emplace(*std::move(opened));
    machine->start();
  }
  int write(std::uint64_t sector, std::span<const std::byte> data) {
    machine->guest.put_bytes(BlkMachine::kData, data);
    machine->request(kOut, sector, static_cast<std::uint32_t>(data.size()));
    EXPECT_FALSE(machine->needs_reset());
    return machine->status_byte();
  }
  int read(std::uint64_t sector, std::uint32_t bytes) {
    machine->request(kIn, sector, bytes);
    EXPECT_FALSE(machine->needs_reset());
    return machine->status_byte();
  }
  std::vector<std::byte> found(std::size_t bytes) const {
    return machine->guest.bytes(BlkMachine::kData, bytes);
  }
  std::vector<std::byte> file() const { return vm_test::file_bytes(path_); }

  RawImage* image = nullptr;  // owned by machine
  std::optional<BlkMachine> machine;

 private:
  std::string path_;
};

class VirtioBlkImageTest : public testing::Test {
 protected:
  std::string disk() const { return folder.file("disk"); }

  vm_test::TemporaryFolder folder;
};

TEST_F(VirtioBlkImageTest, WhatTheGuestWritesIsInTheFile) {
  FileMachine it(disk());
  std::vector<std::byte> expected = it.file();
  // Below and above the size from which data goes straight to the file.
  for (const std::uint32_t bytes : {512u, 8u * 512u, 64u * 1024u, 300u * 1024u}) {
    const auto data = noise(bytes, bytes);
    EXPECT_EQ(it.write(5, data), kOk);
    std::copy(data.begin(), data.end(), expected.begin() + 5 * 512);
    EXPECT_EQ(it.file(), expected);
    it.machine->guest.put_bytes(BlkMachine::kData, std::vector<std::byte>(bytes));
    EXPECT_EQ(it.read(5, bytes), kOk);
    EXPECT_EQ(it.found(bytes), data);
  }
  it.machine->request(kFlush, 0, 0);
  EXPECT_EQ(it.machine->status_byte(), kOk);
}

TEST_F(VirtioBlkImageTest, DataThatArrivesStraightFromTheFileIsMarkedDirty) {
  FileMachine it(disk());
  const Guest& guest = it.machine->guest;
  ASSERT_TRUE(guest.memory->set_dirty_tracking(guest.ram, vm_mem::DirtyTracking::kOn).ok());
  const auto before = guest.memory->dirty_page_count(guest.ram).value();
  EXPECT_EQ(it.read(0, 256 * 1024), kOk);
  EXPECT_GE(guest.memory->dirty_page_count(guest.ram).value(), before + 64);
}

TEST_F(VirtioBlkImageTest, LongRunsOutsideRamMoveWhatLiesInside) {
  FileMachine it(disk());
  const auto data = noise(kDiskBytes, 9);
  EXPECT_EQ(it.image->write_at(0, data), 0);
  BlkMachine& machine = *it.machine;
  machine.put_header(kIn, 0);
  machine.ring.offer_chain(
      {BlkMachine::header(), {kRamEnd - 100'000, 256 * 1024, kWrite, 0}, BlkMachine::status()});
  machine.kick();
  EXPECT_EQ(machine.status_byte(), kIoErr);
  EXPECT_EQ(machine.ring.used_entry(0).written, 100'000u);
  const auto got = machine.guest.bytes(kRamEnd - 100'000, 100'000);
  EXPECT_TRUE(std::equal(got.begin(), got.end(), data.begin()));
}

// A device whose registers are a buffer: each read of a byte is counted, and from `end` on
// accesses are refused.
class Buffer final : public vm_mem::MmioHandler {
 public:
  vm_mem::AccessFault mmio_read(std::uint64_t offset, unsigned size,
                                std::uint64_t& value) override {
    value = 0;
    for (unsigned i = 0; i < size; ++i) ++reads[offset + i];
    if (offset + size > end) return vm_mem::AccessFault::kDevice;
    std::memcpy(&value, &bytes[offset], size);
    return vm_mem::AccessFault::kNone;
  }
  vm_mem::AccessFault mmio_write(std::uint64_t offset, unsigned size,
                                 std::uint64_t value) override {
    if (offset + size > end) return vm_mem::AccessFault::kDevice;
    std::memcpy(&bytes[offset], &value, size);
    return vm_mem::AccessFault::kNone;
  }
  int most_reads() const { return *std::max_element(reads.begin(), reads.end()); }

  static constexpr std::uint32_t kBytes = 64 * 1024;
  std::vector<std::byte> bytes = noise(kBytes, 7);
  std::vector<int> reads = std::vector<int>(kBytes);
  std::uint64_t end = kBytes;
};

class DeviceBufferTest : public VirtioBlkImageTest {
 protected:
  static constexpr std::uint64_t kBuffer = 0x2000'0000;

  DeviceBufferTest() : it(disk()) {
    EXPECT_TRUE(
        it.machine->guest.memory->add_mmio(guest_range(kBuffer, Buffer::kBytes), &buffer).ok());
  }
  int request(std::uint32_t type) {
    const std::uint16_t direction = type == kOut ? 0 : kWrite;
    it.machine->put_header(type, 0);
    it.machine->ring.offer_chain(
        {BlkMachine::header(), {kBuffer, Buffer::kBytes, direction, 0}, BlkMachine::status()});
    it.machine->kick();
    return it.machine->status_byte();
  }

  Buffer buffer;
  FileMachine it;
};

TEST_F(DeviceBufferTest, LongRunsOfADevicesMemoryAreReadOnce) {
  EXPECT_EQ(request(kOut), kOk);
  const auto file = it.file();
  EXPECT_TRUE(std::equal(buffer.bytes.begin(), buffer.bytes.end(), file.begin()));
  EXPECT_EQ(buffer.most_reads(), 1);
}

TEST_F(DeviceBufferTest, ADeviceThatRefusesIsNotReadASecondTime) {
  buffer.end = 40'000;
  EXPECT_EQ(request(kOut), kIoErr);
  EXPECT_EQ(buffer.most_reads(), 1);
}

TEST_F(DeviceBufferTest, WhatADeviceTakesOfALongRunIsCounted) {
  buffer.end = 40'000;
  EXPECT_EQ(request(kIn), kIoErr);
  EXPECT_EQ(it.machine->ring.used_entry(0).written, 40'000u);
  EXPECT_EQ(std::count(buffer.bytes.begin(), buffer.bytes.begin() + 40'000, std::byte{'x'}),
            40'000);
  buffer.end = Buffer::kBytes;
  EXPECT_EQ(request(kIn), kOk);
  EXPECT_EQ(std::count(buffer.bytes.begin(), buffer.bytes.end(), std::byte{'x'}), Buffer::kBytes);
}

TEST_F(VirtioBlkImageTest, AFileCutShortWhileOpenGivesIoErrors) {
  FileMachine it(disk());
  std::filesystem::resize_file(disk(), 100 * 512);
  EXPECT_EQ(it.read(99, 1024), kIoErr);
  EXPECT_EQ(it.read(0, 256 * 1024), kIoErr);
  EXPECT_EQ(it.write(99, noise(1024, 1)), kIoErr);
  EXPECT_EQ(it.write(0, noise(256 * 1024, 1)), kIoErr);
  EXPECT_EQ(std::filesystem::file_size(disk()), 100u * 512u);
  EXPECT_EQ(it.read(99, 512), kOk);
  EXPECT_EQ(it.write(99, noise(512, 2)), kOk);
}

TEST_F(VirtioBlkImageTest, AFileThatTheHostResizesIsADiskOfThatSize) {
  FileMachine it(disk());
  EXPECT_TRUE(it.image->resize(2 * kDiskBytes).ok());
  EXPECT_TRUE(it.machine->config_interrupt());
  EXPECT_EQ(it.machine->guest.get<std::uint64_t>(kSlot + 0x100), 2 * kDiskBytes / 512);
  EXPECT_EQ(it.write(2 * kDiskBytes / 512 - 1, noise(512, 3)), kOk);
  EXPECT_TRUE(it.image->resize(512).ok());
  EXPECT_EQ(it.read(1, 512), kIoErr);
  EXPECT_EQ(it.read(0, 512), kOk);
}

// What is left of a write that met the end of the space: a part of it from its beginning,
// and outside it nothing has changed.
void expect_prefix_of_write(const std::vector<std::byte>& before, std::size_t at,
                            const std::vector<std::byte>& data,
                            const std::vector<std::byte>& after) {
  ASSERT_EQ(after.size(), before.size());
  std::size_t stored = 0;
  while (stored < data.size() && after[at + stored] == data[stored]) ++stored;
  std::vector<std::byte> expected = before;
  std::copy_n(data.begin(), stored, expected.begin() + static_cast<std::ptrdiff_t>(at));
  EXPECT_TRUE(after == expected) << stored << " bytes stored";
}

// No file gets longer than this meanwhile, and the signal that says so is not sent.
class FileSizeLimit {
 public:
  explicit FileSizeLimit(rlim_t bytes) : handler_(::signal(SIGXFSZ, SIG_IGN)) {
    EXPECT_EQ(::getrlimit(RLIMIT_FSIZE, &before_), 0);
    const rlimit limit{bytes, before_.rlim_max};
    EXPECT_EQ(::setrlimit(RLIMIT_FSIZE, &limit), 0);
  }
  FileSizeLimit(const FileSizeLimit&) = delete;
  FileSizeLimit& operator=(const FileSizeLimit&) = delete;
  ~FileSizeLimit() {
    ::setrlimit(RLIMIT_FSIZE, &before_);
    ::signal(SIGXFSZ, handler_);
  }

 private:
  rlimit before_{};
  void (*handler_)(int);
};

TEST_F(VirtioBlkImageTest, AWriteThatMeetsALimitOfTheHostLeavesAConsistentDisk) {
  FileMachine it(disk());
  const auto before = it.file();
  for (const std::uint32_t bytes : {8192u, 256u * 1024u}) {  // bounced, and straight
    const auto data = noise(bytes, bytes);
    const std::uint32_t at = 512 * 1024 - 4096;
    {
      const FileSizeLimit limit(512 * 1024);
      EXPECT_EQ(it.write(at / 512, data), kIoErr);
      EXPECT_EQ(it.write(600 * 1024 / 512, data), kIoErr);
      EXPECT_EQ(it.read(600 * 1024 / 512, 512), kOk);
    }
    expect_prefix_of_write(before, at, data, it.file());
    EXPECT_EQ(it.write(at / 512, data), kOk);
    EXPECT_EQ(it.image->write_at(0, before), 0);
  }
}

// A file system of its own, in a mount namespace of this process's own.
class SmallDisk {
 public:
  explicit SmallDisk(std::string at, const char* options) : at_(std::move(at)) {
    mounted_ = ::unshare(CLONE_NEWNS) == 0 &&
               ::mount("none", "/", nullptr, MS_REC | MS_PRIVATE, nullptr) == 0 &&
               ::mount("tmpfs", at_.c_str(), "tmpfs", 0, options) == 0;
  }
  SmallDisk(const SmallDisk&) = delete;
  SmallDisk& operator=(const SmallDisk&) = delete;
  ~SmallDisk() {
    if (mounted_) ::umount2(at_.c_str(), MNT_DETACH);
  }
  bool is_mounted() const { return mounted_; }

 private:
  std::string at_;
  bool mounted_ = false;
};

TEST_F(VirtioBlkImageTest, AWriteThatFillsTheDiskLeavesAConsistentDisk) {
  const SmallDisk small(folder.path(), "size=256k");
  if (!small.is_mounted()) GTEST_SKIP() << "this process may not mount a file system";
  FileMachine it(disk(), 64 * 1024);
  EXPECT_TRUE(it.image->resize(kDiskBytes).ok());  // a hole
  const auto before = it.file();
  const auto data = noise(512 * 1024, 4);
  EXPECT_EQ(it.write(64 * 1024 / 512, data), kIoErr);
  expect_prefix_of_write(before, 64 * 1024, data, it.file());
  EXPECT_EQ(it.read(0, 4096), kOk);
  EXPECT_EQ(it.write(0, noise(4096, 5)), kOk);  // where there is space already
  // Discarded space is space again.
  it.machine->start(kFeatureVersion1 | kFeatureFlush | 1 << 13);
  it.machine->guest.put(BlkMachine::kData, std::uint64_t{128});
  it.machine->guest.put(BlkMachine::kData + 8, std::uint64_t{1024});
  it.machine->put_header(11, 0);
  it.machine->ring.offer_chain(
      {BlkMachine::header(), BlkMachine::data(16, 0), BlkMachine::status()});
  it.machine->kick();
  EXPECT_EQ(it.machine->status_byte(), kOk);
  EXPECT_EQ(it.write(1000, noise(64 * 1024, 6)), kOk);
}

// A device that keeps its guest's memory mapped, as one with requests in flight does.
class MappingDevice final : public ToyDevice {
 public:
  explicit MappingDevice(DmaMapping& kept) : kept_(&kept) {}
  void notify(std::uint16_t) override {
    *kept_ = transport_->dma().map(BlkMachine::kData, 4096, DmaDirection::kBoth).value();
  }

 private:
  DmaMapping* kept_;
};

TEST(DestroyedDeviceTest, MappingsOfADeviceThatIsGoneHoldNothing) {
  Guest guest;
  RecordingLine line;
  DriverRing ring(guest, kRamBase, 16);
  DmaMapping kept;
  {
    VirtioMmio slot(*guest.memory, std::make_unique<MappingDevice>(kept), line);
    const auto set = [&](std::uint64_t reg, std::uint32_t value) {
      slot.mmio_write(reg, 4, value);
    };
    set(0x70, 3);
    set(0x24, 1);
    set(0x20, 1);
    set(0x70, 11);
    set(0x38, 16);
    set(0x80, kRamBase);
    set(0x90, kRamBase + 0x4000);
    set(0xa0, kRamBase + 0x6000);
    set(0x44, 1);
    set(0x70, 15);
    set(0x50, 0);
    ASSERT_EQ(kept.bytes().size(), 4096u);
    kept.bytes()[0] = std::byte{0x77};
    EXPECT_FALSE(guest.memory->remove_region(guest.ram, vm_mem::RemovePolicy::kRefuse).ok());
  }
  EXPECT_TRUE(kept.bytes().empty());
  EXPECT_FALSE(kept.is_zero_copy());
  EXPECT_EQ(guest.get<std::uint8_t>(BlkMachine::kData), 0x77);
  EXPECT_TRUE(guest.memory->remove_region(guest.ram, vm_mem::RemovePolicy::kRefuse).ok());
}

}  // namespace
}  // namespace vm_device
