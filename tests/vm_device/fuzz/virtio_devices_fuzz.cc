// Reads bytes as what a guest, and somebody of the host's, do to one of the small virtio
// devices: network, console, balloon, entropy. Every step ends, nothing outside RAM is touched
// (guard pages), a stopped queue is told, and after a reset a good request is served.
#include <algorithm>
#include <array>
#include <functional>
#include <memory>
#include <stdexcept>
#include <string>
#include <utility>
#include <vector>

#include "tests/support/fuzz_target.h"
#include "tests/vm_mem/fuzz/byte_source.h"
#include "vm_device/mmio_bus.h"
#include "vm_device/net_loopback.h"
#include "vm_device/virtio_balloon.h"
#include "vm_device/virtio_console.h"
#include "vm_device/virtio_features.h"
#include "vm_device/virtio_mmio.h"
#include "vm_device/virtio_net.h"
#include "vm_device/virtio_rng.h"

namespace vm_device {
namespace {

constexpr std::uint64_t kRam = 0x8000'0000;
constexpr std::uint64_t kRamBytes = 128 * 1024;
constexpr std::uint64_t kSlot = 0x1000'1000;
constexpr std::uint64_t kPage = 4096;
// A queue has a page: the table, and its areas at half and three quarters of it.
constexpr std::uint64_t kDriverArea = kPage / 2;
constexpr std::uint64_t kDeviceArea = kPage / 4 * 3;
constexpr std::uint64_t kIndirect = kRam + 5 * kPage;
constexpr std::uint64_t kData = kRam + 6 * kPage;

[[noreturn]] void mistake(const std::string& what) { throw std::runtime_error(what); }

vm_mem::GuestRange range(std::uint64_t begin, std::uint64_t bytes) {
  return vm_mem::GuestRange::make(vm_mem::GuestAddress{begin}, bytes).value();
}

class StingySource final : public EntropySource {
 public:
  std::size_t take(std::span<std::byte> to) override {
    const std::size_t count = std::min(to.size(), left);
    std::fill_n(to.begin(), count, std::byte{0x77});
    left -= count;
    return count;
  }
  std::size_t left = 0;
};

class CountingPeer final : public ConsolePeer {
 public:
  void console_output(std::span<const std::byte> bytes) override { heard += bytes.size(); }
  std::uint64_t heard = 0;
};

struct QuietLine final : InterruptLine {
  void set(Level) override {}
};

// A device, what its host may do to it, and a request that it has to serve.
struct Subject {
  std::unique_ptr<VirtioDevice> device;
  std::function<void(vm_mem::ByteSource&)> host;
  std::uint64_t features = 0;
  std::uint16_t queue = 0;
  std::uint32_t readable = 0;  // bytes of the good request at kData,
  std::uint32_t writable = 0;  // or of its room there
  std::function<bool()> was_served = [] { return true; };
};

class World {
 public:
  explicit World(std::uint64_t kind)
      : memory_(std::move(vm_mem::MemoryManager::create({}).value())), bus_(*memory_) {
    vm_mem::RamOptions options;
    options.host.guards = vm_mem::GuardPages::kBothSides;
    if (!memory_->add_ram(range(kRam, kRamBytes), options).ok()) mistake("no RAM");
    constexpr std::array kMakers{&World::network, &World::console, &World::balloon,
                                 &World::entropy};
    subject_ = (this->*kMakers[kind % kMakers.size()])();
    queues_ = subject_.device->queue_count();
    slot_ = std::make_unique<VirtioMmio>(*memory_, std::move(subject_.device), line_);
    if (!bus_.attach(range(kSlot, kVirtioMmioBytes), slot_.get(), "it").ok()) mistake("no slot");
  }

  void step(vm_mem::ByteSource& bytes) {
    switch (bytes.below(12)) {
      case 0: start(feature_bits(bytes), static_cast<std::uint16_t>(1 << bytes.below(6))); break;
      case 1: touch_register(bytes); break;
      case 2: put(address_of(bytes), bytes.take(8)); break;
      case 3:
      case 4:
      case 5: describe(bytes); break;
      case 6:
      case 7: offer(bytes); break;
      case 8:
      case 9: subject_.host(bytes); break;
      default: set_reg(0x50, static_cast<std::uint32_t>(bytes.below(queues_ + 1u))); break;
    }
    check();
  }

