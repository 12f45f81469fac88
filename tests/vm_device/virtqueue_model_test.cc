// Random sessions of a driver and a device that keep to the rules, in every form of a queue:
// each request comes back exactly once, as it was answered, and nobody sleeps through what
// it asked to be told of.
#include <gtest/gtest.h>
#include <rapidcheck.h>
#include <rapidcheck/gtest.h>

#include <algorithm>
#include <map>

#include "tests/vm_device/ring_driver.h"
#include "vm_device/virtqueue.h"
#include "vm_mem/memory_reader.h"

namespace vm_device {
namespace {

constexpr std::uint64_t kBuffer = kRamBase + 0x2'0000;

struct Session {
  Session(std::uint16_t size, std::uint64_t features, bool on_reader)
      : reader(*guest.memory, vm_mem::Route::kDma),
        dma(on_reader ? DmaSpace(reader) : DmaSpace(*guest.memory)),
        queue(dma, 64),
        driver(guest, kRamBase, size, features) {
    RC_ASSERT(queue.enable(driver.config()) == VirtqueueError::kNone);
    driver.want_interrupt();
  }

  void offer() {
    const auto room = std::min<std::uint16_t>(driver.free_descriptors(), 5);
    if (room == 0) return;
    std::vector<RawDescriptor> chain;
    const bool indirect =
        driver.config().features & kFeatureRingIndirect && *rc::gen::arbitrary<bool>();
    const int count = *rc::gen::inRange(1, indirect ? 6 : room + 1);
    const int readable = *rc::gen::inRange(0, count + 1);
    for (int i = 0; i < count; ++i) {
      const auto bytes = static_cast<std::uint32_t>(*rc::gen::inRange(0, 5) * 100);
      chain.push_back(
          {kBuffer + 1000 * next++, bytes, i < readable ? std::uint16_t{0} : kWrite, 0});
    }
    const std::uint16_t id = driver.offer(chain, indirect ? Layout::kInTable : Layout::kInRing);
    std::erase_if(chain, [](const RawDescriptor& it) { return it.bytes == 0; });
    RC_ASSERT(offered.emplace(id, chain).second);
    const bool notify = driver.must_notify();
    if (asleep) RC_ASSERT(notify);
    if (suppressed && !(driver.config().features & kFeatureRingEventIdx)) RC_ASSERT(!notify);
    asleep = asleep && !notify;
  }

  void pop() {
    DescriptorChain chain;
    if (queue.pop(chain) != PopStatus::kChain) {
      RC_ASSERT(queue.error() == VirtqueueError::kNone);
      RC_ASSERT(popped == offered.size());
      return;
    }
    ++popped;
    const auto& wanted = offered.at(chain.head());
    RC_ASSERT(wanted.size() == chain.readable().size() + chain.writable().size());
    for (std::size_t i = 0; i < wanted.size(); ++i) {
      const bool readable = i < chain.readable().size();
      const DmaSegment segment =
          readable ? chain.readable()[i] : chain.writable()[i - chain.readable().size()];
      RC_ASSERT(segment.address == wanted[i].address);
      RC_ASSERT(segment.bytes == wanted[i].bytes);
      RC_ASSERT(readable == ((wanted[i].flags & kWrite) == 0));
    }
    held.push_back(std::move(chain));
  }

  void give_back(bool publish) {
    if (held.empty()) return;
    const auto at = held.begin() + *rc::gen::inRange<std::ptrdiff_t>(0, std::ssize(held));
    const auto all = static_cast<std::uint32_t>(at->writable_bytes());
    const std::uint32_t written = *rc::gen::element(0u, all / 2, all, all);
    answers[at->head()] = written;
    RC_ASSERT((publish ? queue.push(*at, written) : queue.stage(*at, written)) ==
              VirtqueueError::kNone);
    held.erase(at);
  }

  // The driver's turn: all that is used, then it waits.
  void take_used() {
    while (const auto used = driver.take_used()) {
      RC_ASSERT(answers.at(static_cast<std::uint16_t>(used->id)) == used->written);
      offered.erase(static_cast<std::uint16_t>(used->id));
      answers.erase(static_cast<std::uint16_t>(used->id));
      --popped;
    }
    driver.want_interrupt();
    waiting = true;
  }

  void signal() {
    const bool used = driver.has_used();
    const bool wanted = queue.wants_interrupt();
    if (waiting && used) RC_ASSERT(wanted);
    if (!used) RC_ASSERT(!wanted || !waiting);
    if (wanted) waiting = false;
  }

  void sleep_or_wake() {
    if (*rc::gen::arbitrary<bool>()) {
      queue.suppress_notifications();
      suppressed = true;
      asleep = false;
    } else {
      const bool more = queue.resume_notifications();
      RC_ASSERT(more == (popped < offered.size()));
      suppressed = false;
      asleep = !more;
    }
  }

  // Where the device stands is all that another one needs.
  void hand_over() {
    if (!held.empty() || !queue.is_idle()) return;
    queue.publish();
    signal();
    VirtqueueConfig config = driver.config();
    config.start = queue.state();
    RC_ASSERT(queue.enable(config) == VirtqueueError::kNone);
    RC_ASSERT(queue.state() == *config.start);
  }

  void finish() {
    while (popped < offered.size()) pop();
    while (!held.empty()) give_back(false);
    RC_ASSERT(queue.publish() == VirtqueueError::kNone);
    signal();
    take_used();
    RC_ASSERT(offered.empty());
    RC_ASSERT(answers.empty());
    RC_ASSERT(queue.is_idle());
  }

  Guest guest;
  vm_mem::MemoryReader reader;
  DmaSpace dma;
  Virtqueue queue;
  RingDriver driver;
  std::map<std::uint16_t, std::vector<RawDescriptor>> offered;  // by ID
  std::map<std::uint16_t, std::uint32_t> answers;
  std::vector<DescriptorChain> held;
  std::size_t popped = 0;
  std::uint64_t next = 0;
  bool waiting = true;
  bool asleep = false;
  bool suppressed = false;
};

std::uint64_t if_true(bool condition, std::uint64_t feature) { return condition ? feature : 0; }

void run_session(bool packed) {
  const auto flag = [] { return *rc::gen::arbitrary<bool>(); };
  const std::uint64_t features =
      if_true(packed, kFeatureRingPacked) | if_true(flag(), kFeatureInOrder) |
      if_true(flag(), kFeatureRingEventIdx) | if_true(flag(), kFeatureRingIndirect);
  const auto size = *rc::gen::element<std::uint16_t>(1, 2, 8, 16, packed ? 7 : 4);
  Session session(size, features, flag());
  const int steps = *rc::gen::inRange(0, 200);
  for (int i = 0; i < steps; ++i) {
    switch (*rc::gen::inRange(0, 12)) {
      case 0:
      case 1:
      case 2: session.offer(); break;
      case 3:
      case 4: session.pop(); break;
      case 5:
      case 6: session.give_back(true); break;
      case 7: session.give_back(false); break;
      case 8:
        session.queue.publish();
        session.signal();
        break;
      case 9: session.take_used(); break;
      case 10: session.sleep_or_wake(); break;
      default: session.hand_over(); break;
    }
    session.signal();
  }
  session.finish();
}

RC_GTEST_PROP(VirtqueueModelTest, EveryRequestOfASplitRingComesBackOnce, ()) { run_session(false); }
RC_GTEST_PROP(VirtqueueModelTest, EveryRequestOfAPackedRingComesBackOnce, ()) { run_session(true); }

}  // namespace
}  // namespace vm_device
