// States of a machine: they go on in another one, and nonsense in them is refused.

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <map>
#include <random>
#include <span>
#include <string>

#include "tests/support/temporary_file.h"
#include "tests/vmrun/assembler.h"
#include "tools/vmrun/machine.h"
#include "tools/vmrun/machine_file.h"
#include "tools/vmrun/script.h"
#include "tools/vmrun/state_hash.h"
#include "vm_device/virtio_rng.h"

namespace vmrun {
namespace {

namespace as = assembler;
using States = std::vector<vm_mem::DeviceState>;
constexpr std::uint64_t kMemoryBytes = kLeastMemoryBytes;

std::unique_ptr<Machine> make(unsigned harts) {
  std::vector<std::unique_ptr<vm_device::VirtioDevice>> devices;
  devices.push_back(std::make_unique<vm_device::VirtioRng>());
  return Machine::create({.memory_bytes = kMemoryBytes,
                          .harts = harts,
                          .disks = {},
                          .console = [](char) {},
                          .devices = std::move(devices)})
      .value();
}

// Sets its timer again and again, counts in x8, and takes what is typed.
std::vector<std::uint32_t> timer_program(std::uint32_t waiting) {
  return {as::u_type(0x10000, 9, 0x37), as::addi(6, 0, 1), as::store(0, 6, 9, 1),  // IER
          as::u_type(0x2004, 5, 0x37), as::u_type(0x200c, 10, 0x37), as::addi(7, 0, 0x80),
          as::csrrw(0, 0x304, 7),
          // Again: mtimecmp = mtime + 100, WFI.
          as::load(3, 11, 10, -8), as::addi(11, 11, 100), as::store(3, 11, 5, 0), waiting,
          as::addi(8, 8, 1), as::load(0, 12, 9, 0), as::jal(0, -24)};
}

// Is interrupted every 7 ticks, and mixes into x18 where.
std::vector<std::uint32_t> interrupted_program() {
  return {as::u_type(0, 5, 0x17), as::addi(5, 5, 0x3c), as::csrrw(0, 0x305, 5),
          as::u_type(0x2004, 6, 0x37), as::u_type(0x200c, 7, 0x37), as::load(3, 28, 7, -8),
          as::addi(28, 28, 7), as::store(3, 28, 6, 0), as::addi(5, 0, 0x80), as::csrrw(0, 0x304, 5),
          as::addi(5, 0, 8), as::csrrs(0, 0x300, 5),
          // Again: a loop of three instructions.
          as::addi(8, 8, 1), as::op(0, 0, 9, 9, 8), as::jal(0, -8),
          // The handler, at 0x3c.
          as::op(0, 0, 18, 18, 8), as::i_type(5, 18, 1, 29, 0x13), as::op(0, 4, 18, 18, 29),
          as::load(3, 28, 7, -8), as::addi(28, 28, 7), as::store(3, 28, 6, 0), as::kMret};
}

class MachineSavedTest : public testing::Test {
 protected:
  static std::unique_ptr<Machine> booted(unsigned harts = 1, std::uint32_t waiting = as::kWfi) {
    auto machine = make(harts);
    boot(*machine, timer_program(waiting));
    return machine;
  }
  static void boot(Machine& machine, const std::vector<std::uint32_t>& program) {
    EXPECT_TRUE(machine.boot({.firmware = {"f", std::as_bytes(std::span(program))}}).ok());
  }
  // Runs for so many timer interrupts of hart 0.
  static void run(Machine& machine, int times) {
    for (int i = 0; i < times; ++i) {
      machine.run(50);
      const std::uint64_t ticks = machine.ticks_to_timer();
      if (!machine.can_wake() && ticks != UINT64_MAX) machine.skip(ticks);
    }
  }
  static absl::Status load(Machine& machine, const States& states) {
    return machine.load_states([&](const std::string& id) -> absl::StatusOr<vm_mem::DeviceState> {
      for (const auto& it : states) {
        if (it.id == id) return it;
      }
      return absl::NotFoundError("none");
    });
  }
  static void copy_memory(Machine& from, Machine& to) {
    std::vector<std::byte> bytes(kMemoryBytes);
    ASSERT_TRUE(from.memory().read(vm_mem::GuestAddress{kRamBase}, bytes).ok());
    ASSERT_TRUE(to.memory().write(vm_mem::GuestAddress{kRamBase}, bytes).ok());
  }
  static std::uint64_t hash(Machine& machine) { return state_hash(machine).value(); }
};

TEST_F(MachineSavedTest, ArmedTimersAndTypedInputGoOn) {
  for (const unsigned harts : {1u, 3u}) {
    const auto machine = booted(harts);
    run(*machine, 7);
    machine->uart().receive('a');
    const auto states = machine->save_states();
    ASSERT_TRUE(states.ok()) << states.status();
    const auto other = make(harts);
    copy_memory(*machine, *other);
    const absl::Status status = load(*other, *states);
    ASSERT_TRUE(status.ok()) << status;
    EXPECT_EQ(other->retired(), machine->retired());
    EXPECT_EQ(other->ticks_to_timer(), machine->ticks_to_timer());
    EXPECT_EQ(other->uart().space(), machine->uart().space());
    for (int i = 0; i < 20; ++i) {
      run(*machine, 1);
      run(*other, 1);
      ASSERT_EQ(hash(*other), hash(*machine)) << harts << ' ' << i;
    }
    EXPECT_GT(machine->hart(0).state().x[8], 10u);
  }
}

TEST_F(MachineSavedTest, ARunThatPausesIsTheSameRun) {
  for (const unsigned harts : {1u, 2u}) {
    const auto whole = booted(harts, as::kNop), parts = booted(harts, as::kNop);
    constexpr std::uint64_t kEnd = 60'000;
    whole->run(kEnd);
    int pauses = 0;
    for (std::uint64_t at = 777; parts->retired() < kEnd; at += 777, ++pauses) {
      parts->pause_at(at);
      parts->run(kEnd - parts->retired());
    }
    EXPECT_EQ(hash(*parts), hash(*whole)) << harts;
    EXPECT_GT(pauses, 5);
  }
}

TEST_F(MachineSavedTest, InterruptsComeWhereTheyWouldHaveComeWithoutThePause) {
  for (const unsigned harts : {1u, 2u}) {
    const auto whole = make(harts), parts = make(harts);
    boot(*whole, interrupted_program());
    boot(*parts, interrupted_program());
    constexpr std::uint64_t kEnd = 60'000;
    whole->run(kEnd);
    for (std::uint64_t at = 777; parts->retired() < kEnd; at += 777) {
      parts->pause_at(at);
      parts->run(kEnd - parts->retired());
    }
    EXPECT_NE(whole->hart(0).state().x[18], 0u);
    EXPECT_EQ(hash(*parts), hash(*whole)) << harts;
  }
}

// DMA of a device that is loaded may go to the CLINT, which asks the hart that runs to stop.
TEST_F(MachineSavedTest, AHartThatThereIsNotIsRefusedBeforeAnyDeviceIsLoaded) {
  const auto machine = booted();
  const auto states = machine->save_states();
  ASSERT_TRUE(states.ok());
  for (const std::size_t field : {8u, 16u}) {  // who comes first, who runs
    States bad = *states;
    const auto its = std::ranges::find(bad, "machine", &vm_mem::DeviceState::id);
    its->bytes[field] = std::byte{9};
    std::erase_if(bad, [](const auto& it) { return it.id == "virtio/0"; });
    const auto other = make(1);
    const absl::Status status = load(*other, bad);
    EXPECT_THAT(std::string(status.message()),
                testing::HasSubstr("state 'machine': byte 32 of 32: a hart that there is not"));
    other->hart().yield();
  }
}

TEST_F(MachineSavedTest, WhatIsMissingCutOffOrLaterIsNamed) {
  const auto machine = booted();
  const auto states = machine->save_states();
  ASSERT_TRUE(states.ok());
  for (std::size_t i = 0; i < states->size(); ++i) {
    const std::string name = "state '" + (*states)[i].id + "': ";
    const auto expect_refused = [&](const States& bad, absl::StatusCode code) {
      const absl::Status status = load(*make(1), bad);
      EXPECT_EQ(status.code(), code) << status;
      EXPECT_TRUE(std::string(status.message()).starts_with(name)) << status;
    };
    States bad = *states;
    bad[i].id = "other";
    expect_refused(bad, absl::StatusCode::kNotFound);
    bad = *states;
    bad[i].version = 2;
    expect_refused(bad, absl::StatusCode::kUnimplemented);
    bad = *states;
    bad[i].bytes.pop_back();
    expect_refused(bad, absl::StatusCode::kDataLoss);
    bad = *states;
    bad[i].bytes.push_back({});
    expect_refused(bad, absl::StatusCode::kDataLoss);
  }
}

// Where it is not refused the machine runs.
TEST_F(MachineSavedTest, NonsenseIsRefusedOrRuns) {
  const auto machine = booted(2);
  run(*machine, 3);
  machine->uart().receive('a');
  const auto states = machine->save_states();
  ASSERT_TRUE(states.ok());
  std::mt19937 random(1);
  std::map<std::string, int> refused;
  const auto other = booted(2);
  for (int i = 0; i < 3000; ++i) {
    States bad = *states;
    auto& [id, version, bytes] = bad[random() % bad.size()];
    for (int count = 1 + i % 3; count > 0; --count) {
      bytes[random() % bytes.size()] = static_cast<std::byte>(random());
    }
    const absl::Status status = load(*other, bad);
    if (status.ok()) {
      other->run(100);
    } else {
      EXPECT_TRUE(std::string(status.message()).starts_with("state '" + id + "': ")) << status;
      ++refused[id];
    }
  }
  for (const char* id : {"cpu/0", "cpu/1", "plic", "uart", "machine", "virtio/0"}) {
    EXPECT_GT(refused[id], 5) << id;
  }
}

// One register after the other, as no software could have left it.
TEST_F(MachineSavedTest, HartsThatCannotBeAreRefused) {
  const auto refused = [](auto change) {
    const auto machine = booted();
    change(machine->hart().state());
    const auto states = machine->save_states();
    const absl::Status status = load(*make(1), *states);
    return !status.ok() && status.code() == absl::StatusCode::kDataLoss;
  };
  EXPECT_FALSE(refused([](HartState&) {}));
  EXPECT_TRUE(refused([](HartState& it) { it.privilege = static_cast<Privilege>(2); }));
  EXPECT_TRUE(refused([](HartState& it) { it.x[0] = 1; }));
  EXPECT_TRUE(refused([](HartState& it) { it.pc |= 1; }));
  EXPECT_TRUE(refused([](HartState& it) { it.csrs.mstatus = 2u << 11; }));
  EXPECT_TRUE(refused([](HartState& it) { it.csrs.satp = std::uint64_t{15} << 60; }));
  EXPECT_TRUE(refused([](HartState& it) { it.csrs.pmpaddr[3] = UINT64_MAX; }));
  EXPECT_TRUE(refused([](HartState& it) { it.csrs.pmpcfg[3] = 0xff & ~1; }));
  EXPECT_TRUE(refused([](HartState& it) { it.csrs.frm = 8; }));
  EXPECT_TRUE(refused([](HartState& it) { it.reservation = {.address = 1, .bytes = 4}; }));
  EXPECT_TRUE(refused([](HartState& it) { it.clock.cell() = UINT64_MAX; }));
  // An entry that is locked can be.
  EXPECT_FALSE(refused([](HartState& it) {
    it.csrs.pmpaddr[3] = 0x1234'5678;
    it.csrs.pmpcfg[3] = 0x9f;
    it.csrs.pmpcfg[4] = 0x89;
  }));
}

// A machine in a file, of which one state is what the test says.
class MachineFileTest : public testing::Test {
 protected:
  absl::Status open_with(const std::string& id, std::vector<std::byte> bytes) {
    const auto machine = make(1);
    MachineSpec spec{.memory_bytes = kMemoryBytes, .harts = 1, .has_rng = true};
    std::map<std::string, std::vector<std::byte>> parts;
    vm_device::StateWriter of_spec, of_session;
    spec.save(of_spec);
    SavedSession{.console_line = "=> "}.save(of_session);
    parts["vmrun"] = std::move(of_spec).take();
    parts["session"] = std::move(of_session).take();
    if (!id.empty()) parts[id] = std::move(bytes);
    States states;
    for (auto& [name, content] : parts) states.push_back({name, 1, content});
    EXPECT_TRUE(save_snapshot(machine->memory(), path(), {.states = states}).ok());
    return MachineFile::open(path()).status();
  }
  std::string path() const { return file.path() + ".saved"; }
  void TearDown() override { std::remove(path().c_str()); }

