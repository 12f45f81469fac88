#include "tests/vm_device/fuzz/ring_session.h"

#include <array>
#include <cstdlib>
#include <vector>

#include "tests/vm_mem/fuzz/byte_source.h"
#include "vm_device/virtio_features.h"
#include "vm_device/virtqueue.h"
#include "vm_mem/memory_manager.h"
#include "vm_mem/memory_reader.h"

namespace vm_device {
namespace {

using vm_mem::ByteSource;
using vm_mem::GuestAddress;

constexpr std::uint64_t kBase = 0x8000'0000;
constexpr std::uint64_t kBytes = 0x2000;
constexpr std::uint64_t kDriverArea = kBase + 0x400;
constexpr std::uint64_t kDeviceArea = kBase + 0x600;
constexpr std::uint64_t kBuffer = kBase + 0x1000;
constexpr std::size_t kMaxHeld = 64;

void require(bool promise) {
  if (!promise) std::abort();
}

// One for all inputs: to make memory costs more than to use it.
struct Machine {
  Machine() : memory(std::move(vm_mem::MemoryManager::create({}).value())), reader(*memory) {
    const auto range = vm_mem::GuestRange::make(GuestAddress{kBase}, kBytes);
    require(memory->add_ram(*range).ok());
  }
  void clear() {
    static const std::array<std::byte, kBytes> zeros{};
    require(memory->write(GuestAddress{kBase}, zeros).ok());
  }
  template <typename Word>
  void put(std::uint64_t address, Word value) {
    require(memory->store(GuestAddress{address}, value).ok());
  }
  template <typename Word>
  Word get(std::uint64_t address) {
    Word value{};
    require(memory->load(GuestAddress{address}, value).ok());
    return value;
  }

  std::unique_ptr<vm_mem::MemoryManager> memory;
  vm_mem::MemoryReader reader;
};

class RingSession {
 public:
  RingSession(Machine& machine, ByteSource source, RingForm form)
      : machine_(machine),
        source_(source),
        form_(form),
        dma_(source_.below(2) == 0 ? DmaSpace(*machine.memory) : DmaSpace(machine.reader)),
        queue_(dma_, 32) {}

  void run() {
    machine_.clear();
    begin();
    while (!source_.empty()) step();
    expect_a_good_request_works();
  }

 private:
  void begin() {
    VirtqueueConfig config = good_config();
    config.features |= (source_.below(2) != 0 ? kFeatureRingIndirect : 0) |
                       (source_.below(2) != 0 ? kFeatureRingEventIdx : 0) |
                       (source_.below(2) != 0 ? kFeatureInOrder : 0);
    if (source_.below(8) == 0) {
      config.start = VirtqueueState{static_cast<std::uint16_t>(source_.take(2)),
                                    static_cast<std::uint16_t>(source_.take(2))};
    }
    // Where RAM ends in the middle of the descriptors.
    if (source_.below(8) == 0) config.descriptor_table = kBase + kBytes - 16 * source_.below(16);
    size_ = config.size;
    held_.clear();
    const VirtqueueError error = queue_.enable(config);
    require((error == VirtqueueError::kNone) == queue_.is_enabled());
  }

  VirtqueueConfig good_config() const {
    const bool packed = form_ == RingForm::kPacked;
    return {static_cast<std::uint16_t>(packed ? 7 : 8),
            kBase,
            kDriverArea,
            kDeviceArea,
            packed ? kFeatureRingPacked : 0,
            std::nullopt};
  }

  void step() {
    const VirtqueueError before = queue_.error();
    switch (source_.below(16)) {
      case 0:
      case 1: write_descriptor(); break;
      case 2:
        machine_.put(kBase + 2 * source_.below(0x100), static_cast<std::uint16_t>(source_.take(2)));
        break;
      case 3:
        machine_.put(kDriverArea + 2 * source_.below(24),
                     static_cast<std::uint16_t>(source_.take(2)));
        break;
      case 4: machine_.put(kDriverArea + 2, static_cast<std::uint16_t>(++offered_)); break;
      case 5: write_table(); break;
      case 6:
      case 7:
      case 8: pop(); break;
      case 9:
      case 10: give_back(); break;
      case 11: queue_.publish(); break;
      case 12: queue_.wants_interrupt(); break;
      case 13: queue_.suppress_notifications(); break;
      case 14: queue_.resume_notifications(); break;
      default: return reset();
    }
    require(before == VirtqueueError::kNone || queue_.error() == before);
  }

