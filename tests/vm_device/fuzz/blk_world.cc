#include "tests/vm_device/fuzz/blk_world.h"

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <initializer_list>
#include <stdexcept>
#include <string>
#include <utility>

#include "vm_device/virtio_blk.h"
#include "vm_device/virtio_features.h"

namespace vm_device {
namespace {

constexpr std::uint64_t kGuardBytes = 8192;
constexpr std::uint64_t kPage = 4096;
constexpr std::byte kGuard{0xa5};

// Where in RAM a driver of good will has things: three pages of rings, one of headers and
// ranges, one of indirect tables; the rest is data.
constexpr std::uint64_t kTable = BlkWorld::kRam;
constexpr std::uint64_t kDriverArea = kTable + kPage;
constexpr std::uint64_t kDeviceArea = kTable + 2 * kPage;
constexpr std::uint64_t kHeaders = kTable + 3 * kPage;
constexpr std::uint64_t kIndirect = kTable + 4 * kPage;
constexpr std::uint64_t kData = kTable + 5 * kPage;

constexpr std::uint64_t kBlkFeatures = 1 << 9 | 1 << 11 | 1 << 12 | 1 << 13 | 1 << 14;

// Of the image in one step: a few turns of 1024 requests or 4096 ranges.
constexpr std::uint64_t kMostCalls = 30'000;

std::byte pattern(std::uint64_t offset) {
  return static_cast<std::byte>(offset * 13 + offset / kSectorBytes + 1);
}

vm_mem::GuestRange range(std::uint64_t begin, std::uint64_t bytes) {
  return vm_mem::GuestRange::make(vm_mem::GuestAddress{begin}, bytes).value();
}

[[noreturn]] void mistake(const std::string& what) { throw std::runtime_error(what); }

}  // namespace

int WatchedImage::enter(std::uint64_t offset, std::uint64_t bytes) {
  ++calls_;
  const std::uint64_t size = sectors_ * kSectorBytes;
  if (offset <= size && bytes <= size - offset) return std::exchange(failure_, 0);
  went_outside_ = true;
  return EIO;
}

int WatchedImage::read_at(std::uint64_t offset, std::span<std::byte> to) {
  const int error = enter(offset, to.size());
  if (error == 0) std::copy_n(&content_[offset], to.size(), to.begin());
  return error;
}

int WatchedImage::write_at(std::uint64_t offset, std::span<const std::byte> from) {
  const int error = enter(offset, from.size());
  if (error == 0) std::copy(from.begin(), from.end(), &content_[offset]);
  return error;
}

int WatchedImage::flush() { return enter(0, 0); }

int WatchedImage::discard(std::uint64_t offset, std::uint64_t bytes) {
  const int error = enter(offset, bytes);
  if (error == 0)
    std::fill_n(content_.begin() + static_cast<std::ptrdiff_t>(offset), bytes, kGuard);
  return error;
}

void WatchedImage::resize(std::uint64_t sectors) {
  sectors_ = sectors;
  announce_resize();
}

void WatchedImage::restore() {
  failure_ = 0;
  for (std::uint64_t i = 0; i < content_.size(); ++i) content_[i] = pattern(i);
  resize(kMostSectors);
}

void WatchedImage::check() {
  if (went_outside_) mistake("an access outside the image");
  if (std::exchange(calls_, 0) > kMostCalls) mistake("one step kept the image busy");
}

BlkWorld::BlkWorld()
    : host_(kRamBytes + 2 * kGuardBytes + kPage, kGuard),
      memory_(std::move(vm_mem::MemoryManager::create({}).value())),
      bus_(*memory_),
      image_(new WatchedImage),
      slot_(*memory_,
            VirtioBlk::create(std::unique_ptr<BlockImage>(image_), {.num_queues = 2}).value(),
            line_) {
  // The library wants its memory at a page of the host's.
  const auto misaligned = reinterpret_cast<std::uintptr_t>(host_.data()) % kPage;
  const auto ram = std::span(host_).subspan(kGuardBytes + kPage - misaligned, kRamBytes);
  std::fill(ram.begin(), ram.end(), std::byte{0});
  const bool added = memory_
                         ->add_ram(range(kRam, kRamBytes),
                                   {.backing = vm_mem::Backing::kCallerOwned, .memory = ram})
                         .ok() &&
                     bus_.attach(range(kSlot, kVirtioMmioBytes), &slot_, "blk").ok();
  if (!added) mistake("the world cannot be made");
  image_->restore();
}

template <typename T>
void BlkWorld::put(std::uint64_t address, T value) {
  (void)memory_->store(vm_mem::GuestAddress{address}, value);
}

template <typename T>
T BlkWorld::get(std::uint64_t address) {
  T value = 0;
  (void)memory_->load(vm_mem::GuestAddress{address}, value);
  return value;
}

// Rings where they belong, in both queues.
void BlkWorld::start(std::uint64_t features, std::uint16_t size) {
  for (const std::uint32_t status : {0u, 1u, 3u}) set_reg(0x70, status);
  set_reg(0x24, 1);
  set_reg(0x20, static_cast<std::uint32_t>(features >> 32));
  set_reg(0x24, 0);
  set_reg(0x20, static_cast<std::uint32_t>(features));
  set_reg(0x70, 11);
  for (std::uint64_t at = kTable; at < kHeaders; at += 8) put(at, std::uint64_t{0});
  for (const std::uint32_t queue : {1u, 0u}) {
    set_reg(0x30, queue);
    set_reg(0x38, size);
    set_reg(0x80, static_cast<std::uint32_t>(kTable + 2048 * queue));
    set_reg(0x90, static_cast<std::uint32_t>(kDriverArea + 2048 * queue));
    set_reg(0xa0, static_cast<std::uint32_t>(kDeviceArea + 2048 * queue));
    set_reg(0x44, 1);
  }
  set_reg(0x70, 15);
  size_ = size;
  packed_ = (features & kFeatureRingPacked) != 0;
  available_ = 0;
}

// Mostly where a driver has things, sometimes at an edge.
std::uint64_t BlkWorld::address_of(vm_mem::ByteSource& bytes) {
  const std::uint64_t near = bytes.take(2);
  switch (bytes.below(12)) {
    case 0: return kRam + kRamBytes - near % 600;
    case 1: return UINT64_MAX - near % 600;
    case 2: return kSlot + near % 600;
    case 3: return near;
    case 4: return kTable + near % (3 * kPage);
    case 5:
    case 6: return kIndirect + (near & 0xff0);
    case 7:
    case 8: return kHeaders + (near & 0xff0);
    default: return kData + near % (9 * kPage);
  }
}

void BlkWorld::describe(vm_mem::ByteSource& bytes) {
  constexpr std::uint32_t kLengths[] = {0, 1, 16, 512, 513, 1024, 4096, UINT32_MAX};
  const std::uint64_t where = bytes.below(2) == 0 ? kTable : kIndirect;
  const std::uint64_t at = where + 16 * bytes.below(32);
  put(at, address_of(bytes));
  put(at + 8,
      bytes.below(4) == 0 ? static_cast<std::uint32_t>(bytes.take(2)) : kLengths[bytes.below(8)]);
  put(at + 12, static_cast<std::uint16_t>(bytes.below(20)));
  put(at + 14, static_cast<std::uint16_t>(packed_ ? bytes.take(2) : bytes.below(20)));
}

void BlkWorld::offer(vm_mem::ByteSource& bytes) {
  if (packed_) {
    const std::uint64_t at = kTable + 16 * bytes.below(size_) + 14;
    put(at, static_cast<std::uint16_t>((get<std::uint16_t>(at) & 7) | 1 << 7));
    return;
  }
  put(kDriverArea + 4 + 2 * (available_ % size_), static_cast<std::uint16_t>(bytes.below(20)));
  put(kDriverArea + 2, ++available_);
}

// Nearly good: header, data, status in descriptors of the ring.
void BlkWorld::offer_request(vm_mem::ByteSource& bytes) {
  constexpr std::uint32_t kTypes[] = {0, 0, 1, 1, 4, 8, 11, 13};
  const std::uint32_t type = kTypes[bytes.below(8)];
  const std::uint64_t header = kHeaders + 512 * bytes.below(4);
  put(header, std::uint64_t{type});
  put(header + 8, bytes.below(WatchedImage::kMostSectors + 2));
  const auto first = static_cast<std::uint16_t>(packed_ ? available_ % size_ : bytes.below(6));
  if (first + 3 > size_) return;
  const bool changes = type == 11 || type == 13;
  const bool readable = type == 1 || changes;
  const auto length =
      static_cast<std::uint32_t>(changes ? 16 * bytes.below(5) : 512 * bytes.below(6));
  const std::uint64_t data = changes ? header + 16 : kData + 512 * bytes.below(60);
  for (std::uint64_t i = 0; changes && i < length; i += 16) {
    put(data + i, bytes.below(WatchedImage::kMostSectors + 2));
    put(data + i + 8, static_cast<std::uint32_t>(bytes.below(8)));
    put(data + i + 12, static_cast<std::uint32_t>(bytes.below(4) == 0 ? bytes.take(1) : 0));
  }
  const std::uint64_t addresses[] = {header, data, kData + 0x8000 + bytes.below(64)};
  const std::uint32_t lengths[] = {16, length, 1};
  const unsigned flags[] = {1, readable ? 1u : 3u, 2};
  for (std::uint16_t i = 0; i < 3; ++i) {
    const std::uint64_t at = kTable + 16 * std::uint64_t{static_cast<std::uint16_t>(first + i)};
    put(at, addresses[i]);
    put(at + 8, lengths[i]);
    const auto mine = static_cast<std::uint16_t>(packed_ ? flags[i] | 1u << 7 : flags[i]);
    put(at + (packed_ ? 14 : 12), mine);
    put(at + (packed_ ? 12 : 14), static_cast<std::uint16_t>(packed_ ? first : first + i + 1));
  }
  if (packed_) {
    available_ = static_cast<std::uint16_t>(available_ + 3);
    return;
  }
  put(kDriverArea + 4 + 2 * (available_ % size_), first);
  put(kDriverArea + 2, ++available_);
}

void BlkWorld::poke(vm_mem::ByteSource& bytes) {
  const std::uint64_t at = address_of(bytes);
  for (auto words = 1 + bytes.below(4); words > 0; --words) {
    if (at < kRam) return;
    put(at + 8 * words, bytes.take(8));
  }
}

void BlkWorld::touch_register(vm_mem::ByteSource& bytes) {
  constexpr std::uint16_t kRegisters[] = {0x10, 0x14, 0x20, 0x24, 0x30,  0x34,  0x38,  0x44,
                                          0x50, 0x60, 0x64, 0x70, 0x80,  0x84,  0x90,  0x94,
                                          0xa0, 0xa4, 0xc0, 0xfc, 0x100, 0x104, 0x120, 0x122};
  const std::uint64_t at = kSlot + kRegisters[bytes.below(std::size(kRegisters))];
  if (bytes.below(3) == 0) {
    (void)get<std::uint32_t>(at);
  } else {
    put(at, static_cast<std::uint32_t>(bytes.below(2) == 0 ? bytes.take(1) : bytes.take(4)));
  }
}

void BlkWorld::step(vm_mem::ByteSource& bytes) {
  switch (bytes.below(14)) {
    case 0: {
      const std::uint64_t high = kFeatureVersion1 | (bytes.below(2) == 0 ? 0 : kFeatureRingPacked) |
                                 (bytes.below(4) == 0 ? kFeatureInOrder : 0);
      const std::uint64_t low = bytes.below(4) == 0 ? bytes.take(4) : kBlkFeatures;
      const std::uint64_t event = bytes.below(2) == 0 ? kFeatureRingEventIdx : 0;
      start(high | low | event | kFeatureRingIndirect,
            static_cast<std::uint16_t>(1 << bytes.below(6)));
      break;
    }
    case 1: touch_register(bytes); break;
    case 2: poke(bytes); break;
    case 3: image_->resize(bytes.below(WatchedImage::kMostSectors + 1)); break;
    case 4: image_->fail_next(bytes.below(2) == 0 ? EIO : ENOSPC); break;
    case 5:
    case 6: describe(bytes); break;
    case 7: offer(bytes); break;
    case 8:
    case 9:
    case 10: offer_request(bytes); break;
    default: set_reg(0x50, static_cast<std::uint32_t>(bytes.below(3))); break;
  }
  check();
}

void BlkWorld::check() {
  image_->check();
  if (memory_->statistics().leases != 0) mistake("a lease is left");
  const auto ram = reinterpret_cast<std::uintptr_t>(host_.data());
  const std::uint64_t before = kGuardBytes + kPage - ram % kPage;
  const auto is_guard = [](std::byte it) { return it == kGuard; };
  const auto after = host_.begin() + static_cast<std::ptrdiff_t>(before + kRamBytes);
  if (!std::all_of(host_.begin(), host_.begin() + static_cast<std::ptrdiff_t>(before), is_guard) ||
      !std::all_of(after, host_.end(), is_guard)) {
    mistake("the device has written outside RAM");
  }
  const bool stopped = slot_.queue_error(0) != VirtqueueError::kNone ||
                       slot_.queue_error(1) != VirtqueueError::kNone;
  if (stopped && (get<std::uint32_t>(kSlot + 0x70) & 64) == 0) {
    mistake("a stopped queue, and the driver is not told");
  }
}

void BlkWorld::expect_good_requests() {
  image_->restore();
  start(kFeatureVersion1 | kBlkFeatures, 16);
  constexpr std::uint16_t kRequests = 4;
  for (std::uint16_t i = 0; i < kRequests; ++i) {
    const auto head = static_cast<std::uint16_t>(3 * i);
    const std::uint64_t header = kHeaders + 16 * i;
    put(header, std::uint64_t{0});
    put(header + 8, std::uint64_t{i} + 3);
    const std::uint64_t addresses[] = {header, kData + 512 * i, kData + 0x8000 + i};
    const std::uint32_t lengths[] = {16, 512, 1};
    const std::uint16_t flags[] = {1, 3, 2};
    for (std::uint16_t k = 0; k < 3; ++k) {
      const std::uint64_t at = kTable + 16 * std::uint64_t{static_cast<std::uint16_t>(head + k)};
      put(at, addresses[k]);
      put(at + 8, lengths[k]);
      put(at + 12, flags[k]);
      put(at + 14, static_cast<std::uint16_t>(head + k + 1));
    }
    put(kData + 0x8000 + i, std::uint8_t{0xee});
    put(kDriverArea + 4 + 2 * i, head);
  }
  put(kDriverArea + 2, kRequests);
  set_reg(0x50, 0);
  check();
  if (get<std::uint16_t>(kDeviceArea + 2) != kRequests) mistake("not every request is answered");
  for (std::uint16_t i = 0; i < kRequests; ++i) {
    if (get<std::uint32_t>(kDeviceArea + 4 + 8 * i) != 3u * i) mistake("a wrong answer");
    if (get<std::uint8_t>(kData + 0x8000 + i) != 0) mistake("a good request fails");
    for (std::uint64_t k = 0; k < 512; ++k) {
      if (get<std::uint8_t>(kData + 512 * i + k) !=
          std::to_integer<std::uint8_t>(image_->at(512 * (i + 3u) + k))) {
        mistake("a good request reads the wrong bytes");
      }
    }
  }
}

}  // namespace vm_device
