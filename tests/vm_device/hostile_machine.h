// A guest whose driver writes what it likes into either form of ring, and whose host watches
// what the device writes: guard pages around RAM, and the bytes that no descriptor names.
#ifndef TESTS_VM_DEVICE_HOSTILE_MACHINE_H_
#define TESTS_VM_DEVICE_HOSTILE_MACHINE_H_

#include <sys/mman.h>

#include <algorithm>
#include <initializer_list>
#include <memory>
#include <ostream>
#include <string>
#include <vector>

#include "tests/vm_device/blk_machine.h"

namespace vm_device {

enum class Form : unsigned { kSplit = 1, kPacked = 2 };
enum class Place { kPlain, kBehindIommu };

struct HostileSetting {
  const char* name;
  Form form;
  Place place;
  friend void PrintTo(const HostileSetting& it, std::ostream* out) { *out << it.name; }
};

inline constexpr HostileSetting kHostileSettings[] = {
    {"Split", Form::kSplit, Place::kPlain},
    {"Packed", Form::kPacked, Place::kPlain},
    {"SplitBehindIommu", Form::kSplit, Place::kBehindIommu},
    {"PackedBehindIommu", Form::kPacked, Place::kBehindIommu},
};

inline std::string hostile_setting_name(const testing::TestParamInfo<HostileSetting>& info) {
  return info.param.name;
}

// RAM of the caller's between two runs of bytes that stay as they are.
class GuardedRam {
 public:
  GuardedRam()
      : all_(static_cast<std::byte*>(
                 ::mmap(nullptr, kAll, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0)),
             kAll) {
    std::fill(all_.begin(), all_.end(), kGuard);
    std::fill(ram().begin(), ram().end(), std::byte{0});
  }
  GuardedRam(const GuardedRam&) = delete;
  GuardedRam& operator=(const GuardedRam&) = delete;
  ~GuardedRam() { ::munmap(all_.data(), all_.size()); }

  std::span<std::byte> ram() const { return all_.subspan(kGuardBytes, kRamBytes); }
  bool guards_stand() const {
    const auto stands = [](std::span<const std::byte> part) {
      return std::all_of(part.begin(), part.end(), [](std::byte it) { return it == kGuard; });
    };
    return stands(all_.first(kGuardBytes)) && stands(all_.last(kGuardBytes));
  }

 private:
  static constexpr std::size_t kGuardBytes = 1 << 16;
  static constexpr std::size_t kAll = kRamBytes + 2 * kGuardBytes;
  static constexpr std::byte kGuard{0xa5};

  std::span<std::byte> all_;
};

class HostileMachine {
 public:
  static constexpr std::uint64_t kTable = BlkMachine::kData + 0x8000;  // for indirect tables
  static constexpr std::uint16_t kSize = BlkMachine::kQueueSize;
  // Behind the IOMMU RAM is mapped to itself, but for these pages.
  static constexpr std::uint64_t kReadOnlyPage = kRamBase + 0x6'0000;
  static constexpr std::uint64_t kUnmappedPage = kRamBase + 0x6'1000;
  static constexpr std::uint64_t kWriteOnlyPage = kRamBase + 0x6'2000;
  static constexpr IommuDeviceId kDevice{8};

  HostileMachine(Form form, Place place)
      : form_(form),
        place_(place),
        iommu(Iommu::create({}).value()),
        image(new MemoryImage(64)),
        blk(std::unique_ptr<BlockImage>(image), {}, transport(),
            {.backing = vm_mem::Backing::kCallerOwned, .memory = guarded_.ram()}),
        ring(blk.ring) {
    EXPECT_TRUE(iommu->add_device(kDevice).ok());
    domain = iommu->create_domain().value();
    EXPECT_TRUE(iommu->attach(kDevice, domain).ok());
    map(kRamBase, kReadOnlyPage - kRamBase, DmaAccess::kReadWrite);
    map(kReadOnlyPage, 4096, DmaAccess::kRead);
    map(kWriteOnlyPage, 4096, DmaAccess::kWrite);
    map(kWriteOnlyPage + 4096, kRamEnd - kWriteOnlyPage - 4096, DmaAccess::kReadWrite);
  }

  Form form() const { return form_; }
  Place place() const { return place_; }
  Guest& guest() { return blk.guest; }

  void map(std::uint64_t address, std::uint64_t bytes, DmaAccess access) {
    EXPECT_TRUE(iommu->map(domain, {address, bytes}, vm_mem::GuestAddress{address}, access).ok());
  }
  void unmap(std::uint64_t address, std::uint64_t bytes) {
    EXPECT_TRUE(iommu->unmap(domain, {address, bytes}).ok());
  }

  std::uint64_t features() const {
    const std::uint64_t packed = form_ == Form::kPacked ? kFeatureRingPacked : 0;
    const std::uint64_t iommu_bit = place_ == Place::kPlain ? 0 : kFeatureAccessPlatform;
    return kFeatureVersion1 | kFeatureRingIndirect | kFeatureFlush | packed | iommu_bit;
  }
  void start() { start_with(ring.config()); }
  void start_with(const VirtqueueConfig& config) {
    ring.clear();
    packed_next_ = 0;
    blk.start_with(config, features());
    allowed_.assign(kRamBytes, false);
    if (form_ == Form::kSplit) {
      allow(config.device_area, 4 + 8 * kSize + 2);
    } else {
      allow(ring.table(), 16 * kSize);
      allow(config.device_area, 4);
    }
  }
  void kick() { blk.kick(); }