  vm_test::TemporaryFile file{std::vector<std::byte>(1)};
};

TEST_F(MachineFileTest, NonsenseIsRefusedByName) {
  EXPECT_TRUE(open_with("", {}).ok());
  EXPECT_EQ(open_with("vmrun", {}).message(),
            path() + ": state 'vmrun': byte 0 of 0: the state ends too early");
  EXPECT_EQ(open_with("session", std::vector<std::byte>(40, std::byte{255})).message(),
            path() + ": state 'session': byte 32 of 40: more bytes than there can be");
  EXPECT_EQ(open_with("vmrun", std::vector<std::byte>(26)).message(),
            path() + ": state 'vmrun': byte 26 of 26: no memory that a machine can have");
  const auto machine = make(1);
  ASSERT_TRUE(save_snapshot(machine->memory(), path(), {}).ok());
  EXPECT_EQ(MachineFile::open(path()).status().message(),
            path() + ": a snapshot, but not of a machine of vmrun's");
}

TEST(ScriptTakesOverTest, ALineThatWasBegunIsFinishedAndAPromptIsAnswered) {
  const auto said = [](Script& script) {
    std::string out;
    while (const auto byte = script.say()) out.push_back(*byte);
    return out;
  };
  Script first({"version"});
  for (const char it : std::string("=> ")) first.hear(it);
  EXPECT_EQ(first.unfinished(), std::nullopt);  // nothing of it is typed yet
  EXPECT_EQ(first.say(), 'v');
  EXPECT_EQ(first.unfinished(), "ersion\r");

  Script second({"bdinfo"});
  second.take_over("=> v", "ersion\r");
  EXPECT_EQ(said(second), "ersion\r");
  for (const char it : std::string("ersion\n=> ")) second.hear(it);
  EXPECT_EQ(said(second), "bdinfo\r");

  Script third({"bdinfo"});
  third.take_over("=> ", std::nullopt);
  EXPECT_EQ(said(third), "bdinfo\r");

  Script fourth({"bdinfo"});
  fourth.take_over("Hit any key to stop autoboot:  2 ", std::nullopt);
  EXPECT_EQ(said(fourth), " ");
}

}  // namespace
}  // namespace vmrun
