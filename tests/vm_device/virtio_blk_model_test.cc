// Random requests of every type, right and wrong, in several queues and cut into descriptors
// in every way, held byte for byte to a model of the disk.

#include <gtest/gtest.h>
#include <rapidcheck/gtest.h>

#include <array>
#include <vector>

#include "tests/support/bytes.h"
#include "tests/vm_device/blk_machine.h"

namespace vm_device {
namespace {

constexpr std::uint64_t kSectors = 24;
constexpr std::uint16_t kQueues = 3;
constexpr std::uint64_t kFeatures = kFeatureVersion1 | kFeatureRingIndirect | kFeatureFlush |
                                    kFeatureMq | kFeatureDiscard | kFeatureWriteZeroes;

struct Request {
  std::uint32_t type = kIn;
  std::uint64_t sector = 0;
  std::vector<std::byte> payload;  // what follows the header
  std::uint32_t room = 0;          // writable bytes before the status
};

struct Answer {
  std::uint8_t status = kOk;
  std::vector<std::byte> given;  // from the first writable byte on
};

// What section 5.2 says, as plainly as it can be put.
class ModelDisk {
 public:
  explicit ModelDisk(const std::vector<std::byte>& image) : content(image) {}

  Answer serve(const Request& it) {
    switch (it.type) {
      case kIn: return read(it);
      case kOut: return write(it);
      case kFlush: return {};
      case kGetId: return identify(it);
      case kDiscard:
      case kWriteZeroes: return change(it);
      default: return {kUnsupp, {}};
    }
  }

  std::vector<std::byte> content;

 private:
  bool holds(std::uint64_t sector, std::uint64_t bytes) const {
    return bytes % 512 == 0 && sector <= kSectors && bytes / 512 <= kSectors - sector;
  }
  Answer read(const Request& it) const {
    if (!holds(it.sector, it.room)) return {kIoErr, {}};
    const auto from = content.begin() + static_cast<std::ptrdiff_t>(512 * it.sector);
    return {kOk, {from, from + it.room}};
  }
  Answer write(const Request& it) {
    if (!holds(it.sector, it.payload.size())) return {kIoErr, {}};
    std::copy(it.payload.begin(), it.payload.end(),
              content.begin() + static_cast<std::ptrdiff_t>(512 * it.sector));
    return {};
  }
  static Answer identify(const Request& it) {
    std::vector<std::byte> id(20);
    id[0] = std::byte{'v'};
    id[1] = std::byte{'m'};
    id.resize(std::min<std::size_t>(id.size(), it.room));
    return {kOk, id};
  }
  static bool has_unknown_flag(const Request& it) {
    for (std::size_t at = 12; at < it.payload.size(); at += 16) {
      std::uint32_t flags = 0;
      std::memcpy(&flags, &it.payload[at], 4);
      if ((flags & ~(it.type == kWriteZeroes ? 1u : 0u)) != 0) return true;
    }
    return false;
  }
  Answer change(const Request& it) {
    const std::size_t count = it.payload.size() / 16;
    const std::size_t most = it.type == kDiscard ? 64 : 16;
    if (it.payload.size() % 16 != 0 || count == 0 || count > most) return {kIoErr, {}};
    if (has_unknown_flag(it)) return {kUnsupp, {}};
    std::vector<std::byte> changed = content;
    for (std::size_t i = 0; i < count; ++i) {
      std::uint64_t sector = 0;
      std::uint32_t sectors = 0;
      std::memcpy(&sector, &it.payload[16 * i], 8);
      std::memcpy(&sectors, &it.payload[16 * i + 8], 4);
      if (!holds(sector, 512 * std::uint64_t{sectors})) return {kIoErr, {}};
      const auto begin = changed.begin() + static_cast<std::ptrdiff_t>(512 * sector);
      const auto value = it.type == kWriteZeroes ? 0 : MemoryImage::kForgotten;
      std::fill_n(begin, 512 * std::size_t{sectors}, static_cast<std::byte>(value));
    }
    content = changed;
    return {};
  }
};

std::vector<std::byte> random_bytes(std::size_t count) {
  return vm_test::noise(count, *rc::gen::arbitrary<std::uint32_t>());
}

// Mostly whole sectors inside the disk.
std::uint32_t random_length() {
  return *rc::gen::inRange(0, 8) == 0 ? *rc::gen::inRange<std::uint32_t>(0, 2000)
                                      : 512 * *rc::gen::inRange<std::uint32_t>(0, 6);
}

std::vector<std::byte> random_ranges() {
  const auto count = *rc::gen::inRange<std::size_t>(0, 5);
  std::vector<std::byte> ranges(16 * count + (*rc::gen::inRange(0, 12) == 0 ? 7 : 0));
  for (std::size_t i = 0; i < count; ++i) {
    const auto sector = *rc::gen::inRange<std::uint64_t>(0, kSectors + 2);
    const auto sectors = *rc::gen::inRange<std::uint32_t>(0, 4);
    const auto flags = *rc::gen::elementOf(std::vector<std::uint32_t>{0, 0, 0, 0, 1, 2});
    std::memcpy(&ranges[16 * i], &sector, 8);
    std::memcpy(&ranges[16 * i + 8], &sectors, 4);
    std::memcpy(&ranges[16 * i + 12], &flags, 4);
  }
  return ranges;
}

Request random_request() {
  Request it;
  it.type = *rc::gen::elementOf(std::vector<std::uint32_t>{
      kIn, kIn, kIn, kOut, kOut, kOut, kFlush, kGetId, kDiscard, kWriteZeroes, kWriteZeroes, 99});
  it.sector = *rc::gen::inRange<std::uint64_t>(0, kSectors + 1);
  if (it.type == kIn || it.type == kGetId) it.room = random_length();
  if (it.type == kOut) it.payload = random_bytes(random_length());
  if (it.type == kDiscard || it.type == kWriteZeroes) it.payload = random_ranges();
  return it;
}

// Cuts [address, address + bytes) into descriptors, some of them empty.
void cut(std::vector<RawDescriptor>& chain, std::uint64_t address, std::uint32_t bytes,
         std::uint16_t flags) {
  for (auto pieces = *rc::gen::inRange(0, 4); pieces > 0; --pieces) {
    const auto piece = *rc::gen::inRange<std::uint32_t>(0, bytes + 1);
    chain.push_back({address, piece, flags, 0});
    address += piece;
    bytes -= piece;
  }
  chain.push_back({address, bytes, flags, 0});
}

// Three queues, of which each request in flight has a slot of memory.
class ModelMachine {
 public:
  static constexpr std::uint64_t kSlots = kRamBase + 0x8'0000;
  static constexpr std::uint64_t kSlotBytes = 0x4000;
  static constexpr std::uint64_t kWritable = 0x1000;
  static constexpr std::uint64_t kTable = 0x3000;

