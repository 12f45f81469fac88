// Live migration as a front end sees it: rings run, their log is taken again and again, pages are
// sent; once the rings have stopped and the log was taken once more, no page may be an old one.
// VM_MIGRATION_ROUNDS=n goes on for n rounds instead of a few, and prints what came of them.

#include <gtest/gtest.h>

#include <cstdlib>
#include <iostream>
#include <map>
#include <random>
#include <sstream>
#include <string>

#include "tests/support/temporary_file.h"
#include "tests/vm_device/shared_file.h"
#include "tests/vm_device/vhost_user_front_end.h"
#include "tests/vm_device/vhost_user_migration.h"
#include "vm_device/raw_image.h"

namespace vm_device {
namespace {

using Driver = BasicRingDriver<MigratedMemory>;
using Random = std::mt19937_64;

constexpr std::uint64_t kPlain = kFeatureVersion1 | kFeatureRingIndirect | kFeatureFlush;
constexpr std::uint16_t kRings = 2;
constexpr std::uint16_t kRingSize = 64;
constexpr std::uint64_t kDiskBytes = 4 << 20;

constexpr std::uint64_t kFirst = MigratedMemory::kBegin;
constexpr std::uint64_t kRingBytes = 0x1'0000;
constexpr std::uint64_t kHeaders = kFirst + kRings * kRingBytes;
constexpr std::uint64_t kStatuses = kFirst + 0x10'0000;  // a page for each

// The driver of both rings: as many requests as there is room for, of all sizes, to any place.
class RandomLoad {
 public:
  RandomLoad(MigratedMemory& memory, std::uint64_t features, std::uint64_t seed)
      : memory_(memory), random_(seed) {
    for (std::uint64_t ring = 0; ring < kRings; ++ring) {
      rings_.emplace_back(memory, kFirst + ring * kRingBytes, kRingSize, features);
      for (std::uint64_t slot = 0; slot < kRingSize; ++slot) {
        free_[ring].push_back(ring * kRingSize + slot);
      }
    }
  }
  ~RandomLoad() { stop(); }

  const Driver& ring(std::size_t index) const { return rings_[index]; }
  std::uint64_t finished() const { return finished_.load(); }

  void start(const VhostFrontEnd& front_end) {
    thread_ = std::thread([this, &front_end] {
      while (!stopping_.load()) {
        paused_.wait(true);
        if (turn()) front_end.kick_ring();
        if (!has_used() && wait_for(front_end.call, 1)) take_event(front_end.call);
      }
    });
  }
  void stop() {
    resume();
    stopping_.store(true);
    if (thread_.joinable()) thread_.join();
  }
  // As the guest's CPUs are before its devices stop.
  void pause() {
    paused_.store(true);
    turn_.lock();
  }
  void resume() {
    if (!paused_.exchange(false)) return;
    turn_.unlock();
    paused_.notify_all();
  }

 private:
  struct Request {
    std::uint64_t slot;
    bool may_fail;
  };

  std::uint64_t below(std::uint64_t end) { return random_() % end; }
  bool one_of(std::uint64_t count) { return below(count) == 0; }

  // Whether there is something to kick for.
  bool turn() {
    const std::lock_guard lock(turn_);
    bool offered = false;
    for (std::size_t i = 0; i < kRings; ++i) {
      while (const auto used = rings_[i].take_used()) finish(i, used->id);
      while (rings_[i].free_descriptors() != 0 && !free_[i].empty() && !one_of(40)) {
        offer(i);
        offered = true;
      }
      rings_[i].want_interrupt();
    }
    return offered;
  }
  bool has_used() const { return rings_[0].has_used() || rings_[1].has_used(); }

