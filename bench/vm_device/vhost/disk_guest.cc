#include "bench/vm_device/vhost/disk_guest.h"

#include <fcntl.h>
#include <fmt/core.h>
#include <signal.h>
#include <sys/eventfd.h>
#include <sys/mman.h>
#include <unistd.h>

#include <algorithm>
#include <cstring>

#include "bench/harness/process.h"
#include "vm_device/block_image.h"
#include "vm_device/internal/blk_layout.h"
#include "vm_device/internal/virtio_layout.h"
#include "vm_device/virtio_features.h"

namespace vm_bench {
namespace {

using namespace vm_device::internal;
using Clock = std::chrono::steady_clock;
using Request = VhostUserRequest;

// How often the clock is looked at.
constexpr unsigned kRoundsBetweenLooks = 64;
constexpr std::size_t kMemoryBytes = std::size_t{64} << 20;
constexpr std::size_t kPageBytes = 4096;
constexpr std::size_t kLogBytes = kMemoryBytes / kPageBytes / 8;
constexpr std::uint64_t kDiskBytes = std::uint64_t{1} << 30;

// A request: its table of descriptors, its header and its status, in lines of their own.
constexpr std::uint64_t kSlots = 0x10000;
constexpr std::uint64_t kSlotBytes = 128;
constexpr std::uint64_t kHeader = 64;
constexpr std::uint64_t kStatus = 80;
constexpr std::uint64_t kData = 0x100000;
constexpr std::uint32_t kParts = 3;

constexpr std::byte kStain{0xa5};
constexpr unsigned kPatienceSeconds = 30;
constexpr std::uint64_t kVringLogs = 1;

std::uint64_t pair_of(std::uint32_t first, std::uint32_t second) {
  return first | std::uint64_t{second} << 32;
}

// What the table of a request says of its buffers, in the form of the ring.
class Table {
 public:
  Table(std::byte* at, RingForm form) : at_(at), form_(form) {}

  void put(std::uint16_t index, std::uint64_t address, std::uint32_t bytes, std::uint16_t flags) {
    std::byte* const part = at_ + index * kDescriptorBytes;
    const bool packed = form_ == RingForm::kPacked;
    const auto last = static_cast<std::uint16_t>(flags & ~kDescriptorNext);
    put_little_endian<std::uint64_t>(part, address);
    put_little_endian<std::uint32_t>(part + kDescriptorLength, bytes);
    put_little_endian<std::uint16_t>(part + 12, packed ? index : flags);
    put_little_endian<std::uint16_t>(part + 14,
                                     packed ? last : static_cast<std::uint16_t>(index + 1));
  }