  // Descriptors 0, 1, ... linked in order (packed: from the next one on, with the ID 0); the
  // chain is offered.
  void offer_chain(std::initializer_list<RawDescriptor> chain) {
    allow(chain);
    if (form_ == Form::kSplit) return ring.offer_chain(chain);
    std::size_t left = chain.size();
    for (RawDescriptor it : chain) {
      if (--left != 0) it.flags |= kNext;
      describe_packed(packed_next_++, it, 0);
    }
  }
  // As it stands, in the packed ring.
  void describe_packed(std::uint16_t at, const RawDescriptor& it, std::uint16_t id) {
    if ((it.flags & kWrite) != 0) allow(it.address, it.bytes);
    constexpr std::uint16_t kAvailable = 1 << 7;  // in the first lap
    write_packed(ring.table() + 16 * std::uint64_t{at}, it, id, it.flags | kAvailable);
  }
  // An indirect table.
  void write_table(std::uint64_t table, std::initializer_list<RawDescriptor> chain) {
    allow(chain);
    if (form_ == Form::kSplit) return ring.write_chain(table, chain);
    for (const RawDescriptor& it : chain) {
      write_packed(table, it, 0, it.flags);
      table += 16;
    }
  }
  void offer_indirect(std::uint64_t table, std::uint32_t bytes) {
    blk.put_header(0, 0);
    offer_chain({{table, bytes, kIndirect, 0}});
  }
  // The chain of a plain read, with parts replaced.
  void offer_read(const RawDescriptor& header, const RawDescriptor& data,
                  const RawDescriptor& status) {
    blk.put_header(0, 0);
    offer_chain({header, data, status});
  }

  // Requests that the driver sees answered, since start().
  unsigned answered() const {
    if (form_ == Form::kSplit) return ring.used_index();
    unsigned count = 0;
    for (std::uint64_t i = 0; i < kSize; ++i) {
      const auto flags = blk.guest.get<std::uint16_t>(ring.table() + 16 * i + 14);
      count += (flags & 0x8080) == 0x8080 ? 1 : 0;
    }
    return count;
  }

  // What the device may write from here on is what the descriptors have named.
  void watch() { before_.assign(guarded_.ram().begin(), guarded_.ram().end()); }
  bool wrote_only_what_was_named() const {
    const auto after = guarded_.ram();
    for (std::size_t page = 0; page < after.size(); page += 4096) {
      if (std::memcmp(&after[page], &before_[page], 4096) == 0) continue;
      for (std::size_t i = page; i < page + 4096; ++i) {
        if (after[i] != before_[i] && !allowed_[i]) return false;
      }
    }
    return guarded_.guards_stand();
  }
  bool guards_stand() const { return guarded_.guards_stand(); }
  void allow(std::uint64_t address, std::uint64_t bytes) {
    if (address - kRamBase >= kRamBytes) return;
    const std::uint64_t within = std::min(bytes, kRamEnd - address);
    std::fill_n(allowed_.begin() + static_cast<std::ptrdiff_t>(address - kRamBase), within, true);
  }

  // Bulk operations of DMA so far: what the host does for the guest.
  std::uint64_t dma_operations() const {
    const vm_mem::Statistics statistics = blk.guest.memory->statistics();
    std::uint64_t operations = 0;
    for (const auto path :
         {vm_mem::CopyPath::kInline, vm_mem::CopyPath::kVector, vm_mem::CopyPath::kStream}) {
      operations += statistics.at(vm_mem::Route::kDma, path).operations;
    }
    return operations;
  }
  std::uint64_t leases() const { return blk.guest.memory->statistics().leases; }

  // Resets the device; whether the next request is served, its bytes right.
  bool serves_after_reset() {
    start();
    blk.put_header(0, 5);
    offer_chain({BlkMachine::header(), BlkMachine::data(512, kWrite), BlkMachine::status()});
    kick();
    return blk.status_byte() == 0 && answered() == 1 && !blk.needs_reset() &&
           std::memcmp(blk.guest.bytes(BlkMachine::kData, 512).data(), &image->content[5 * 512],
                       512) == 0;
  }

 private:
  VirtioMmioOptions transport() const {
    return place_ == Place::kPlain
               ? VirtioMmioOptions{}
               : VirtioMmioOptions{iommu.get(), kDevice, AccessPlatform::kRequired};
  }
  void allow(std::initializer_list<RawDescriptor> chain) {
    for (const RawDescriptor& it : chain) {
      if ((it.flags & kWrite) != 0) allow(it.address, it.bytes);
    }
  }
  void write_packed(std::uint64_t at, const RawDescriptor& it, std::uint16_t id, int flags) {
    guest().put(at, it.address);
    guest().put(at + 8, it.bytes);
    guest().put(at + 12, id);
    guest().put(at + 14, static_cast<std::uint16_t>(flags));
  }
  Form form_;
  Place place_;
  GuardedRam guarded_;

 public:
  std::unique_ptr<Iommu> iommu;
  IommuDomainId domain;
  MemoryImage* image;  // owned by blk
  BlkMachine blk;
  DriverRing& ring;

 private:
  std::uint16_t packed_next_ = 0;
  std::vector<bool> allowed_ = std::vector<bool>(kRamBytes);
  std::vector<std::byte> before_;
};

}  // namespace vm_device

#endif  // TESTS_VM_DEVICE_HOSTILE_MACHINE_H_
