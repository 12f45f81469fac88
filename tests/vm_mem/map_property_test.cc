// Random maps of regions in containers, by priority, aliases, leases and memory that the
// host takes away, at low and at high addresses: each map and each access held to a model
// that knows neither sections nor tables. Bytes are read as steps as the fuzzer's are.
#include <gtest/gtest.h>
#include <rapidcheck.h>
#include <rapidcheck/gtest.h>

#include <atomic>
#include <cstdlib>
#include <iostream>
#include <span>
#include <thread>

#include "tests/vm_mem/fuzz/map_steps.h"

namespace vm_mem {
namespace {

using Bytes = std::vector<std::uint8_t>;

constexpr std::uint64_t kPage = 4096;

// As many in every case, small and large alike.
rc::Gen<Bytes> any_bytes(std::size_t count) {
  return rc::gen::container<Bytes>(
      count, rc::gen::resize(rc::kNominalSize, rc::gen::arbitrary<std::uint8_t>()));
}

void take_steps(MapWorld& world, const Bytes& bytes) {
  ByteSource source(bytes);
  while (!source.empty()) take_map_step(world, source);
}

class MapPropertyTest : public testing::Test {
 public:
  static void SetUpTestSuite() { ::setenv("RC_PARAMS", "max_success=100", 0); }
  static void TearDownTestSuite() {
    for (const auto& [what, count] : AccessWorld::counts()) {
      std::cout << "  " << what << ": " << count << "\n";
    }
  }
};

TEST_F(MapPropertyTest, EveryMapAndEveryAccessIsTheModels) {
  EXPECT_TRUE(rc::check([] {
    MapWorld world;
    take_steps(world, *any_bytes(480));
  }));
}

// Without a hole, so that accesses get far: memory that is lost beside memory that is not,
// and windows that show both.
void fill_with_losable(MapWorld& world, const Bytes& bytes) {
  ByteSource source(bytes);
  for (std::uint64_t page = 0; page < 12; page += 3) {
    const Loss loss = source.below(2) == 0 ? Loss::kTruncation : Loss::kProtection;
    const std::uint64_t begin = MapWorld::page_address(page);
    if (source.below(3) == 0) {
      world.add(RegionType::kRam, begin, 3 * kPage, 0, 1, 0);
    } else {
      world.add_losable(loss, begin, 3 * kPage, 0, 1);
    }
  }
  for (std::uint64_t page = 12; page < 20; ++page) {
    world.add_alias(MapWorld::page_address(page), kPage, 0, 1, source.take(1),
                    source.below(3) * kPage);
  }
}

constexpr std::uint8_t kLose = 12;  // or bring back
constexpr std::uint8_t kFirstAccess = 16;

TEST_F(MapPropertyTest, AccessesSayExactlyHowFarTheHostLetThem) {
  EXPECT_TRUE(rc::check([] {
    MapWorld world;
    fill_with_losable(world, *any_bytes(24));
    for (int round = 0; round < 3; ++round) {
      Bytes loss = *any_bytes(3);
      loss[0] = kLose;
      take_steps(world, loss);
      for (int access = 0; access < 8; ++access) {
        Bytes step = *any_bytes(8);
        step[0] = static_cast<std::uint8_t>(kFirstAccess + step[0] % 10);
        step[1] = static_cast<std::uint8_t>(step[1] % 20);
        ByteSource source(step);
        take_map_step(world, source);
      }
    }
  }));
}

// What reads of a few ranges give.
struct Answer {
  AccessResult result;
  Bytes bytes;

  friend bool operator==(const Answer&, const Answer&) = default;
};

struct Query {
  std::uint64_t from = 0;
  std::uint64_t bytes = 0;
};

std::vector<Query> queries_of(const Bytes& bytes) {
  ByteSource source(bytes);
  std::vector<Query> queries;
  while (!source.empty()) {
    const std::uint64_t page = MapWorld::page_address(source.below(MapWorld::kPages));
    queries.push_back({page + source.take(2) % kPage, source.take(2) % (6 * kPage)});
  }
  return queries;
}

std::vector<Answer> model_answers(MapWorld& world, const std::vector<Query>& queries) {
  std::vector<Answer> answers;
  for (const Query& query : queries) {
    Answer answer{{}, Bytes(query.bytes, 0xee)};
    answer.result = world.model_read(query.from, answer.bytes);
    answers.push_back(std::move(answer));
  }
  return answers;
}

template <typename Front>
Answer real_answer(Front& front, const Query& query) {
  Answer answer{{}, Bytes(query.bytes, 0xee)};
  answer.result =
      front.read(GuestAddress{query.from}, std::as_writable_bytes(std::span(answer.bytes)));
  return answer;
}

void change_settings(MapWorld& world, const Bytes& bytes) {
  ByteSource source(bytes);
  world.change(
      [&] {
        while (!source.empty()) {
          const std::uint64_t pick = source.take(1);
          switch (source.below(3)) {
            case 0: world.set_enabled(pick, static_cast<Enabled>(source.below(2))); break;
            case 1: world.set_protection(pick, static_cast<Protection>(source.below(3))); break;
            default: world.move(pick, MapWorld::page_address(source.below(MapWorld::kPages)));
          }
        }
      },
      Enabled::kYes);
}

// Reads while the map is changed to and fro: each sees the one map or the other, and
// never something between.
class ReadsDuringChanges {
 public:
  ReadsDuringChanges(MapWorld& world, const std::vector<Query>& queries,
                     const std::vector<Answer>& before, const std::vector<Answer>& after)
      : world_(world), queries_(queries), before_(before), after_(after), thread_([this] {
          run();
        }) {}
  ~ReadsDuringChanges() {
    stop_ = true;
    thread_.join();
  }
  std::uint64_t passes() const { return passes_; }
  std::uint64_t wrong() const { return wrong_; }

 private:
  void run() {
    MemoryReader reader(world_.manager());
    while (!stop_) {
      for (std::size_t i = 0; i < queries_.size(); ++i) {
        check(i, real_answer(reader, queries_[i]));
        check(i, real_answer(world_.manager(), queries_[i]));
      }
      ++passes_;
    }
  }
  void check(std::size_t i, const Answer& answer) {
    if (answer != before_[i] && answer != after_[i]) ++wrong_;
  }

  MapWorld& world_;
  const std::vector<Query>& queries_;
  const std::vector<Answer>& before_;
  const std::vector<Answer>& after_;
  std::atomic<bool> stop_{false};
  std::atomic<std::uint64_t> passes_{0};
  std::atomic<std::uint64_t> wrong_{0};
  std::thread thread_;
};

TEST_F(MapPropertyTest, AReadBesideAChangeSeesTheMapBeforeItOrAfterIt) {
  EXPECT_TRUE(rc::check([] {
    MapWorld world;
    take_steps(world, *any_bytes(160));
    const std::vector<Query> queries = queries_of(*any_bytes(60));
    const auto settings_before = world.settings();
    const std::vector<Answer> before = model_answers(world, queries);
    change_settings(world, *any_bytes(24));
    const auto settings_after = world.settings();
    const std::vector<Answer> after = model_answers(world, queries);
    AccessWorld::counts()["changes that are seen"] += before == after ? 0u : 1u;
    ReadsDuringChanges reads(world, queries, before, after);
    for (int change = 0; change < 6 || reads.passes() < 2; ++change) {
      world.set_all(change % 2 == 0 ? settings_before : settings_after);
    }
    RC_ASSERT(reads.wrong() == 0u);
  }));
}

}  // namespace
}  // namespace vm_mem
