#include "vm_mem/statistics.h"

#include <gtest/gtest.h>

#include <memory>
#include <thread>
#include <vector>

#include "vm_mem/copy_policy.h"
#include "vm_mem/internal/statistics_counter.h"
#include "vm_mem/memory_manager.h"
#include "vm_mem/memory_reader.h"

namespace vm_mem {
namespace {

PathCount total(const Statistics& statistics, Route route) {
  PathCount total;
  for (const PathCount& count : statistics.counts[static_cast<std::size_t>(route)]) {
    total.operations += count.operations;
    total.bytes += count.bytes;
  }
  return total;
}

TEST(StatisticsTest, RoutesAndPathsHaveTheirNames) {
  EXPECT_EQ(route_name(Route::kCpu), "cpu");
  EXPECT_EQ(route_name(Route::kDma), "dma");
  EXPECT_EQ(route_name(Route::kEngine), "engine");
  EXPECT_EQ(route_name(Route::kSnapshot), "snapshot");
  EXPECT_EQ(copy_path_name(CopyPath::kInline), "inline");
  EXPECT_EQ(copy_path_name(CopyPath::kVector), "vector");
  EXPECT_EQ(copy_path_name(CopyPath::kStream), "stream");
}

TEST(StatisticsTest, CountsByRouteAndPath) {
  const CopyPolicy policy = copy_policy();
  internal::StatisticsCounter counter;
  counter.add(Route::kCpu, policy.inline_max);
  counter.add(Route::kDma, policy.inline_max + 1);
  counter.add(Route::kDma, policy.stream_min);
  const Statistics sum = counter.sum();
  EXPECT_EQ(sum.at(Route::kCpu, CopyPath::kInline).operations, 1u);
  EXPECT_EQ(sum.at(Route::kCpu, CopyPath::kInline).bytes, policy.inline_max);
  EXPECT_EQ(sum.at(Route::kDma, CopyPath::kVector).bytes, policy.inline_max + 1);
  EXPECT_EQ(sum.at(Route::kDma, CopyPath::kStream).bytes, policy.stream_min);
  EXPECT_EQ(sum.at(Route::kEngine, CopyPath::kInline).operations, 0u);
}

TEST(StatisticsTest, LosesNothingBetweenThreads) {
  internal::StatisticsCounter counter;
  std::vector<std::thread> threads;
  for (int i = 0; i < 4; ++i) {
    threads.emplace_back([&counter] {
      for (int n = 0; n < 10'000; ++n) counter.add(Route::kEngine, 3);
    });
  }
  for (std::thread& thread : threads) thread.join();
  EXPECT_EQ(total(counter.sum(), Route::kEngine).operations, 40'000u);
  EXPECT_EQ(total(counter.sum(), Route::kEngine).bytes, 120'000u);
}

TEST(StatisticsTest, BulkAccessCountsTheBytesThatWereDone) {
  const auto memory = MemoryManager::create({}).value();
  ASSERT_TRUE(memory->add_ram(*GuestRange::make(GuestAddress{0}, 4096)).ok());
  std::vector<std::byte> buffer(100);
  EXPECT_TRUE(memory->read(GuestAddress{0}, buffer, Route::kSnapshot).ok());
  EXPECT_FALSE(memory->write(GuestAddress{4090}, buffer, Route::kSnapshot).ok());
  EXPECT_EQ(total(memory->statistics(), Route::kSnapshot).operations, 2u);
  EXPECT_EQ(total(memory->statistics(), Route::kSnapshot).bytes, 106u);
  EXPECT_TRUE(memory->fill_block(GuestAddress{0}, std::byte{1}, 7, Route::kDma).ok());
  EXPECT_TRUE(
      MemoryReader(*memory, Route::kDma).copy_block(GuestAddress{0}, GuestAddress{64}, 8).ok());
  EXPECT_EQ(total(memory->statistics(), Route::kDma).bytes, 15u);
}

TEST(StatisticsTest, TypedAccessIsNotCounted) {
  const auto memory = MemoryManager::create({}).value();
  ASSERT_TRUE(memory->add_ram(*GuestRange::make(GuestAddress{0}, 4096)).ok());
  std::uint32_t word = 0;
  EXPECT_TRUE(memory->load(GuestAddress{0}, word).ok());
  EXPECT_TRUE(memory->store(GuestAddress{0}, word).ok());
  EXPECT_EQ(total(memory->statistics(), Route::kCpu).operations, 0u);
}

TEST(StatisticsTest, JsonNamesEveryRouteAndPathInOrder) {
  Statistics statistics;
  std::uint64_t number = 0;
  for (auto& route : statistics.counts) {
    for (PathCount& count : route) count = {++number, 100 * number};
  }
  statistics.counts[3][2].bytes = ~std::uint64_t{0};
  statistics.leases = 3;
  EXPECT_EQ(statistics_json(statistics),
            R"({"routes":{)"
            R"("cpu":{"inline":{"operations":1,"bytes":100},)"
            R"("vector":{"operations":2,"bytes":200},"stream":{"operations":3,"bytes":300}},)"
            R"("dma":{"inline":{"operations":4,"bytes":400},)"
            R"("vector":{"operations":5,"bytes":500},"stream":{"operations":6,"bytes":600}},)"
            R"("engine":{"inline":{"operations":7,"bytes":700},)"
            R"("vector":{"operations":8,"bytes":800},"stream":{"operations":9,"bytes":900}},)"
            R"("snapshot":{"inline":{"operations":10,"bytes":1000},)"
            R"("vector":{"operations":11,"bytes":1100},)"
            R"("stream":{"operations":12,"bytes":18446744073709551615}}},"leases":3})");
}

}  // namespace
}  // namespace vm_mem