  void offer(std::size_t ring) {
    const std::uint64_t slot = free_[ring].back();
    free_[ring].pop_back();
    const std::uint64_t header = kHeaders + slot * 16;
    const std::uint64_t status = kStatuses + slot * kMigrationPage + below(kMigrationPage);
    const std::uint32_t type = one_of(8) ? kOut : one_of(16) ? kGetId : kIn;
    const std::uint64_t bytes = type == kGetId ? 20 : 512 << below(9);
    memory_.put(header, type);
    memory_.put(header + 8, below((kDiskBytes - bytes) / 512 + 1));
    memory_.put(status, std::byte{0xee});
    std::vector<RawDescriptor> chain{{header, 16, 0, 0}};
    const bool may_fail = add_data(chain, bytes, type == kOut ? 0 : kWrite);
    chain.push_back({status, 1, kWrite, 0});
    const bool fits = rings_[ring].free_descriptors() >= chain.size();
    const Layout layout = fits && one_of(2) ? Layout::kInRing : Layout::kInTable;
    const std::uint16_t id = rings_[ring].offer(std::move(chain), layout);
    statuses_[slot] = status;
    requests_[ring][id] = {slot, may_fail};
  }
  // Whether some of it is where there may be no memory.
  bool add_data(std::vector<RawDescriptor>& chain, std::uint64_t bytes, std::uint16_t flags) {
    bool may_fail = false;
    for (int part = 0; bytes != 0; ++part) {
      const bool is_last = part == 2 || one_of(2);
      const std::uint64_t count = is_last ? bytes : 1 + below(bytes);
      const bool is_far = one_of(8);
      const auto& where = MigratedMemory::kParts[is_far ? 2 : 1];
      const std::uint64_t at = where.begin + below(where.bytes - count + 1);
      chain.push_back({at, static_cast<std::uint32_t>(count), flags, 0});
      may_fail = may_fail || is_far;
      bytes -= count;
    }
    return may_fail;
  }
  void finish(std::size_t ring, std::uint32_t id) {
    const auto [slot, may_fail] = requests_[ring].at(id);
    const auto status = memory_.get<std::uint8_t>(statuses_[slot]);
    EXPECT_TRUE(status == kOk || (status == kIoErr && may_fail)) << int{status};
    free_[ring].push_back(slot);
    finished_.fetch_add(1);
  }

  MigratedMemory& memory_;
  Random random_;
  std::vector<Driver> rings_;
  std::array<std::vector<std::uint64_t>, kRings> free_;
  std::array<std::map<std::uint32_t, Request>, kRings> requests_;  // by ID
  std::array<std::uint64_t, std::size_t{kRings} * kRingSize> statuses_{};
  std::atomic<std::uint64_t> finished_{0};
  std::mutex turn_;
  std::atomic<bool> paused_{false};
  std::atomic<bool> stopping_{false};
  std::thread thread_;
};

enum class Home { kTmpfs, kDisk };

struct Machine {
  std::uint64_t ring_features;
  BlkService service;
  Home home;
  bool sealed;
};

std::vector<std::byte> noise(std::size_t bytes) {
  Random random(1);
  std::vector<std::byte> out(bytes);
  for (std::size_t at = 0; at < bytes; at += 8) {
    const std::uint64_t word = random();
    std::memcpy(&out[at], &word, sizeof word);
  }
  return out;
}

// What is done to a migration on its way.
enum class Event { kNothing, kLongerLog, kLogOffAndOn, kLosesPart, kOtherTable, kMovesRings, kEnd };

class Migration : public VhostFrontEnd {
 public:
  Migration(const Machine& machine, const std::string& image, std::uint64_t seed)
      : VhostFrontEnd(
            VirtioBlk::create(
                RawImage::open(image, ImageAccess::kReadWrite).value(),
                {.num_queues = kRings, .queue_size = kRingSize, .service = machine.service})
                .value(),
            {.refused = [](std::string_view why) { ADD_FAILURE() << why; }}),
        features_(kPlain | machine.ring_features),
        memory(machine.sealed),
        load(memory, features_, seed) {
    memory.put_bytes(MigratedMemory::kParts[1].begin, noise(MigratedMemory::kParts[1].bytes));
    negotiate(features_);
    for (std::size_t part = 0; part < 3; ++part) EXPECT_TRUE(add(part));
    start_rings();
    load.start(*this);
  }
  ~Migration() { load.stop(); }

