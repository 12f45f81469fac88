#include "vm_device/virtio_iommu.h"

#include <gtest/gtest.h>

#include <random>
#include <thread>

#include "tests/vm_device/virtio_iommu_driver.h"

namespace vm_device {
namespace {

using VirtioIommuTest = VirtioIommuDriver;

TEST_F(VirtioIommuTest, ShowsWhatItCan) {
  make({.input = {0x1000, 0xffff'ffff}, .first_domain = 1, .last_domain = 64});
  EXPECT_EQ(machine->reg(0x08), 23u);
  EXPECT_EQ(machine->offered_features() & 0xff, kAllFeatures);
  EXPECT_EQ(machine->config<std::uint64_t>(0), ~std::uint64_t{4095});
  EXPECT_EQ(machine->config<std::uint64_t>(8), 0x1000u);
  EXPECT_EQ(machine->config<std::uint64_t>(16), 0xffff'ffffu);
  EXPECT_EQ(machine->config<std::uint32_t>(24), 1u);
  EXPECT_EQ(machine->config<std::uint32_t>(28), 64u);
  EXPECT_EQ(machine->config<std::uint32_t>(32), 64u);
  EXPECT_EQ(machine->config<std::uint64_t>(36), 0u);
}

TEST_F(VirtioIommuTest, AnEndpointReachesWhatItsDomainMaps) {
  make();
  EXPECT_EQ(reach(*disk, kIova), DmaFault::kTranslation);
  EXPECT_EQ(attach(1, kDisk), kOk);
  EXPECT_EQ(map(1, kIova, kIova + 0xfff, kTarget), kOk);
  EXPECT_EQ(reach(*disk, kIova + 4), DmaFault::kNone);
  EXPECT_EQ(machine->guest.get<std::uint32_t>(kTarget + 4), 7u);
  EXPECT_EQ(reach(*nic, kIova), DmaFault::kTranslation);
  EXPECT_EQ(unmap(1, kIova, kIova + 0xfff), kOk);
  EXPECT_EQ(reach(*disk, kIova), DmaFault::kTranslation);
}

TEST_F(VirtioIommuTest, PermissionsAreKept) {
  make();
  attach(1, kDisk);
  EXPECT_EQ(map(1, 0, 0xfff, kTarget, 1), kOk);
  EXPECT_EQ(map(1, 0x1000, 0x1fff, kTarget, 2), kOk);
  EXPECT_EQ(map(1, 0x2000, 0x2fff, kTarget, 0), kOk);
  EXPECT_EQ(map(1, 0x3000, 0x3fff, kTarget, 4 | 3), kOk);
  std::uint32_t value = 0;
  const std::array<std::pair<bool, bool>, 4> expected{
      {{true, false}, {false, true}, {false, false}, {true, true}}};
  for (std::uint64_t i = 0; i < 4; ++i) {
    EXPECT_EQ(disk->load(0x1000 * i, value).ok(), expected[i].first) << i;
    EXPECT_EQ(disk->store(0x1000 * i, value).ok(), expected[i].second) << i;
  }
  EXPECT_EQ(unmap(1, 0x2000, 0x2fff), kOk);
}

TEST_F(VirtioIommuTest, UnmapFollowsTheExamplesOfTheStandard) {
  make();
  attach(1, kDisk);
  constexpr std::uint64_t kUnit = 0x1000;
  const auto last = [](std::uint64_t page) { return (page + 1) * kUnit - 1; };
  EXPECT_EQ(unmap(1, 0, last(4)), kOk);
  map(1, 0, last(9), kTarget);
  EXPECT_EQ(unmap(1, 0, last(9)), kOk);
  map(1, 0, last(4), kTarget);
  map(1, 5 * kUnit, last(9), kTarget);
  EXPECT_EQ(unmap(1, 0, last(9)), kOk);
  map(1, 0, last(9), kTarget);
  EXPECT_EQ(unmap(1, 0, last(4)), kRange);
  EXPECT_EQ(unmap(1, 5 * kUnit, last(9)), kRange);
  EXPECT_EQ(unmap(1, 1, last(9)), kRange);
  EXPECT_EQ(reach(*disk, 0), DmaFault::kNone);
  EXPECT_EQ(unmap(1, 0, last(9)), kOk);
  map(1, 0, last(4), kTarget);
  map(1, 5 * kUnit, last(9), kTarget);
  EXPECT_EQ(unmap(1, 0, last(4)), kOk);
  EXPECT_EQ(reach(*disk, 5 * kUnit), DmaFault::kNone);
  EXPECT_EQ(unmap(1, 0, last(9)), kOk);
  map(1, 0, last(4), kTarget);
  map(1, 10 * kUnit, last(14), kTarget);
  EXPECT_EQ(unmap(1, 0, last(14)), kOk);
  EXPECT_EQ(reach(*disk, 10 * kUnit), DmaFault::kTranslation);
}

TEST_F(VirtioIommuTest, EveryWrongRequestHasItsStatus) {
  make({.input = {0x1000, 0xffff'ffff},
        .first_domain = 1,
        .last_domain = 64,
        .reserved = {{0x80000, 0x8ffff}}});
  EXPECT_EQ(attach(1, IommuDeviceId{77}), kNoEntry);
  EXPECT_EQ(attach(0, kDisk), kRange);
  EXPECT_EQ(attach(65, kDisk), kRange);
  EXPECT_EQ(attach(1, kDisk, 2), kInvalid);
  EXPECT_EQ(request({1, 1, kDisk.value, 0, 1}), kInvalid);
  EXPECT_EQ(map(1, kIova, kIova + 0xfff, kTarget), kNoEntry);
  EXPECT_EQ(unmap(1, kIova, kIova + 0xfff), kNoEntry);
  EXPECT_EQ(detach(1, kDisk), kInvalid);
  EXPECT_EQ(detach(1, IommuDeviceId{77}), kNoEntry);
  EXPECT_EQ(attach(1, kDisk), kOk);
  EXPECT_EQ(attach(1, kNic, 1), kInvalid);  // it is no bypass domain
  EXPECT_EQ(detach(2, kDisk), kInvalid);
  EXPECT_EQ(map(1, kIova, kIova + 0xfff, kTarget, 8), kInvalid);
  EXPECT_EQ(map(1, kIova + 1, kIova + 0xfff, kTarget), kRange);
  EXPECT_EQ(map(1, kIova, kIova + 0xffe, kTarget), kRange);
  EXPECT_EQ(map(1, kIova, kIova + 0xfff, kTarget + 8), kRange);
  EXPECT_EQ(map(1, kIova, kIova - 1, kTarget), kInvalid);
  EXPECT_EQ(map(1, 0, 0xfff, kTarget), kRange);
  EXPECT_EQ(map(1, 0xffff'f000, 0x1'0000'0fff, kTarget), kRange);
  EXPECT_EQ(map(1, kIova, kIova + 0x1fff, ~std::uint64_t{0xfff}), kFault);
  EXPECT_EQ(map(1, 0x7f000, 0x80fff, kTarget), kInvalid);
  EXPECT_EQ(map(1, kIova, kIova + 0x1fff, kTarget), kOk);
  EXPECT_EQ(map(1, kIova + 0x1000, kIova + 0x2fff, kTarget), kInvalid);
  EXPECT_EQ(unmap(1, kIova, kIova - 1), kInvalid);
  EXPECT_EQ(request(Words{4, 1} + kIova + (kIova + 0x1fff) + 1), kInvalid);
  EXPECT_EQ(reach(*disk, kIova + 0x1000), DmaFault::kNone);
  EXPECT_FALSE(machine->needs_reset());
}

TEST_F(VirtioIommuTest, RequestsThatCannotBeParsedAreGivenBack) {
  make();
  EXPECT_EQ(request({0, 0, 0, 0, 0}), kSilence);
  EXPECT_EQ(request({6, 0, 0, 0, 0}), kSilence);
  EXPECT_EQ(request({1, 1, kDisk.value, 0, 0}, 3), kSilence);
  EXPECT_EQ(request({1, 1, kDisk.value, 0}), kInvalid);  // one word too short
  EXPECT_EQ(request({2, 1, kDisk.value}), kInvalid);
  EXPECT_EQ(request({3, 1}), kInvalid);
  EXPECT_EQ(request({4, 1}), kInvalid);
  machine->request(0, {{kWritable, 4, kWrite, 0}});  // nothing to read
  EXPECT_EQ(machine->written(0), 0u);
  machine->request(0, {{kReadable, 20, 0, 0}});  // no room
  EXPECT_EQ(machine->written(0), 0u);
  machine->request(0, {{Machine::kHole, 20, 0, 0}, {kWritable, 4, kWrite, 0}});
  EXPECT_EQ(machine->guest.get<std::uint32_t>(kWritable), 1u);
  EXPECT_EQ(machine->used(0), 10);
  EXPECT_FALSE(machine->needs_reset());
  EXPECT_EQ(attach(1, kDisk), kOk);
}

TEST_F(VirtioIommuTest, AnAnswerWithoutMemoryStopsTheQueueUntilAReset) {
  make();
  const Words words{1, 1, kDisk.value, 0, 0};
  machine->guest.put_bytes(kReadable, std::as_bytes(std::span(words)));
  machine->request(0, {{kReadable, 20, 0, 0}, {Machine::kHole, 4, kWrite, 0}});
  EXPECT_TRUE(machine->needs_reset());
  EXPECT_EQ(machine->slot.queue_error(0), VirtqueueError::kUnanswerable);
  machine->start(kAllFeatures);
  EXPECT_EQ(attach(1, kDisk), kOk);
}

TEST_F(VirtioIommuTest, RequestsMayBeCutInAnyWay) {
  make();
  const Words words{1, 5, kDisk.value, 0, 0};
  machine->guest.put_bytes(kReadable, std::as_bytes(std::span(words)));
  machine->request(0, {{kReadable, 1, 0, 0},
                       {kReadable + 1, 9, 0, 0},
                       {kReadable + 10, 10, 0, 0},
                       {kWritable, 1, kWrite, 0},
                       {kWritable + 8, 3, kWrite, 0}});
  EXPECT_EQ(machine->written(0), 4u);
  EXPECT_EQ(machine->guest.get<std::uint8_t>(kWritable), 0u);
  EXPECT_EQ(detach(5, kDisk), kOk);
}

TEST_F(VirtioIommuTest, WhatWasNotNegotiatedIsNotServed) {
  make();
  machine->start(0);
  EXPECT_EQ(attach(1, kDisk), kOk);
  EXPECT_EQ(map(1, kIova, kIova + 0xfff, kTarget), kUnsupported);
  EXPECT_EQ(unmap(1, kIova, kIova + 0xfff), kUnsupported);
  EXPECT_EQ(attach(2, kNic, 1), kInvalid);
  machine->guest.put(Machine::kConfig + 36, std::uint8_t{1});
  EXPECT_EQ(machine->config<std::uint8_t>(36), 0u);
  machine->start(1 << 2);
  attach(1, kDisk);
  EXPECT_EQ(map(1, kIova, kIova + 0xfff, kTarget, 7), kInvalid);  // MMIO
}

TEST_F(VirtioIommuTest, ADomainEndsWithItsLastEndpoint) {
  make();
  attach(1, kDisk);
  attach(1, kNic);
  map(1, kIova, kIova + 0xfff, kTarget);
  EXPECT_EQ(detach(1, kDisk), kOk);
  EXPECT_EQ(reach(*disk, kIova), DmaFault::kTranslation);
  EXPECT_EQ(reach(*nic, kIova), DmaFault::kNone);
  EXPECT_EQ(attach(2, kNic), kOk);  // moves it
  EXPECT_EQ(reach(*nic, kIova), DmaFault::kTranslation);
  EXPECT_EQ(map(1, kIova, kIova + 0xfff, kTarget), kNoEntry);
  EXPECT_EQ(attach(1, kDisk), kOk);
  EXPECT_EQ(reach(*disk, kIova), DmaFault::kTranslation);
  EXPECT_EQ(attach(1, kDisk), kOk);  // once more changes nothing
  EXPECT_EQ(map(1, kIova, kIova + 0xfff, kTarget), kOk);
  EXPECT_EQ(reach(*disk, kIova), DmaFault::kNone);
}

TEST_F(VirtioIommuTest, UnattachedEndpointsFollowTheBypassField) {
  make({.unattached = UnattachedEndpoint::kBypassed});
  EXPECT_EQ(machine->config<std::uint8_t>(36), 1u);
  EXPECT_EQ(reach(*disk, kTarget), DmaFault::kNone);
  attach(1, kNic);
  machine->guest.put(Machine::kConfig + 36, std::uint8_t{2});  // no value of it
  EXPECT_EQ(machine->config<std::uint8_t>(36), 1u);
  machine->guest.put(Machine::kConfig + 36, std::uint8_t{0});
  EXPECT_EQ(reach(*disk, kTarget), DmaFault::kTranslation);
  machine->start(kAllFeatures);
  EXPECT_EQ(machine->config<std::uint8_t>(36), 0u);
  machine->guest.put(Machine::kConfig + 36, std::uint8_t{1});
  EXPECT_EQ(reach(*disk, kTarget), DmaFault::kNone);
  EXPECT_EQ(reach(*nic, kTarget), DmaFault::kNone);
}

TEST_F(VirtioIommuTest, ABypassDomainHasNoMappings) {
  make();
  EXPECT_EQ(attach(3, kDisk, 1), kOk);
  EXPECT_EQ(reach(*disk, kTarget), DmaFault::kNone);
  EXPECT_EQ(attach(3, kNic), kInvalid);
  EXPECT_EQ(map(3, kIova, kIova + 0xfff, kTarget), kInvalid);
  EXPECT_EQ(unmap(3, kIova, kIova + 0xfff), kInvalid);
  EXPECT_EQ(detach(3, kDisk), kOk);
  EXPECT_EQ(reach(*disk, kTarget), DmaFault::kTranslation);
}

TEST_F(VirtioIommuTest, AProbeNamesTheReservedRanges) {
  make({.reserved = {{0x80000, 0x8ffff}, {0xf0000, 0xfffff}}});
  Words words(18);
  words[0] = 5;
  words[1] = kDisk.value;
  EXPECT_EQ(request(words, 68), kOk);
  EXPECT_EQ(machine->written(0), 68u);
  EXPECT_EQ(machine->guest.get<std::uint32_t>(kWritable), 20u << 16 | 1);
  EXPECT_EQ(machine->guest.get<std::uint64_t>(kWritable + 8), 0x80000u);
  EXPECT_EQ(machine->guest.get<std::uint64_t>(kWritable + 24 + 16), 0xfffffu);
  EXPECT_EQ(machine->guest.get<std::uint64_t>(kWritable + 48), 0u);
  EXPECT_EQ(request(words, 67), kInvalid);
  EXPECT_EQ(request(words, 4), kInvalid);
  words[1] = 77;
  EXPECT_EQ(request(words, 68), kNoEntry);
}

TEST_F(VirtioIommuTest, AProbeThatIsRefusedWritesWhatItSaysItDid) {
  make();
  Words words(18);
  words[0] = 5;
  words[1] = 77;
  for (const std::uint32_t room : {68u, 67u, 5u}) {
    EXPECT_EQ(request(words, room), room == 68 ? kNoEntry : kInvalid);
    EXPECT_EQ(machine->written(0), room);
    EXPECT_EQ(machine->guest.bytes(kWritable, room - 4), std::vector<std::byte>(room - 4));
  }
  // Half of the properties cannot be written: what is behind the hole does not count.
  words[1] = kDisk.value;
  machine->guest.put_bytes(kReadable, std::as_bytes(std::span(words)));
  machine->request(0, {{kReadable, 72, 0, 0},
                       {kWritable, 32, kWrite, 0},
                       {Machine::kHole, 32, kWrite, 0},
                       {kWritable + 32, 4, kWrite, 0}});
  EXPECT_EQ(machine->written(0), 32u);
  EXPECT_EQ(machine->guest.get<std::uint32_t>(kWritable + 32), std::uint32_t{kIoError});
}

TEST_F(VirtioIommuTest, TheWholeAddressSpaceIsOneMapping) {
  make();
  attach(1, kDisk);
  EXPECT_EQ(map(1, 0, UINT64_MAX, 0), kOk);
  EXPECT_EQ(reach(*disk, kTarget), DmaFault::kNone);
  EXPECT_EQ(unmap(1, 0, UINT64_MAX - 1), kRange);
  EXPECT_EQ(unmap(1, 0, UINT64_MAX), kOk);
  EXPECT_EQ(reach(*disk, kTarget), DmaFault::kTranslation);
}

TEST_F(VirtioIommuTest, MappingsAndTablesAreBounded) {
  make({.max_mappings = 4}, {.max_table_bytes = 64 << 10});
  attach(1, kDisk);
  for (std::uint64_t i = 0; i < 4; ++i) {
    EXPECT_EQ(map(1, i * 0x1000, i * 0x1000 + 0xfff, kTarget), kOk);
  }
  EXPECT_EQ(map(1, 0x4000, 0x4fff, kTarget), kNoMemory);
  EXPECT_EQ(unmap(1, 0, 0x3fff), kOk);
  EXPECT_EQ(map(1, 0x1000, (std::uint64_t{1} << 40) + 0xfff, 0), kNoMemory);  // small pages all
  EXPECT_EQ(map(1, 0x1000, 0x1fff, kTarget), kOk);
  EXPECT_EQ(reach(*disk, 0x1000), DmaFault::kNone);
  attach(2, kNic);
  EXPECT_EQ(detach(1, kDisk), kOk);
  for (std::uint64_t i = 0; i < 4; ++i) {
    EXPECT_EQ(map(2, i * 0x1000, i * 0x1000 + 0xfff, kTarget), kOk);
  }
}

TEST_F(VirtioIommuTest, AResetDetachesEverything) {
  make();
  attach(1, kDisk);
  map(1, kIova, kIova + 0xfff, kTarget);
  machine->set_reg(0x70, 0);
  EXPECT_EQ(reach(*disk, kIova), DmaFault::kTranslation);
  machine->start(kAllFeatures);
  EXPECT_EQ(map(1, kIova, kIova + 0xfff, kTarget), kNoEntry);
  EXPECT_EQ(attach(1, kDisk), kOk);
  EXPECT_EQ(reach(*disk, kIova), DmaFault::kTranslation);
}

TEST_F(VirtioIommuTest, AFaultIsAnEvent) {
  make();
  offer_events(4);
  EXPECT_EQ(machine->used(1), 0);
  reach(*disk, 0x123456);
  EXPECT_EQ(machine->line.level(), Level::kHigh);  // the event itself comes with the next access
  machine->acknowledge();
  EXPECT_EQ(machine->used(1), 1);
  EXPECT_EQ(machine->written(1), 24u);
  EXPECT_EQ(event<std::uint32_t>(0), 1u);
  EXPECT_EQ(event<std::uint32_t>(4), 0x102u);
  EXPECT_EQ(event<std::uint32_t>(8), kDisk.value);
  EXPECT_EQ(event<std::uint64_t>(16), 0x123456u);
  attach(1, kNic);
  std::uint32_t value = 0;
  nic->load(0x5000, value);
  machine->acknowledge();
  EXPECT_EQ(event<std::uint32_t>(0, 1), 2u);
  EXPECT_EQ(event<std::uint32_t>(4, 1), 0x101u);
}

TEST_F(VirtioIommuTest, FaultsWaitForBuffers) {
  make({}, {.fault_queue = 4});
  for (std::uint64_t i = 0; i < 6; ++i) reach(*disk, 0x1000 * i);
  EXPECT_EQ(iommu->lost_faults(), 2u);
  offer_events(8);
  EXPECT_EQ(machine->used(1), 4);
  for (std::uint64_t i = 0; i < 4; ++i) EXPECT_EQ(event<std::uint64_t>(16, i), 0x1000 * i);
  EXPECT_EQ(machine->line.level(), Level::kHigh);
}

TEST_F(VirtioIommuTest, WithoutBuffersNobodyIsInterrupted) {
  make();
  for (int i = 0; i < 3; ++i) {
    reach(*disk, 0);
    EXPECT_EQ(machine->line.rises(), 0);
  }
  offer_events(1);
  EXPECT_EQ(machine->used(1), 1);
  machine->acknowledge();
  for (int i = 0; i < 3; ++i) reach(*disk, 0);
  EXPECT_EQ(machine->line.rises(), 1);
}

TEST_F(VirtioIommuTest, EventsGoPastBuffersThatCannotHoldThem) {
  make();
  machine->rings[1].describe(0, {kEvents, 23, kWrite, 0});
  machine->rings[1].describe(1, {Machine::kHole, 24, kWrite, 0});
  machine->rings[1].describe(2, {kEvents, 24, 0, 0});
  machine->rings[1].describe(3, {kEvents, 64, kWrite, 0});
  for (std::uint16_t i = 0; i < 4; ++i) machine->rings[1].offer(i);
  reach(*disk, 0x4000);
  machine->kick(1);
  EXPECT_EQ(machine->used(1), 4);
  for (std::uint16_t i = 0; i < 4; ++i) {
    EXPECT_EQ(machine->rings[1].used_entry(i).written, i == 3 ? 24u : 0u);
  }
  EXPECT_EQ(event<std::uint64_t>(16), 0x4000u);
  EXPECT_FALSE(machine->needs_reset());
}

TEST_F(VirtioIommuTest, OtherDevicesAndTheDriverBeforeGiveNoEvents) {
  make();
  EXPECT_TRUE(iommu->add_device({1}).ok());
  DmaSpace other(*machine->guest.memory, *iommu, {1});
  reach(other, 0);
  reach(*disk, 0);
  machine->start(kAllFeatures);
  offer_events(4);
  EXPECT_EQ(machine->used(1), 0);
}

TEST_F(VirtioIommuTest, FaultsOfManyThreadsAreAllToldOrCounted) {
  constexpr int kThreads = 2;
  constexpr std::uint16_t kFaults = 400;
  make({}, {.fault_queue = 2 * kFaults});
  std::vector<std::thread> threads;
  offer_events(16);
  for (int i = 0; i < kThreads; ++i) {
    threads.emplace_back([&] {
      for (int n = 0; n < kFaults; ++n) reach(*disk, 0x1000);
    });
  }
  int told = 0;
  const auto collect = [&] {
    machine->acknowledge();
    for (; told < machine->used(1); ++told) {
      machine->rings[1].offer(static_cast<std::uint16_t>(told % 16));
    }
    machine->kick(1);
  };
  for (int i = 0; i < 100; ++i) collect();
  for (std::thread& thread : threads) thread.join();
  for (int i = 0; i < 100; ++i) collect();
  EXPECT_EQ(told, kThreads * kFaults);
}

TEST_F(VirtioIommuTest, EndpointsOfOneIommuHaveOneMaster) {
  make();
  const std::array again{kNic};
  EXPECT_EQ(VirtioIommu::create(*iommu, again).status().code(), absl::StatusCode::kAlreadyExists);
  EXPECT_EQ(reach(*nic, 0), DmaFault::kTranslation);
  machine.reset();
  EXPECT_TRUE(VirtioIommu::create(*iommu, again).ok());
  EXPECT_FALSE(VirtioIommu::create(*iommu, {}, {.input = {2, 1}}).ok());
  EXPECT_FALSE(VirtioIommu::create(*iommu, {}, {.reserved = {{2, 1}}}).ok());
}

// Whatever is asked for, each request is given back, and a good one still works.
TEST_F(VirtioIommuTest, RandomRequestsAreAllGivenBack) {
  make({.max_mappings = 100}, {.max_table_bytes = 1 << 20});
  std::mt19937_64 random(1);
  const auto pick = [&](std::initializer_list<std::uint64_t> list) {
    return list.begin()[random() % list.size()];
  };
  for (std::uint16_t i = 1; i <= 4000; ++i) {
    Words words;
    const auto type = static_cast<std::uint32_t>(random() % 7);
    words = Words{type, static_cast<std::uint32_t>(random() % 3)};
    if (type == 1 || type == 2) {
      words.push_back(static_cast<std::uint32_t>(random() % 3 + 8));
      words.push_back(static_cast<std::uint32_t>(random() % 8 == 0));
      words.push_back(0);
    } else {
      const std::uint64_t first = pick({0, 0x1000, 0x200000, 1ull << 40, ~0xfffull, random()});
      words = words + first + (first + pick({0xfff, 0x1fffff, 1ull << 50, ~first, random()})) +
              pick({0, 0x1000, kTarget, random()});
      words.push_back(static_cast<std::uint32_t>(random() % 9));
    }
    if (random() % 16 == 0) words.resize(random() % words.size() + 1);
    request(words, static_cast<std::uint32_t>(random() % 16 + 1));
    ASSERT_EQ(machine->used(0), i);
    if (i % 64 == 0) reach(*disk, random() & 0x3fffff);
  }
  EXPECT_FALSE(machine->needs_reset());
  machine->start(kAllFeatures);
  EXPECT_EQ(iommu->table_bytes(), 0u);
  attach(1, kDisk);
  map(1, kIova, kIova + 0xfff, kTarget);
  EXPECT_EQ(reach(*disk, kIova), DmaFault::kNone);
}

}  // namespace
}  // namespace vm_device