  // Mostly near to what is right.
  void write_descriptor() { write_descriptor_at(kBase + 16 * source_.below(8)); }
  void write_table() { write_descriptor_at(kBuffer + 16 * source_.below(8)); }
  void write_descriptor_at(std::uint64_t at) {
    const std::uint64_t kind = source_.below(8);
    machine_.put(at, kind == 0   ? source_.take(8)
                     : kind == 1 ? kBase + kBytes - source_.below(64)
                                 : kBuffer);
    machine_.put(at + 8, static_cast<std::uint32_t>(source_.below(4) == 0 ? source_.take(4)
                                                                          : 16 * source_.below(9)));
    machine_.put(at + 12, static_cast<std::uint16_t>(source_.below(16)));
    machine_.put(at + 14,
                 static_cast<std::uint16_t>(form_ == RingForm::kSplit
                                                ? source_.below(10)
                                                : source_.below(8) | source_.below(4) * 0x80 |
                                                      (source_.below(2) << 15)));
  }

  void pop() {
    DescriptorChain chain;
    const PopStatus status = queue_.pop(chain);
    require((status == PopStatus::kError) == (queue_.error() != VirtqueueError::kNone));
    if (status != PopStatus::kChain) return;
    require(queue_.is_enabled() && chain.head() < size_);
    check(chain.readable(), chain.readable_bytes());
    check(chain.writable(), chain.writable_bytes());
    require(chain.readable().size() + chain.writable().size() <= kMaxIndirectDescriptors + size_);
    held_.push_back(chain);
    require(held_.size() <= kMaxHeld);
  }
  static void check(std::span<const DmaSegment> segments, std::uint64_t bytes) {
    std::uint64_t sum = 0;
    for (const DmaSegment& it : segments) {
      require(it.bytes != 0 && it.bytes <= UINT32_MAX && it.bytes - 1 <= UINT64_MAX - it.address);
      sum += it.bytes;
    }
    require(sum == bytes);
  }

  void give_back() {
    if (held_.empty()) return;
    const auto at = held_.begin() + static_cast<std::ptrdiff_t>(source_.below(held_.size()));
    const auto written =
        static_cast<std::uint32_t>(source_.below(2) != 0 ? at->writable_bytes() : source_.take(4));
    source_.below(2) != 0 ? queue_.push(*at, written) : queue_.stage(*at, written);
    held_.erase(at);
  }

  void reset() {
    std::vector<DescriptorChain> stale;
    stale.swap(held_);
    queue_.reset();
    require(queue_.error() == VirtqueueError::kNone && queue_.is_idle());
    begin();
    const VirtqueueState fresh = queue_.state();
    for (const DescriptorChain& chain : stale) queue_.push(chain, 1);
    require(queue_.state() == fresh);
  }

  void expect_a_good_request_works() {
    machine_.clear();
    require(queue_.enable(good_config()) == VirtqueueError::kNone);
    machine_.put(kBase, kBuffer);
    machine_.put(kBase + 8, std::uint32_t{16});
    machine_.put(kBase + 12, std::uint32_t{form_ == RingForm::kPacked ? (0x80u | 2) << 16 | 3 : 2});
    if (form_ == RingForm::kSplit) machine_.put(kDriverArea + 2, std::uint16_t{1});
    DescriptorChain chain;
    require(queue_.pop(chain) == PopStatus::kChain && chain.writable_bytes() == 16);
    require(queue_.push(chain, 16) == VirtqueueError::kNone && queue_.wants_interrupt());
    const bool used = form_ == RingForm::kPacked
                          ? machine_.get<std::uint32_t>(kBase + 12) == ((0x8080u | 2) << 16 | 3)
                          : machine_.get<std::uint16_t>(kDeviceArea + 2) == 1;
    require(used && queue_.pop(chain) == PopStatus::kEmpty);
  }

  Machine& machine_;
  ByteSource source_;
  RingForm form_;
  DmaSpace dma_;
  Virtqueue queue_;
  std::uint16_t size_ = 0;
  std::uint16_t offered_ = 0;
  std::vector<DescriptorChain> held_;
};

}  // namespace

void run_ring_session(std::span<const std::uint8_t> input, RingForm form) {
  static Machine& machine = *new Machine;
  RingSession(machine, ByteSource(input), form).run();
}

}  // namespace vm_device