  void begin() {
    use_new_log();
    EXPECT_TRUE(set_logging(true));
    memory.send_all();
  }
  void take_log() { take(*log_); }
  void stop_rings() {
    for (std::uint32_t ring = 0; ring < kRings; ++ring) {
      const auto base = stop_ring(ring);
      ASSERT_TRUE(base);
      ASSERT_TRUE(ask(Request::kSetVringBase, {pair_of(ring, *base)}));
    }
  }
  void start_rings() {
    for (std::uint32_t ring = 0; ring < kRings; ++ring) {
      ASSERT_TRUE(start_ring(ring, load.ring(ring).config()));
    }
  }
  bool set_logging(bool on) {
    return ask(Request::kSetFeatures, {features_ | internal::kVhostFeatureProtocol |
                                       (on ? internal::kVhostFeatureLogAll : 0)});
  }
  void wait_for_requests(std::uint64_t count) const {
    const std::uint64_t end = load.finished() + count;
    while (load.finished() < end && !testing::Test::HasFailure()) std::this_thread::yield();
  }
  void meet(Event event) {
    switch (event) {
      case Event::kLongerLog: return replace_log();
      case Event::kLogOffAndOn: return turn_log_off_and_on();
      case Event::kLosesPart: return lose_part(2);
      case Event::kMovesRings: return lose_part(0);
      case Event::kOtherTable: return change_table();
      default: return;
    }
  }

  std::uint64_t pages_sent = 0;  // for their bits

 private:
  void take(MigrationLog& log) {
    log.take([this](std::uint64_t page) {
      EXPECT_TRUE(memory.send(page)) << "page " << page << " of no memory";
      ++pages_sent;
    });
  }
  void use_new_log() {
    auto log =
        std::make_unique<MigrationLog>(MigratedMemory::kEnd / kMigrationPage / 64 * 8 + 8 + spare_);
    spare_ = 4096 - spare_;
    socket->send(static_cast<std::uint32_t>(Request::kSetLogBase), internal::kVhostUserVersion,
                 bytes_of({log->bytes(), 0}), {log->fd()});
    const auto answer = socket->receive(static_cast<std::uint32_t>(Request::kSetLogBase));
    EXPECT_TRUE(answer && word(*answer) == 0);
    log_.swap(log);
    old_log_ = std::move(log);
  }
  // The old one is taken last, as QEMU does.
  void replace_log() {
    use_new_log();
    wait_for_requests(20);
    take(*old_log_);
  }
  void turn_log_off_and_on() {
    EXPECT_TRUE(set_logging(false));
    wait_for_requests(20);
    EXPECT_TRUE(set_logging(true));
    memory.send_all();
  }
  std::vector<std::byte> described(std::size_t part) {
    const auto& [begin, bytes, file_offset] = MigratedMemory::kParts[part];
    return bytes_of({begin, bytes, user(begin), file_offset});
  }
  bool add(std::size_t part) { return change(Request::kAddMemReg, part); }
  bool change(Request request, std::size_t part) {
    std::vector<std::byte> payload = bytes_of({0});
    const std::vector<std::byte> region = described(part);
    payload.insert(payload.end(), region.begin(), region.end());
    return ask(request, payload, {memory.fd()});
  }
  void lose_part(std::size_t part) {
    EXPECT_TRUE(change(Request::kRemMemReg, part));
    if (part != 0) wait_for_requests(20);
    take(*log_);
    EXPECT_TRUE(add(part));
  }
  bool set_table(std::initializer_list<std::size_t> parts) {
    std::vector<std::byte> payload = bytes_of({parts.size()});
    for (const std::size_t part : parts) {
      const std::vector<std::byte> region = described(part);
      payload.insert(payload.end(), region.begin(), region.end());
    }
    return ask(Request::kSetMemTable, payload, std::vector<int>(parts.size(), memory.fd()));
  }
  void change_table() {
    EXPECT_TRUE(set_table({1, 0}));
    wait_for_requests(20);
    EXPECT_TRUE(set_table({2, 0, 1}));
  }

  const std::uint64_t features_;
  std::uint64_t spare_ = 0;  // of the next log
  std::unique_ptr<MigrationLog> log_;
  std::unique_ptr<MigrationLog> old_log_;

