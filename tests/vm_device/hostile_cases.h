// What a driver can get wrong, case by case: rings, descriptors, buffers, requests.
#ifndef TESTS_VM_DEVICE_HOSTILE_CASES_H_
#define TESTS_VM_DEVICE_HOSTILE_CASES_H_

#include <optional>

#include "tests/vm_device/hostile_machine.h"

namespace vm_device {

inline constexpr unsigned kSplitForm = 1;
inline constexpr unsigned kPackedForm = 2;
inline constexpr unsigned kBothForms = 3;

inline constexpr int kUnanswered = 0xee;
inline constexpr int kAnyStatus = -1;

struct HostileCase {
  const char* name;
  unsigned forms;
  std::optional<VirtqueueError> error;  // kNone: answered; without one, either
  int status;
  void (*offer)(HostileMachine&);
};

namespace hostile {

inline constexpr std::uint32_t kDataBytes = 1024;
inline constexpr std::uint64_t kNowhere = 0x1000;

inline RawDescriptor read_data() { return BlkMachine::data(kDataBytes, kWrite); }
inline RawDescriptor write_data() { return BlkMachine::data(kDataBytes, 0); }
inline RawDescriptor header() { return BlkMachine::header(); }
inline RawDescriptor status() { return BlkMachine::status(); }

inline const HostileCase kCases[] = {
    {"HeadPastTheTable", kSplitForm, VirtqueueError::kHeadOutOfRange, kUnanswered,
     [](HostileMachine& m) { m.ring.offer(HostileMachine::kSize); }},
    {"HeadFarPastTheTable", kSplitForm, VirtqueueError::kHeadOutOfRange, kUnanswered,
     [](HostileMachine& m) { m.ring.offer(0xffff); }},
    {"NextPastTheTable", kSplitForm, VirtqueueError::kNextOutOfRange, kUnanswered,
     [](HostileMachine& m) {
       m.ring.describe(0, {BlkMachine::kHeader, 16, kNext, HostileMachine::kSize});
       m.ring.offer(0);
     }},
    {"Loop", kSplitForm, VirtqueueError::kLoop, kUnanswered,
     [](HostileMachine& m) {
       m.ring.describe(0, {BlkMachine::kHeader, 16, kNext, 1});
       m.ring.describe(1, {BlkMachine::kHeader, 16, kNext, 0});
       m.ring.offer(0);
     }},
    {"SelfLoop", kSplitForm, VirtqueueError::kLoop, kUnanswered,
     [](HostileMachine& m) {
       m.ring.describe(0, {BlkMachine::kData, 512, kNext | kWrite, 0});
       m.ring.offer(0);
     }},
    {"LoopOfHugeLengths", kSplitForm, VirtqueueError::kLoop, kUnanswered,
     [](HostileMachine& m) {
       m.ring.describe(0, {kRamBase, UINT32_MAX, kNext | kWrite, 0});
       m.ring.offer(0);
     }},
    {"AvailableJump", kSplitForm, VirtqueueError::kAvailableJump, kUnanswered,
     [](HostileMachine& m) { m.ring.set_available_index(HostileMachine::kSize + 1); }},
    {"AvailableIndexBehind", kSplitForm, VirtqueueError::kAvailableJump, kUnanswered,
     [](HostileMachine& m) { m.ring.set_available_index(0xffff); }},
    {"WriteBeforeRead", kBothForms, VirtqueueError::kReadAfterWrite, kUnanswered,
     [](HostileMachine& m) {
       m.blk.put_header(0, 0);
       m.offer_chain({read_data(), header(), status()});
     }},
    {"DataWraps", kBothForms, VirtqueueError::kAddressWrap, kUnanswered,
     [](HostileMachine& m) {
       m.offer_read(header(), {UINT64_MAX - 511, 1024, kWrite, 0}, status());
     }},
    {"NoStatus", kBothForms, VirtqueueError::kUnanswerable, kUnanswered,
     [](HostileMachine& m) {
       m.blk.put_header(1, 0);
       m.offer_chain({header(), BlkMachine::data(512, 0)});
     }},
    {"ReadOnlyStatus", kBothForms, VirtqueueError::kUnanswerable, kUnanswered,
     [](HostileMachine& m) {
       m.blk.put_header(4, 0);
       m.offer_chain({header(), {BlkMachine::kStatus, 1, 0, 0}});
     }},
    {"EmptyStatus", kBothForms, VirtqueueError::kUnanswerable, kUnanswered,
     [](HostileMachine& m) {
       m.blk.put_header(4, 0);
       m.offer_chain({header(), {BlkMachine::kStatus, 0, kWrite, 0}});
     }},
    {"StatusOutOfRam", kBothForms, VirtqueueError::kUnanswerable, kUnanswered,
     [](HostileMachine& m) {
       m.offer_read(header(), read_data(), {0x1000, 1, kWrite, 0});
     }},
    {"StatusJustPastRam", kBothForms, VirtqueueError::kUnanswerable, kUnanswered,
     [](HostileMachine& m) {
       m.offer_read(header(), read_data(), {kRamEnd, 1, kWrite, 0});
     }},
    {"StatusInTheLastByteOfRam", kBothForms, VirtqueueError::kNone, kUnanswered,
     [](HostileMachine& m) {
       m.offer_read(header(), read_data(), {kRamEnd - 1, 1, kWrite, 0});
     }},
    {"StatusInTheDevicesOwnRegisters", kBothForms, VirtqueueError::kUnanswerable, kUnanswered,
     [](HostileMachine& m) {
       m.offer_read(header(), read_data(), {kSlot + 0x70, 1, kWrite, 0});
     }},
    {"DataInTheDevicesOwnRegisters", kBothForms, VirtqueueError::kNone, 1,
     [](HostileMachine& m) {
       m.offer_read(header(), {kSlot, 512, kWrite, 0}, status());
     }},
    {"HeaderInTheDevicesOwnRegisters", kBothForms, VirtqueueError::kNone, 1,
     [](HostileMachine& m) {
       m.offer_read({kSlot, 16, 0, 0}, read_data(), status());
     }},
    {"HeaderOutOfRam", kBothForms, VirtqueueError::kNone, 1,
     [](HostileMachine& m) {
       m.offer_read({0x1000, 16, 0, 0}, read_data(), status());
     }},
    {"HeaderTooShort", kBothForms, VirtqueueError::kNone, 1,
     [](HostileMachine& m) {
       m.offer_read({BlkMachine::kHeader, 15, 0, 0}, read_data(), status());
     }},
    {"NoHeader", kBothForms, VirtqueueError::kNone, 1,
     [](HostileMachine& m) {
       m.offer_chain({read_data(), status()});
     }},
    {"DataOutOfRam", kBothForms, VirtqueueError::kNone, 1,
     [](HostileMachine& m) {
       m.offer_read(header(), {0x1000, 1024, kWrite, 0}, status());
     }},
    {"DataAcrossTheEndOfRam", kBothForms, VirtqueueError::kNone, 1,
     [](HostileMachine& m) {
       m.offer_read(header(), {kRamEnd - 1023, 1024, kWrite, 0}, status());
     }},
    {"DataThatEndsWithRam", kBothForms, VirtqueueError::kNone, 0,
     [](HostileMachine& m) {
       m.offer_read(header(), {kRamEnd - 1024, 1024, kWrite, 0}, status());
     }},
    {"DataOfLengthZero", kBothForms, VirtqueueError::kNone, 0,
     [](HostileMachine& m) {
       m.offer_read(header(), {BlkMachine::kData, 0, kWrite, 0}, status());
     }},
    {"DataOfFourGiB", kBothForms, VirtqueueError::kNone, 1,
     [](HostileMachine& m) {
       m.offer_read(header(), {BlkMachine::kData, UINT32_MAX, kWrite, 0}, status());
     }},
    {"DataOfManyTimesFourGiB", kBothForms, VirtqueueError::kNone, 1,
     [](HostileMachine& m) {
       const RawDescriptor huge{BlkMachine::kData, 0x8000'0000, kWrite, 0};
       m.blk.put_header(0, 0);
       m.offer_chain({header(), huge, huge, status()});
     }},
    {"EverythingOfLengthZero", kBothForms, VirtqueueError::kUnanswerable, kUnanswered,
     [](HostileMachine& m) {
       m.offer_chain({{0, 0, 0, 0}, {0, 0, kWrite, 0}});
     }},
    {"IndirectNested", kSplitForm, VirtqueueError::kIndirectNested, kUnanswered,
     [](HostileMachine& m) {
       m.write_table(HostileMachine::kTable, {{HostileMachine::kTable + 256, 32, kIndirect, 0}});
       m.offer_indirect(HostileMachine::kTable, 16);
     }},
    {"IndirectThatNamesItself", kSplitForm, VirtqueueError::kIndirectNested, kUnanswered,
     [](HostileMachine& m) {
       m.write_table(HostileMachine::kTable, {{HostileMachine::kTable, 16, kIndirect, 0}});
       m.offer_indirect(HostileMachine::kTable, 16);
     }},
    {"IndirectOfBadLength", kBothForms, VirtqueueError::kIndirectBadLength, kUnanswered,
     [](HostileMachine& m) { m.offer_indirect(HostileMachine::kTable, 17); }},
    {"IndirectOfLengthZero", kBothForms, VirtqueueError::kIndirectBadLength, kUnanswered,
     [](HostileMachine& m) { m.offer_indirect(HostileMachine::kTable, 0); }},
    {"IndirectHuge", kBothForms, VirtqueueError::kIndirectTooLong, kUnanswered,
     [](HostileMachine& m) { m.offer_indirect(HostileMachine::kTable, 256 << 20); }},
    {"IndirectOutOfRam", kBothForms, VirtqueueError::kIndirectUnreachable, kUnanswered,
     [](HostileMachine& m) { m.offer_indirect(0x1000, 32); }},
    {"IndirectAcrossTheEndOfRam", kBothForms, VirtqueueError::kIndirectUnreachable, kUnanswered,
     [](HostileMachine& m) { m.offer_indirect(kRamEnd - 16, 32); }},
    {"IndirectThatEndsWithRam", kBothForms, VirtqueueError::kNone, 0,
     [](HostileMachine& m) {
       m.write_table(kRamEnd - 48, {header(), read_data(), status()});
       m.offer_indirect(kRamEnd - 48, 48);
     }},
    {"IndirectInTheDevicesOwnRegisters", kBothForms, VirtqueueError::kIndirectUnreachable,
     kUnanswered, [](HostileMachine& m) { m.offer_indirect(kSlot, 32); }},
    {"IndirectWithNext", kBothForms, VirtqueueError::kIndirectWithNext, kUnanswered,
     [](HostileMachine& m) {
       m.offer_chain({{HostileMachine::kTable, 32, kIndirect, 0}, status()});
     }},
    {"IndirectLoop", kSplitForm, VirtqueueError::kLoop, kUnanswered,
     [](HostileMachine& m) {
       m.ring.describe_at(HostileMachine::kTable, {BlkMachine::kHeader, 16, kNext, 0});
       m.offer_indirect(HostileMachine::kTable, 32);
     }},
    {"IndirectNextPastTheTable", kSplitForm, VirtqueueError::kNextOutOfRange, kUnanswered,
     [](HostileMachine& m) {
       m.ring.describe_at(HostileMachine::kTable, {BlkMachine::kHeader, 16, kNext, 2});
       m.offer_indirect(HostileMachine::kTable, 32);
     }},
    {"DataOverTheDescriptorTable", kSplitForm, VirtqueueError::kNone, 0,
     [](HostileMachine& m) {
       m.offer_read(header(), {m.ring.table(), 512, kWrite, 0}, status());
     }},
    // The sector that lands there has 0x150e where the index is.
    {"DataOverTheAvailableRing", kSplitForm, VirtqueueError::kAvailableJump, 0,
     [](HostileMachine& m) {
       m.offer_read(header(), {m.ring.available(), 512, kWrite, 0}, status());
     }},
    {"DataOverTheUsedRing", kSplitForm, VirtqueueError::kNone, 0,
     [](HostileMachine& m) {
       m.offer_read(header(), {m.ring.used(), 512, kWrite, 0}, status());
     }},
    {"StatusOverTheAvailableIndex", kSplitForm, VirtqueueError::kAvailableJump, kUnanswered,
     [](HostileMachine& m) {
       m.offer_read(header(), read_data(), {m.ring.available() + 2, 1, kWrite, 0});
     }},
};

inline const HostileCase kMoreCases[] = {
    {"LoopThroughTheWholeTable", kSplitForm, VirtqueueError::kLoop, kUnanswered,
     [](HostileMachine& m) {
       for (std::uint16_t i = 0; i < HostileMachine::kSize; ++i) {
         m.ring.describe(i, {BlkMachine::kHeader, 16, kNext,
                             static_cast<std::uint16_t>((i + 1) % HostileMachine::kSize)});
       }
       m.ring.offer(0);
     }},
    {"NextIs65535", kSplitForm, VirtqueueError::kNextOutOfRange, kUnanswered,
     [](HostileMachine& m) {
       m.ring.describe(0, {BlkMachine::kHeader, 16, kNext, 0xffff});
       m.ring.offer(0);
     }},
    {"OneHeadTwice", kSplitForm, VirtqueueError::kNone, 0,
     [](HostileMachine& m) {
       m.offer_read(header(), read_data(), status());
       m.ring.offer(0);
     }},
    {"StatusOverTheUsedIndex", kSplitForm, std::nullopt, kUnanswered,
     [](HostileMachine& m) {
       m.offer_read(header(), read_data(), {m.ring.used() + 2, 1, kWrite, 0});
     }},
    {"IndirectNestedSplit", kSplitForm, VirtqueueError::kIndirectNested, kUnanswered,
     [](HostileMachine& m) {
       m.ring.describe_at(HostileMachine::kTable, {BlkMachine::kHeader, 16, kNext, 1});
       m.ring.describe_at(HostileMachine::kTable + 16, {HostileMachine::kTable, 32, kIndirect, 0});
       m.offer_indirect(HostileMachine::kTable, 32);
     }},
    {"IndirectTableOverTheRing", kBothForms, std::nullopt, kAnyStatus,
     [](HostileMachine& m) { m.offer_indirect(m.ring.table(), 16); }},
    {"IndirectWraps", kBothForms, VirtqueueError::kAddressWrap, kUnanswered,
     [](HostileMachine& m) { m.offer_indirect(UINT64_MAX - 15, 32); }},
    {"IndirectOfFourGiB", kBothForms, VirtqueueError::kIndirectTooLong, kUnanswered,
     [](HostileMachine& m) { m.offer_indirect(HostileMachine::kTable, 0xffff'fff0); }},
    {"HeaderWraps", kBothForms, VirtqueueError::kAddressWrap, kUnanswered,
     [](HostileMachine& m) {
       m.offer_read({UINT64_MAX - 7, 16, 0, 0}, read_data(), status());
     }},
    {"HeaderAcrossTheEndOfRam", kBothForms, VirtqueueError::kNone, 1,
     [](HostileMachine& m) {
       m.offer_read({kRamEnd - 8, 16, 0, 0}, read_data(), status());
     }},
    {"HeaderOfFourGiB", kBothForms, VirtqueueError::kNone, 1,
     [](HostileMachine& m) {
       m.offer_read({BlkMachine::kHeader, UINT32_MAX, 0, 0}, read_data(), status());
     }},
    {"HeaderThatTheDeviceMayWrite", kBothForms, VirtqueueError::kNone, 1,
     [](HostileMachine& m) {
       m.offer_read({BlkMachine::kHeader, 16, kWrite, 0}, read_data(), status());
     }},
    {"DataTheWrongWayRound", kBothForms, VirtqueueError::kNone, 0,
     [](HostileMachine& m) {
       m.blk.put_header(1, 0);  // a write of what the device may only write
       m.offer_chain({header(), read_data(), {BlkMachine::kData, 100, kWrite, 0}, status()});
     }},
    {"WriteFromOutOfRam", kBothForms, VirtqueueError::kNone, 1,
     [](HostileMachine& m) {
       m.blk.put_header(1, 0);
       m.offer_chain({header(), {kNowhere, 1024, 0, 0}, status()});
     }},
    {"WriteFromTheDevicesOwnRegisters", kBothForms, VirtqueueError::kNone, 1,
     [](HostileMachine& m) {
       m.blk.put_header(1, 0);
       m.offer_chain({header(), {kSlot, 512, 0, 0}, status()});
     }},
    {"SectorPastTheDisk", kBothForms, VirtqueueError::kNone, 1,
     [](HostileMachine& m) {
       m.blk.put_header(0, UINT64_MAX);
       m.offer_chain({header(), read_data(), status()});
     }},
    {"TypeOfNoRequest", kBothForms, VirtqueueError::kNone, 2,
     [](HostileMachine& m) {
       m.blk.put_header(UINT32_MAX, 0);
       m.offer_chain({header(), read_data(), status()});
     }},
    {"StatusThatWraps", kBothForms, VirtqueueError::kNone, kUnanswered,
     [](HostileMachine& m) {
       m.offer_read(header(), read_data(), {BlkMachine::kStatus + 1, 1, kWrite, 0});
     }},
    {"StatusSplitFromItsData", kBothForms, VirtqueueError::kNone, 0,
     [](HostileMachine& m) {
       m.blk.put_header(0, 0);
       m.offer_chain({header(),
                      {BlkMachine::kData, 0, kWrite, 0},
                      read_data(),
                      {kNowhere, 0, kWrite, 0},
                      status(),
                      {kNowhere, 0, kWrite, 0}});
     }},
    {"StatusOverItsOwnHeader", kBothForms, VirtqueueError::kNone, kUnanswered,
     [](HostileMachine& m) {
       m.offer_read(header(), read_data(), {BlkMachine::kHeader, 1, kWrite, 0});
     }},
    {"EveryDescriptorEmptyAtTheTopOfTheAddressSpace", kBothForms, VirtqueueError::kUnanswerable,
     kUnanswered,
     [](HostileMachine& m) {
       m.offer_chain({{UINT64_MAX, 0, 0, 0}, {UINT64_MAX, 0, kWrite, 0}});
     }},
    {"DataInTheDevicesRegistersOfAMegabyte", kBothForms, VirtqueueError::kNone, 1,
     [](HostileMachine& m) {
       m.offer_read(header(), {kSlot, 512 * 64, kWrite, 0}, status());
     }},
    {"BufferIdPastTheQueue", kPackedForm, VirtqueueError::kBufferIdOutOfRange, kUnanswered,
     [](HostileMachine& m) {
       m.blk.put_header(4, 0);
       m.describe_packed(1, status(), HostileMachine::kSize);
       m.describe_packed(0, {BlkMachine::kHeader, 16, kNext, 0}, 0);
     }},
    {"BufferId65535", kPackedForm, VirtqueueError::kBufferIdOutOfRange, kUnanswered,
     [](HostileMachine& m) {
       m.blk.put_header(4, 0);
       m.describe_packed(1, status(), 0xffff);
       m.describe_packed(0, {BlkMachine::kHeader, 16, kNext, 0}, 0);
     }},
    {"BufferIdPastTheQueueOfAnIndirectTable", kPackedForm, VirtqueueError::kBufferIdOutOfRange,
     kUnanswered,
     [](HostileMachine& m) {
       m.write_table(HostileMachine::kTable, {header(), read_data(), status()});
       m.blk.put_header(0, 0);
       m.describe_packed(0, {HostileMachine::kTable, 48, kIndirect, 0}, HostileMachine::kSize);
     }},
    {"OneBufferIdTwice", kPackedForm, VirtqueueError::kNone, 0,
     [](HostileMachine& m) {
       m.offer_read(header(), read_data(), status());
       m.offer_read(header(), read_data(), status());
     }},
    {"ChainWithoutEnd", kPackedForm, VirtqueueError::kLoop, kUnanswered,
     [](HostileMachine& m) {
       for (std::uint16_t i = 0; i < HostileMachine::kSize; ++i) {
         m.describe_packed(i, {BlkMachine::kData, 64, kNext | kWrite, 0}, 0);
       }
     }},
    // It ends in what the device has written of the first one.
    {"ChainIntoARequestBeforeIt", kPackedForm, std::nullopt, kAnyStatus,
     [](HostileMachine& m) {
       m.offer_read(header(), read_data(), status());
       m.allow(BlkMachine::kHeader, kDataBytes + 1);
       for (std::uint16_t i = 3; i < HostileMachine::kSize; ++i) {
         m.describe_packed(i, {BlkMachine::kData, 64, kNext | kWrite, 0}, 0);
       }
     }},
    {"IndirectBehindAnotherDescriptor", kPackedForm, VirtqueueError::kIndirectWithNext, kUnanswered,
     [](HostileMachine& m) {
       m.blk.put_header(0, 0);
       m.offer_chain({header(), {HostileMachine::kTable, 32, kIndirect, 0}});
     }},
    // Flags of the table but WRITE mean nothing: a readable buffer, and no place to answer.
    {"IndirectInAnIndirectTable", kPackedForm, VirtqueueError::kUnanswerable, kUnanswered,
     [](HostileMachine& m) {
       m.write_table(HostileMachine::kTable, {{HostileMachine::kTable, 16, kIndirect | kNext, 0}});
       m.offer_indirect(HostileMachine::kTable, 16);
     }},
    {"DataOverThePackedRing", kPackedForm, std::nullopt, kAnyStatus,
     [](HostileMachine& m) {
       m.offer_read(header(), {m.ring.table(), 512, kWrite, 0}, status());
     }},
    {"StatusOverTheFlagsOfTheNextDescriptor", kPackedForm, std::nullopt, kUnanswered,
     [](HostileMachine& m) {
       m.offer_read(header(), read_data(), {m.ring.table() + 16 * 3 + 14, 1, kWrite, 0});
     }},
    {"StatusOverItsOwnDescriptor", kPackedForm, std::nullopt, kUnanswered,
     [](HostileMachine& m) {
       m.offer_read(header(), read_data(), {m.ring.table() + 14, 1, kWrite, 0});
     }},
    {"DataOverTheEventStructures", kPackedForm, VirtqueueError::kNone, 0,
     [](HostileMachine& m) {
       m.offer_read(header(), {m.ring.available(), 512, kWrite, 0}, status());
     }},
};

// Behind the IOMMU alone.
inline const HostileCase kIommuCases[] = {
    {"DataAtAnUnmappedIova", kBothForms, VirtqueueError::kNone, 1,
     [](HostileMachine& m) {
       m.offer_read(header(), {HostileMachine::kUnmappedPage, 1024, kWrite, 0}, status());
     }},
    {"DataThatRunsIntoAnUnmappedIova", kBothForms, VirtqueueError::kNone, 1,
     [](HostileMachine& m) {
       m.offer_read(header(), {HostileMachine::kUnmappedPage + 4096 - 512, 1024, kWrite, 0},
                    status());
     }},
    {"DataOnAPageTheDeviceMayOnlyRead", kBothForms, VirtqueueError::kNone, 1,
     [](HostileMachine& m) {
       m.offer_read(header(), {HostileMachine::kReadOnlyPage, 1024, kWrite, 0}, status());
     }},
    {"WriteFromAPageTheDeviceMayOnlyWrite", kBothForms, VirtqueueError::kNone, 1,
     [](HostileMachine& m) {
       m.blk.put_header(1, 0);
       m.offer_chain({header(), {HostileMachine::kWriteOnlyPage, 1024, 0, 0}, status()});
     }},
    {"HeaderAtAnUnmappedIova", kBothForms, VirtqueueError::kNone, 1,
     [](HostileMachine& m) {
       m.offer_read({HostileMachine::kUnmappedPage, 16, 0, 0}, read_data(), status());
     }},
    {"StatusOnAPageTheDeviceMayOnlyRead", kBothForms, VirtqueueError::kUnanswerable, kUnanswered,
     [](HostileMachine& m) {
       m.offer_read(header(), read_data(), {HostileMachine::kReadOnlyPage, 1, kWrite, 0});
     }},
    {"StatusAtAnUnmappedIova", kBothForms, VirtqueueError::kUnanswerable, kUnanswered,
     [](HostileMachine& m) {
       m.offer_read(header(), read_data(), {HostileMachine::kUnmappedPage, 1, kWrite, 0});
     }},
    {"IndirectAtAnUnmappedIova", kBothForms, VirtqueueError::kIndirectUnreachable, kUnanswered,
     [](HostileMachine& m) { m.offer_indirect(HostileMachine::kUnmappedPage, 32); }},
    {"DataUnmappedAfterItWasOffered", kBothForms, VirtqueueError::kNone, 1,
     [](HostileMachine& m) {
       m.offer_read(header(), {HostileMachine::kWriteOnlyPage, 1024, kWrite, 0}, status());
       m.unmap(HostileMachine::kWriteOnlyPage, 4096);
     }},
    {"RingsUnmappedAfterTheyWereReady", kBothForms, VirtqueueError::kRingUnreachable, kUnanswered,
     [](HostileMachine& m) {
       m.offer_read(header(), read_data(), status());
       m.unmap(m.ring.table(), 0x8000);
     }},
    {"RingsMadeReadOnly", kBothForms, VirtqueueError::kRingUnreachable, kAnyStatus,
     [](HostileMachine& m) {
       m.offer_read(header(), read_data(), status());
       m.unmap(m.ring.table(), 0x8000);
       m.map(m.ring.table(), 0x8000, DmaAccess::kRead);
     }},
    {"DeviceDetached", kBothForms, VirtqueueError::kRingUnreachable, kUnanswered,
     [](HostileMachine& m) {
       m.offer_read(header(), read_data(), status());
       EXPECT_TRUE(m.iommu->detach(HostileMachine::kDevice).ok());
     }},
};

}  // namespace hostile
}  // namespace vm_device

#endif  // TESTS_VM_DEVICE_HOSTILE_CASES_H_
