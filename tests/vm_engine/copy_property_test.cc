// Random page tables and operations: result, fault record, all memory and the
// device's log agree with the model after every one of them.
#include <gtest/gtest.h>
#include <rapidcheck.h>
#include <rapidcheck/gtest.h>

#include <algorithm>

#include "tests/vm_engine/copy_model.h"
#include "tests/vm_engine/machine.h"

namespace {

using vm_test::CopyModel;
using vm_test::DeviceAccess;
using vm_test::Fault;
using vm_test::Kind;
using vm_test::kPage;
using vm_test::Machine;
using vm_test::Operation;
using vm_test::PageTable;

constexpr std::uint64_t kPages = 12;
constexpr std::uint32_t kOverlap = 3u << 12;

std::uint64_t below(std::uint64_t limit) { return *rc::gen::inRange<std::uint64_t>(0, limit); }
bool one_in(std::uint64_t n) { return below(n) == 0; }

// Every page of memory is mapped once at most: what overlaps under two virtual
// addresses is left open by the contract.
void map_pages(PageTable& table, std::uint64_t base) {
  std::vector<std::uint64_t> pool;
  for (unsigned i = 0; i < 8; ++i) pool.push_back(Machine::kRam + i * kPage);
  for (unsigned i = 0; i < 4; ++i) pool.push_back(Machine::kTracked + i * kPage);
  pool.insert(pool.end(), {Machine::kBehind, Machine::kBehind + kPage, Machine::kRom,
                           Machine::kDevice, Machine::kDevice + kPage});
  if (one_in(2)) pool.insert(pool.end(), {0x1000, Machine::kRom + kPage});
  for (std::uint64_t i = 0; i < kPages; ++i) {
    if (one_in(12)) continue;
    const std::size_t pick = below(pool.size());
    const auto permitted = one_in(8) ? static_cast<std::uint32_t>(below(8)) : vm_test::kAllAccess;
    table.pages[base + i * kPage] = {pool[pick], permitted};
    pool.erase(pool.begin() + static_cast<std::ptrdiff_t>(pick));
  }
}

std::uint64_t some_address(std::uint64_t base) {
  const std::uint64_t page = base + below(kPages) * kPage;
  return one_in(2) ? page + below(kPage) : page + below(64) - 32;
}

std::uint32_t some_flags() {
  std::uint32_t flags = static_cast<std::uint32_t>(below(4)) << VME_ELEM_SHIFT;
  if (one_in(3)) flags |= VME_BACKWARD;
  if (one_in(2)) flags |= VME_OVERLAP_PROPAGATE;
  if (one_in(8)) flags |= VME_ATOMIC_OR_NOTHING;
  if (one_in(3)) flags |= VME_POLL;
  if (one_in(6)) flags |= VME_NO_MMIO;
  if (one_in(6)) flags |= VME_ONCE;
  if (one_in(8))
    flags |= VME_ORDER_TSO_ELEM;
  else if (one_in(8))
    flags |= VME_ORDER_ACQREL_ENDS;
  if (one_in(30)) flags ^= 1u << below(22);
  return flags;
}

Operation some_operation(std::uint64_t base) {
  Operation operation;
  operation.kind = static_cast<Kind>(below(4));
  operation.destination = some_address(base);
  operation.source = one_in(2) ? operation.destination + below(200) - 100 : some_address(base);
  operation.flags = some_flags();
  const unsigned log2 = (operation.flags >> VME_ELEM_SHIFT) & 7;
  operation.bytes = below(one_in(2) ? 100 : 3 * kPage) >> log2 << log2;
  if (one_in(30)) operation.bytes += 1;
  operation.pattern = *rc::gen::arbitrary<std::uint64_t>();
  const std::uint64_t apart = operation.destination - operation.source;
  const bool disjoint = apart >= operation.bytes && -apart >= operation.bytes;
  const bool claims = (operation.flags & kOverlap) == VME_OVERLAP_DISJOINT;
  if (claims || one_in(4)) {
    operation.flags =
        (operation.flags & ~kOverlap) | (disjoint ? VME_OVERLAP_DISJOINT : VME_OVERLAP_MEMMOVE);
  }
  return operation;
}

std::uint64_t run(vme_cpu* cpu, const Operation& op, std::vector<std::byte>& host) {
  switch (op.kind) {
    case Kind::kCopy: return vme_copy(cpu, op.destination, op.source, op.bytes, op.flags);
    case Kind::kFill: return vme_fill(cpu, op.destination, op.pattern, op.bytes, op.flags);
    case Kind::kRead: return vme_read(cpu, host.data(), op.source, op.bytes, op.flags);
    case Kind::kWrite: return vme_write(cpu, op.destination, host.data(), op.bytes, op.flags);
  }
  return op.bytes;
}

Fault fault_of(const vme_cpu& cpu) {
  const vme_fault& f = cpu.fault;
  return {f.rc, f.access, f.side, f.gva, f.gpa, f.acc_gva, f.acc_size, f.done};
}

void check_one(Machine& m, CopyModel& model, std::uint64_t base) {
  const Operation operation = some_operation(base);
  RC_LOG() << operation << std::endl;
  const auto refused = one_in(4) ? below(2 * kPage) : ~std::uint64_t{0};
  m.device.refused_offset = model.device().refused_offset = refused;
  model.exit_requested = one_in(3);
  m.cpu->exit_request = model.exit_requested ? 1 : 0;
  auto host = vm_test::noise(operation.bytes + 1, static_cast<unsigned>(operation.pattern));
  auto model_host = host;

  const std::uint64_t left = run(m.cpu.get(), operation, host);
  RC_ASSERT(left == model.run(operation, model_host));
  if (left != 0) RC_ASSERT(fault_of(*m.cpu) == model.fault());
  RC_ASSERT(host == model_host);
  RC_ASSERT(m.device.log == model.device_log());
  for (const auto& [gpa, bytes] : model.memory()) RC_ASSERT(m.bytes(gpa, kPage) == bytes);
}

void check_sequence(std::uint64_t base) {
  PageTable table;
  map_pages(table, base);
  Machine m(table);
  for (const std::uint64_t gpa : {Machine::kRam, Machine::kTracked}) {
    m.put(gpa, vm_test::noise(4 * kPage, static_cast<unsigned>(below(1000))));
  }
  CopyModel model(table, m);
  for (int i = 0; i < 30; ++i) {
    check_one(m, model, base);
    if (!one_in(3)) continue;
    table.pages.clear();
    map_pages(table, base);
    vme_tlb_flush(m.cpu.get());
  }
}

RC_GTEST_PROP(CopyPropertyTest, AgreesWithTheModel, ()) { check_sequence(0x7000'0000); }

RC_GTEST_PROP(CopyPropertyTest, AgreesWithTheModelAroundTheTop, ()) {
  check_sequence(std::uint64_t{0} - 6 * kPage);
}

}  // namespace