  void host(vm_mem::ByteSource bytes) { subject_.host(bytes); }
  void expect_a_good_request() {
    start(kFeatureVersion1 | subject_.features, 16);
    const std::uint64_t table = table_of(subject_.queue);
    for (std::uint64_t at = kData; at < kData + 256; at += 8) put(at, std::uint64_t{0});
    put(kData, static_cast<std::uint32_t>(kData / kPage));
    put(table, kData);
    put(table + 8, subject_.readable + subject_.writable);
    put(table + 12, static_cast<std::uint16_t>(subject_.writable != 0 ? 2 : 0));
    put(table + kDriverArea + 2, std::uint16_t{1});
    set_reg(0x50, subject_.queue);
    check();
    const bool answered = get<std::uint16_t>(table + kDeviceArea + 2) == 1;
    if (!answered || get<std::uint32_t>(table + kDeviceArea + 8) != subject_.writable ||
        !subject_.was_served()) {
      mistake("a good request is not served");
    }
  }

 private:
  Subject network() {
    auto [near, far] = NetLoopback::pair({.frames = 4});
    cable_ = std::move(far);
    auto device = VirtioNet::create(std::move(near), {.waiting_frames = 4}).value();
    VirtioNet* const net = device.get();
    Subject made{.device = std::move(device), .host = [this, net](vm_mem::ByteSource& bytes) {
                   const std::vector<std::byte> frame(8 * bytes.take(1), std::byte{0x5a});
                   cable_->send(frame);
                   net->set_link(bytes.below(8) == 0 ? NetLink::kDown : NetLink::kUp);
                   net->poll();
                   std::array<std::byte, 2048> sent;
                   while (cable_->receive(sent)) continue;
                 }};
    made.features = 1 << 15;
    made.queue = 1;
    made.readable = 12 + 60;
    made.was_served = [this] {
      std::array<std::byte, 2048> sent;
      return cable_->receive(sent) == 60u;
    };
    return made;
  }
  Subject console() {
    auto device = std::make_unique<VirtioConsole>(peer_, VirtioConsoleOptions{.input_bytes = 100});
    VirtioConsole* const console = device.get();
    Subject made{.device = std::move(device), .host = [this, console](vm_mem::ByteSource& bytes) {
                   peer_.heard = 0;
                   const std::vector<std::byte> text(bytes.take(1), std::byte{'x'});
                   console->send(text);
                   if (bytes.below(4) == 0) console->resize({.columns = 1, .rows = 2});
                   if (console->unread() > 100) mistake("more input than there is room for");
                 }};
    made.queue = 1;
    made.readable = 5;
    made.was_served = [this] { return peer_.heard == 5; };
    return made;
  }
  Subject balloon() {
    auto device = std::make_unique<VirtioBalloon>(*memory_);
    VirtioBalloon* const balloon = device.get();
    Subject made{.device = std::move(device), .host = [balloon](vm_mem::ByteSource& bytes) {
                   balloon->set_target(static_cast<std::uint32_t>(bytes.take(1)));
                   balloon->request_statistics();
                 }};
    made.features = 1 << 1 | 1 << 5;
    made.readable = 4;
    made.was_served = [this] { return get<std::uint32_t>(kData) == 0; };
    return made;
  }
  Subject entropy() {
    auto source = std::make_unique<StingySource>();
    StingySource* const stingy = source.get();
    auto device = std::make_unique<VirtioRng>(std::move(source));
    VirtioRng* const rng = device.get();
    Subject made{.device = std::move(device), .host = [stingy, rng](vm_mem::ByteSource& bytes) {
                   stingy->left = 64 * bytes.take(1);
                   rng->more_entropy();
                 }};
    made.writable = 16;
    made.was_served = [this] { return get<std::uint64_t>(kData) == 0x7777777777777777; };
    return made;
  }

  template <typename T>
  void put(std::uint64_t address, T value) {
    (void)memory_->store(vm_mem::GuestAddress{address}, value);
  }
  template <typename T>
  T get(std::uint64_t address) {
    T value = 0;
    (void)memory_->load(vm_mem::GuestAddress{address}, value);
    return value;
  }
  void set_reg(std::uint64_t offset, std::uint32_t value) { put(kSlot + offset, value); }
  static std::uint64_t table_of(std::uint64_t queue) { return kRam + kPage * queue; }

  std::uint64_t feature_bits(vm_mem::ByteSource& bytes) {
    const std::uint64_t choice = bytes.take(1);
    packed_ = (choice & 1) != 0;
    return kFeatureVersion1 | kFeatureRingIndirect | (packed_ ? kFeatureRingPacked : 0) |
           ((choice & 2) != 0 ? kFeatureInOrder : 0) |
           ((choice & 4) != 0 ? kFeatureRingEventIdx : 0) |
           ((choice & 8) != 0 ? 0 : subject_.features);
  }
  void start(std::uint64_t features, std::uint16_t size) {
    packed_ = (features & kFeatureRingPacked) != 0;
    for (const std::uint32_t status : {0u, 1u, 3u}) set_reg(0x70, status);
    for (const std::uint32_t half : {0u, 1u}) {
      set_reg(0x24, half);
      set_reg(0x20, static_cast<std::uint32_t>(features >> (32 * half)));
    }
    set_reg(0x70, 11);
    for (std::uint32_t queue = 0; queue < queues_; ++queue) {
      for (std::uint64_t at = 0; at < kPage; at += 8) put(table_of(queue) + at, std::uint64_t{0});
      set_reg(0x30, queue);
      set_reg(0x38, size);
      set_reg(0x80, static_cast<std::uint32_t>(table_of(queue)));
      set_reg(0x90, static_cast<std::uint32_t>(table_of(queue) + kDriverArea));
      set_reg(0xa0, static_cast<std::uint32_t>(table_of(queue) + kDeviceArea));
      set_reg(0x44, 1);
    }
    set_reg(0x70, 15);
    size_ = size;
    available_ = {};
  }