 public:
  MigratedMemory memory;
  RandomLoad load;
};

std::string in_words(const std::vector<std::uint64_t>& addresses) {
  std::ostringstream out;
  for (const std::uint64_t address : addresses) out << std::hex << " 0x" << address;
  return out.str();
}

std::uint64_t wanted_rounds() {
  const char* const told = std::getenv("VM_MIGRATION_ROUNDS");
  return told != nullptr ? std::strtoull(told, nullptr, 10) : 0;
}

class VhostUserMigrationTest : public testing::TestWithParam<Machine> {
 protected:
  VhostUserMigrationTest()
      : file_(noise(kDiskBytes)), in_memory_(kDiskBytes), migration_(GetParam(), image(), 1) {}

  std::string image() {
    if (GetParam().home == Home::kDisk) return file_.path();
    const std::vector<std::byte> content = noise(kDiskBytes);
    std::memcpy(in_memory_.bytes().data(), content.data(), content.size());
    return "/proc/self/fd/" + std::to_string(in_memory_.fd());
  }
  // So that requests have to wait for the disk.
  void drop_cache() const {
    if (GetParam().home != Home::kDisk) return;
    const int fd = ::open(file_.path().c_str(), O_RDONLY | O_CLOEXEC);
    ::fsync(fd);
    ::posix_fadvise(fd, 0, 0, POSIX_FADV_DONTNEED);
    ::close(fd);
  }

  vm_test::TemporaryFile file_;
  SharedFile in_memory_;
  Migration migration_;
};

TEST_P(VhostUserMigrationTest, NoPageIsAnOldOneAtItsEnd) {
  constexpr auto kEvents = static_cast<std::uint64_t>(Event::kEnd);
  const std::uint64_t asked = wanted_rounds();
  const std::uint64_t rounds = asked != 0 ? asked : kEvents;
  std::uint64_t round = 0;
  std::uint64_t old = 0;
  for (; round < rounds && !HasFailure(); ++round) {
    drop_cache();
    migration_.begin();
    migration_.wait_for_requests(20);
    migration_.take_log();
    migration_.meet(static_cast<Event>(round % kEvents));
    migration_.wait_for_requests(20 + round % 7);
    migration_.take_log();
    const bool is_guest_paused = (round + round / kEvents) % 2 == 0;
    if (is_guest_paused) migration_.load.pause();
    migration_.stop_rings();
    migration_.take_log();
    const std::vector<std::uint64_t> pages = migration_.memory.old_pages();
    old += pages.size();
    EXPECT_TRUE(pages.empty()) << "round " << round << ":" << in_words(pages);
    if (round % 3 == 0) {
      EXPECT_TRUE(migration_.set_logging(false));
    }
    migration_.start_rings();
    migration_.load.resume();
  }
  if (asked == 0) return;
  std::cout << round << " rounds, " << migration_.load.finished() << " requests, "
            << migration_.pages_sent << " pages sent for their bits, "
            << round * MigratedMemory::kBytes / kMigrationPage << " compared, " << old << " old\n";
}

// The control: the log is what makes the difference.
TEST_P(VhostUserMigrationTest, AFrontEndThatForgetsTheLogHasOldPages) {
  migration_.begin();
  migration_.wait_for_requests(20);
  migration_.load.pause();
  migration_.stop_rings();
  EXPECT_FALSE(migration_.memory.old_pages().empty());
  migration_.take_log();
  EXPECT_EQ(in_words(migration_.memory.old_pages()), "");
}

INSTANTIATE_TEST_SUITE_P(
    Machines, VhostUserMigrationTest,
    testing::Values(Machine{0, BlkService::kInNotify, Home::kTmpfs, false},
                    Machine{kFeatureRingEventIdx, BlkService::kBeside, Home::kDisk, true},
                    Machine{0, BlkService::kBeside, Home::kTmpfs, false},
                    Machine{kFeatureRingPacked, BlkService::kBeside, Home::kDisk, false},
                    Machine{kFeatureRingPacked, BlkService::kBeside, Home::kTmpfs, true},
                    Machine{kFeatureRingPacked | kFeatureRingEventIdx, BlkService::kInNotify,
                            Home::kDisk, true}));

}  // namespace
}  // namespace vm_device