 private:
  std::byte* at_;
  RingForm form_;
};

void give_up_waiting(int) {
  constexpr char kText[] = "vhost: the back end does not answer\n";
  static_cast<void>(!write(STDERR_FILENO, kText, sizeof kText - 1));
  _exit(1);
}

}  // namespace

// Sealed, as QEMU's is.
DiskGuest::Memory::Memory(std::size_t wanted)
    : bytes(wanted), fd(memfd_create("vm-bench", MFD_CLOEXEC | MFD_ALLOW_SEALING)) {
  void* at = MAP_FAILED;
  if (fd.is_open() && ftruncate(fd.get(), static_cast<off_t>(bytes)) == 0) {
    fcntl(fd.get(), F_ADD_SEALS, F_SEAL_GROW | F_SEAL_SHRINK | F_SEAL_SEAL);
    at = mmap(nullptr, bytes, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_POPULATE, fd.get(), 0);
  }
  if (at == MAP_FAILED) give_up("no memory to share");
  host = static_cast<std::byte*>(at);
}

DiskGuest::Memory::~Memory() { munmap(host, bytes); }

DiskGuest::DiskGuest(const std::vector<std::string>& back_end, const DiskLoad& load)
    : back_end_(back_end),
      link_(back_end_),
      load_(load),
      memory_(kMemoryBytes),
      log_(kLogBytes),
      kick_(eventfd(0, EFD_CLOEXEC)),
      call_(eventfd(0, EFD_CLOEXEC)),
      is_out_(load.depth) {
  const bool packed = load.form == RingForm::kPacked;
  const bool logs = load.logging == Logging::kOn;
  const std::uint64_t needed = vm_device::kFeatureVersion1 | vm_device::kFeatureRingIndirect |
                               kVhostFeatureProtocol | (packed ? DiskPackedRing::kFeatures : 0) |
                               (logs ? kVhostFeatureLogAll : 0);
  const std::uint64_t offered = link_.ask(Request::kGetFeatures);
  if ((offered & needed) != needed) give_up("vhost: the back end lacks a feature");
  const std::uint64_t events = offered & vm_device::kFeatureRingEventIdx;
  if (packed) {
    ring_.emplace<DiskPackedRing>(memory_.host, events != 0);
  } else {
    ring_.emplace<DiskSplitRing>(memory_.host, events != 0);
  }
  share_memory(needed | events);
  start_ring();
}

DiskGuest::~DiskGuest() = default;

void DiskGuest::share_memory(std::uint64_t features) {
  constexpr std::uint64_t kWanted = kProtocolReplyAck | kProtocolLogShmfd | kProtocolConfig;
  const std::uint64_t protocol = link_.ask(Request::kGetProtocolFeatures) & kWanted;
  link_.tell(Request::kSetProtocolFeatures, {protocol});
  if ((protocol & kProtocolReplyAck) != 0) link_.use_acknowledgements();
  link_.tell(Request::kSetOwner, {});
  link_.tell(Request::kSetFeatures, {features});
  const auto user = reinterpret_cast<std::uint64_t>(memory_.host);
  link_.tell(Request::kSetMemTable, {1, 0, memory_.bytes, user, 0}, memory_.fd.get());
  if (load_.logging == Logging::kOn) {
    link_.ask(Request::kSetLogBase, {log_.bytes, 0}, log_.fd.get());
  }
}

void DiskGuest::start_ring() {
  const auto user = reinterpret_cast<std::uint64_t>(memory_.host);
  const bool packed = load_.form == RingForm::kPacked;
  const std::uint64_t flags = load_.logging == Logging::kOn ? kVringLogs : 0;
  link_.tell(Request::kSetVringNum, {pair_of(0, kRingSize)});
  link_.tell(Request::kSetVringBase,
             {pair_of(0, packed ? DiskPackedRing::kFirstBase : DiskSplitRing::kFirstBase)});
  link_.tell(Request::kSetVringAddr,
             {pair_of(0, static_cast<std::uint32_t>(flags)), user + RingPlace::kDescriptors,
              user + RingPlace::kDevice, user + RingPlace::kDriver, RingPlace::kDevice});
  link_.tell(Request::kSetVringKick, {0}, kick_.get());
  link_.tell(Request::kSetVringCall, {0}, call_.get());
  link_.tell(Request::kSetVringEnable, {pair_of(0, 1)});
}

DiskRun DiskGuest::run(std::chrono::nanoseconds time) {
  stain_buffers();
  signal(SIGALRM, give_up_waiting);
  alarm(kPatienceSeconds);
  const double cpu = back_end_.cpu_ns();
  const Clock::time_point begin = Clock::now();
  const std::uint64_t done = load_.form == RingForm::kPacked
                                 ? read_until(*std::get_if<DiskPackedRing>(&ring_), begin + time)
                                 : read_until(*std::get_if<DiskSplitRing>(&ring_), begin + time);
  const std::chrono::duration<double, std::nano> wall = Clock::now() - begin;
  alarm(0);
  const auto count = static_cast<double>(done);
  const DiskRun out{.wall_ns = wall.count() / count, .cpu_ns = (back_end_.cpu_ns() - cpu) / count};
  check_buffers();
  return out;
}

// The clock is looked at once for each time that the driver sleeps or has nothing more to do.
template <typename Ring>
std::uint64_t DiskGuest::read_until(Ring& ring, Clock::time_point end) {
  constexpr std::uint64_t kOne = 1;
  std::uint64_t done = 0;
  std::uint32_t out = load_.depth;
  bool more = true;
  bool offered = true;
  unsigned rounds = 0;
  for (std::uint32_t slot = 0; slot < load_.depth; ++slot) offer(ring, slot);
  while (out != 0) {
    if (offered && ring.publish()) {
      static_cast<void>(!write(kick_.get(), &kOne, sizeof kOne));
    }
    offered = false;
    // A back end that is as quick as this loop never has it wait.
    if (++rounds % kRoundsBetweenLooks == 0) more = more && Clock::now() < end;
    while (const auto used = ring.take_used()) {
      finish(*used);
      ++done;
      if (more) {
        offer(ring, used->slot);
        offered = true;
      } else {
        --out;
      }
    }
    if (offered || out == 0 || !ring.ask_for_call()) continue;
    wait_for_call();
    more = more && Clock::now() < end;
  }
  return done;
}

std::uint64_t DiskGuest::data(std::uint32_t slot) const {
  return kData + std::uint64_t{slot} * load_.bytes;
}

template <typename Ring>
void DiskGuest::offer(Ring& ring, std::uint32_t slot) {
  const std::uint64_t at = kSlots + slot * kSlotBytes;
  std::byte* const host = memory_.host + at;
  random_ = random_ * 6364136223846793005 + 1442695040888963407;
  const std::uint64_t place = (random_ >> 32) % (kDiskBytes / load_.bytes);
  Table table(host, load_.form);
  table.put(0, at + kHeader, kBlkHeaderBytes, kDescriptorNext);
  table.put(1, data(slot), load_.bytes, kDescriptorNext | kDescriptorWrite);
  table.put(2, at + kStatus, 1, kDescriptorWrite);
  put_little_endian<std::uint32_t>(host + kHeader, kBlkTypeIn);
  put_little_endian<std::uint32_t>(host + kHeader + 4, 0);
  put_little_endian<std::uint64_t>(host + kHeader + 8,
                                   place * load_.bytes / vm_device::kSectorBytes);
  host[kStatus] = kStain;
  is_out_[slot] = true;
  ring.offer(slot, at, kParts * kDescriptorBytes);
}

void DiskGuest::finish(const Used& used) {
  if (used.slot >= load_.depth || !is_out_[used.slot]) {
    give_up(fmt::format("vhost: request {} came back and was not out", used.slot));
  }
  is_out_[used.slot] = false;
  const std::byte status = memory_.host[kSlots + used.slot * kSlotBytes + kStatus];
  if (status == std::byte{0} && used.bytes == load_.bytes + 1) return;
  give_up(
      fmt::format("vhost: status {}, {} bytes used", static_cast<unsigned>(status), used.bytes));
}

void DiskGuest::wait_for_call() {
  std::uint64_t count = 0;
  static_cast<void>(!read(call_.get(), &count, sizeof count));
}

void DiskGuest::stain_buffers() {
  std::fill_n(memory_.host + kData, std::size_t{load_.depth} * load_.bytes, kStain);
}

void DiskGuest::check_buffers() {
  const std::byte* const begin = memory_.host + kData;
  const bool zeros = std::all_of(begin, begin + std::size_t{load_.depth} * load_.bytes,
                                 [](std::byte byte) { return byte == std::byte{0}; });
  if (!zeros) give_up("vhost: what was read are not zeros");
}

void DiskGuest::check_log() {
  link_.ask(Request::kGetVringBase, {0});
  const auto has = [this](std::uint64_t address) {
    const std::uint64_t page = address / kPageBytes;
    return (std::to_integer<unsigned>(log_.host[page / 8]) >> page % 8 & 1) != 0;
  };
  bool good = has(kSlots) && has(RingPlace::kDevice) && !has(kMemoryBytes - 1);
  for (std::uint32_t slot = 0; slot < load_.depth; ++slot) good = good && has(data(slot));
  if (!good) give_up("vhost: the log does not have what was written");
}

}  // namespace vm_bench