  ModelMachine()
      : image_(new MemoryImage(kSectors)),
        model(image_->content),
        machine_(std::unique_ptr<BlockImage>(image_), {.num_queues = kQueues}) {
    for (std::uint16_t i = 0; i < kQueues; ++i) {
      rings_.emplace_back(machine_.guest, kRamBase + 0x4'0000 + 0x8000 * i, 64);
    }
    machine_.start_with(rings_[0].config(), kFeatures);
    for (std::uint16_t i = 1; i < kQueues; ++i) machine_.set_up_queue(rings_[i].config(), i);
  }

  // Offers what is in `requests`, notifies once, and holds every answer to the model's.
  void serve(std::uint16_t queue, const std::vector<Request>& requests) {
    const std::uint16_t before = rings_[queue].used_index();
    for (std::size_t i = 0; i < requests.size(); ++i) offer(queue, i, requests[i]);
    machine_.kick(queue);
    RC_ASSERT(rings_[queue].used_index() == static_cast<std::uint16_t>(before + requests.size()));
    for (std::size_t i = 0; i < requests.size(); ++i) {
      const auto at = static_cast<std::uint16_t>((before + i) % rings_[queue].size());
      expect(i, requests[i], model.serve(requests[i]), rings_[queue].used_entry(at));
    }
    RC_ASSERT(image_->content == model.content);
    RC_ASSERT(!machine_.needs_reset());
  }

 private:
  void offer(std::uint16_t queue, std::size_t slot, const Request& it) {
    const std::uint64_t at = kSlots + kSlotBytes * slot;
    Guest& guest = machine_.guest;
    guest.put_bytes(at, std::vector<std::byte>(kSlotBytes, BlkMachine::kUntouched));
    guest.put(at, std::uint64_t{it.type});
    guest.put(at + 8, it.sector);
    guest.put_bytes(at + 16, it.payload);
    std::vector<RawDescriptor> chain;
    cut(chain, at, static_cast<std::uint32_t>(16 + it.payload.size()), 0);
    cut(chain, at + kWritable, it.room + 1, kWrite);
    // The chains of a batch lie behind each other in the table, or in tables of their own.
    const bool indirect = *rc::gen::inRange(0, 2) == 0;
    const auto first = static_cast<std::uint16_t>(slot * 8);
    for (std::uint16_t i = 0; i < chain.size(); ++i) {
      const auto next = static_cast<std::uint16_t>(i + 1);
      if (next < chain.size()) chain[i].flags |= kNext;
      chain[i].next = static_cast<std::uint16_t>(indirect ? next : first + next);
      if (indirect) {
        rings_[queue].describe_at(at + kTable + 16 * i, chain[i]);
      } else {
        rings_[queue].describe(static_cast<std::uint16_t>(first + i), chain[i]);
      }
    }
    if (indirect) {
      const auto bytes = static_cast<std::uint32_t>(16 * chain.size());
      rings_[queue].describe(first, {at + kTable, bytes, kIndirect, 0});
    }
    rings_[queue].offer(first);
  }

  void expect(std::size_t slot, const Request& it, const Answer& answer,
              const UsedEntry& used) const {
    const std::uint64_t at = kSlots + kSlotBytes * slot + kWritable;
    const auto found = machine_.guest.bytes(at, it.room + 2);
    std::vector<std::byte> expected(it.room + 2, BlkMachine::kUntouched);
    std::copy(answer.given.begin(), answer.given.end(), expected.begin());
    expected[it.room] = static_cast<std::byte>(answer.status);
    RC_ASSERT(found == expected);
    const auto given = answer.given.size();
    RC_ASSERT(used.written == (given == it.room ? given + 1 : given));
  }

  MemoryImage* image_;  // owned by machine_

 public:
  ModelDisk model;

 private:
  BlkMachine machine_;
  std::vector<DriverRing> rings_;
};

RC_GTEST_PROP(VirtioBlkModelProperty, EveryRequestDoesWhatTheModelDoes, ()) {
  ModelMachine machine;
  for (int round = 0; round < 6; ++round) {
    const auto queue = *rc::gen::inRange<std::uint16_t>(0, kQueues);
    std::vector<Request> requests;
    for (auto left = *rc::gen::inRange(1, 5); left > 0; --left) {
      requests.push_back(random_request());
    }
    machine.serve(queue, requests);
  }
}

}  // namespace
}  // namespace vm_device