  // Mostly data, sometimes an edge, the rings, or the device itself.
  std::uint64_t address_of(vm_mem::ByteSource& bytes) {
    const std::uint64_t near = bytes.take(2);
    switch (bytes.below(10)) {
      case 0: return kRam + kRamBytes - near % 600;
      case 1: return UINT64_MAX - near % 600;
      case 2: return kSlot + near % 600;
      case 3: return table_of(bytes.below(5)) + near % kPage;
      case 4: return kIndirect + (near & 0xff0);
      default: return kData + near % (kRamBytes - 6 * kPage);
    }
  }
  void describe(vm_mem::ByteSource& bytes) {
    constexpr std::array<std::uint32_t, 8> kLengths{0, 4, 10, 64, 512, 2048, 4096, UINT32_MAX};
    const std::uint64_t table = bytes.below(3) == 0 ? kIndirect : table_of(bytes.below(queues_));
    const std::uint64_t at = table + 16 * bytes.below(32);
    put(at, address_of(bytes));
    put(at + 8, kLengths[bytes.below(8)]);
    const auto flags = static_cast<std::uint16_t>(bytes.below(8));
    const auto next = static_cast<std::uint16_t>(bytes.below(20));
    put(at + 12, packed_ ? next : flags);
    put(at + 14, packed_ ? static_cast<std::uint16_t>(flags | bytes.below(2) << 7) : next);
  }
  void offer(vm_mem::ByteSource& bytes) {
    const std::uint64_t queue = bytes.below(queues_);
    if (packed_) {
      const std::uint64_t at = table_of(queue) + 16 * bytes.below(size_) + 14;
      return put(at, static_cast<std::uint16_t>((get<std::uint16_t>(at) & 7) | 1 << 7));
    }
    std::uint16_t& index = available_[queue];
    const std::uint64_t area = table_of(queue) + kDriverArea;
    put(area + 4 + 2 * (index % size_), static_cast<std::uint16_t>(bytes.below(20)));
    put(area + 2, ++index);
  }
  void touch_register(vm_mem::ByteSource& bytes) {
    constexpr std::array<std::uint16_t, 20> kRegisters{0x14, 0x20,  0x24,  0x30,  0x38,  0x44, 0x50,
                                                       0x60, 0x64,  0x70,  0x80,  0x90,  0xa0, 0xc0,
                                                       0xfc, 0x100, 0x104, 0x106, 0x108, 0x10a};
    const std::uint64_t at = kSlot + kRegisters[bytes.below(kRegisters.size())];
    if (bytes.below(3) == 0) return void(get<std::uint32_t>(at));
    put(at, static_cast<std::uint32_t>(bytes.below(2) == 0 ? bytes.take(1) : bytes.take(4)));
  }

  void check() {
    if (memory_->statistics().leases != 0) mistake("a lease is left");
    bool stopped = false;
    for (std::uint16_t i = 0; i < queues_; ++i) {
      stopped = stopped || slot_->queue_error(i) != VirtqueueError::kNone;
    }
    if (stopped && (get<std::uint32_t>(kSlot + 0x70) & 64) == 0) {
      mistake("a stopped queue, and the driver is not told");
    }
  }

  std::unique_ptr<vm_mem::MemoryManager> memory_;
  QuietLine line_;
  CountingPeer peer_;
  std::unique_ptr<NetLoopback> cable_;
  Subject subject_;
  std::uint16_t queues_ = 0;
  std::unique_ptr<VirtioMmio> slot_;
  std::uint16_t size_ = 16;
  bool packed_ = false;
  std::array<std::uint16_t, 8> available_{};
  MmioBus bus_;
};

}  // namespace
}  // namespace vm_device

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t bytes) {
  constexpr int kMostSteps = 96;
  vm_mem::ByteSource source({data, bytes});
  vm_device::World world(source.take(1));
  for (int i = 0; i < kMostSteps && !source.empty(); ++i) world.step(source);
  constexpr std::array<std::uint8_t, 2> kPlenty{255, 1};  // entropy; a link that is up
  world.host(vm_mem::ByteSource(kPlenty));
  world.expect_a_good_request();
  return 0;
}
