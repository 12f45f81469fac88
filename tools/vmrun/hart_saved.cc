#include "tools/vmrun/hart_saved.h"

#include <utility>

#include "tools/vmrun/csr.h"
#include "tools/vmrun/csr_number.h"
#include "tools/vmrun/pmp.h"

namespace vmrun {
namespace {

// So far that no sum of all harts' overflows.
constexpr std::uint64_t kMostInstructions = std::uint64_t{1} << 60;

template <typename Archive, typename Csrs>
void csr_fields(Archive& archive, Csrs& csrs) {
  archive(csrs.fflags, csrs.frm, csrs.mstatus, csrs.mie, csrs.mtvec, csrs.mscratch, csrs.mepc,
          csrs.mcause, csrs.mtval, csrs.mcounteren, csrs.menvcfg, csrs.medeleg, csrs.mideleg,
          csrs.mip, csrs.stvec, csrs.sscratch, csrs.sepc, csrs.scause, csrs.stval, csrs.scounteren,
          csrs.senvcfg, csrs.satp, csrs.pmpcfg, csrs.pmpaddr, csrs.mcycle_offset,
          csrs.minstret_offset);
}

template <typename Archive, typename Hart>
void fields(Archive& archive, Hart& hart) {
  archive(hart.number, hart.x, hart.f, hart.pc);
  archive.choice(hart.privilege, Privilege::kMachine);
  csr_fields(archive, hart.csrs);
  archive(hart.reservation.address, hart.reservation.value, hart.reservation.bytes);
  Clock::fields(archive, hart.clock);
}

// Whether software could have brought the registers there: written by their own rules, they
// stay what they are.
bool can_be(const Csrs& csrs) {
  HartState probe;
  const std::pair<std::uint16_t, std::uint64_t> writes[] = {
      {kMstatus, csrs.mstatus}, {kMie, csrs.mie},
      {kMtvec, csrs.mtvec},     {kMscratch, csrs.mscratch},
      {kMepc, csrs.mepc},       {kMcause, csrs.mcause},
      {kMtval, csrs.mtval},     {kMcounteren, csrs.mcounteren},
      {kMenvcfg, csrs.menvcfg}, {kMedeleg, csrs.medeleg},
      {kMideleg, csrs.mideleg}, {kMip, csrs.mip},
      {kStvec, csrs.stvec},     {kSscratch, csrs.sscratch},
      {kSepc, csrs.sepc},       {kScause, csrs.scause},
      {kStval, csrs.stval},     {kScounteren, csrs.scounteren},
      {kSenvcfg, csrs.senvcfg}, {kSatp, csrs.satp},
  };
  for (const auto& [number, value] : writes) {
    if (!write_csr(probe, number, value)) return false;
  }
  // The addresses first: an entry that is locked is not written.
  for (unsigned entry = 0; entry < kPmpEntries; ++entry) {
    write_pmp_address(probe.csrs, entry, csrs.pmpaddr[entry]);
  }
  for (unsigned first = 0; first < kPmpEntries; first += 8) {
    write_pmp_config(probe.csrs, first, read_pmp_config(csrs, first));
  }
  probe.csrs.fflags = csrs.fflags & 31;
  probe.csrs.frm = csrs.frm & 7;
  probe.csrs.mcycle_offset = csrs.mcycle_offset;
  probe.csrs.minstret_offset = csrs.minstret_offset;
  return probe.csrs == csrs;
}

bool can_be(const Reservation& reservation) {
  const unsigned bytes = reservation.bytes;
  return bytes == 0 || ((bytes == 4 || bytes == 8) && reservation.address % bytes == 0);
}

bool can_be(Privilege privilege) {
  return privilege == Privilege::kUser || privilege == Privilege::kSupervisor ||
         privilege == Privilege::kMachine;
}

}  // namespace

void save_hart(const HartState& hart, vm_device::StateWriter& to) { fields(to, hart); }

void load_hart(HartState& hart, vm_device::StateReader& from) {
  const std::uint64_t number = hart.number;
  fields(from, hart);
  from.check(hart.number == number, "another hart");
  from.check(hart.x[0] == 0, "an x0 that is not 0");
  from.check((hart.pc & ~kPcMask) == 0, "an odd pc");
  from.check(can_be(hart.privilege), "no such privilege");
  from.check(can_be(hart.csrs), "CSRs that cannot be");
  from.check(can_be(hart.reservation), "a reservation that cannot be");
  from.check(hart.clock.retired() <= kMostInstructions, "more instructions than can be");
  hart.number = number;
}

}  // namespace vmrun
