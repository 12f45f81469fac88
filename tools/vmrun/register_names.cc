#include "tools/vmrun/register_names.h"

#include <algorithm>

#include "tools/vmrun/csr_number.h"

namespace vmrun {
namespace {

constexpr CsrName kCsrNames[] = {
    {kFflags, "fflags"},
    {kFrm, "frm"},
    {kFcsr, "fcsr"},
    {kSstatus, "sstatus"},
    {kSie, "sie"},
    {kStvec, "stvec"},
    {kScounteren, "scounteren"},
    {kSenvcfg, "senvcfg"},
    {kSscratch, "sscratch"},
    {kSepc, "sepc"},
    {kScause, "scause"},
    {kStval, "stval"},
    {kSip, "sip"},
    {kSatp, "satp"},
    {kMstatus, "mstatus"},
    {kMisaNumber, "misa"},
    {kMedeleg, "medeleg"},
    {kMideleg, "mideleg"},
    {kMie, "mie"},
    {kMtvec, "mtvec"},
    {kMcounteren, "mcounteren"},
    {kMenvcfg, "menvcfg"},
    {kMscratch, "mscratch"},
    {kMepc, "mepc"},
    {kMcause, "mcause"},
    {kMtval, "mtval"},
    {kMip, "mip"},
    {kPmpcfg0, "pmpcfg0"},
    {kPmpcfg0 + 2, "pmpcfg2"},
    {kPmpaddr0, "pmpaddr0"},
    {kPmpaddr0 + 1, "pmpaddr1"},
    {kPmpaddr0 + 2, "pmpaddr2"},
    {kPmpaddr0 + 3, "pmpaddr3"},
    {kPmpaddr0 + 4, "pmpaddr4"},
    {kPmpaddr0 + 5, "pmpaddr5"},
    {kPmpaddr0 + 6, "pmpaddr6"},
    {kPmpaddr0 + 7, "pmpaddr7"},
    {kPmpaddr0 + 8, "pmpaddr8"},
    {kPmpaddr0 + 9, "pmpaddr9"},
    {kPmpaddr0 + 10, "pmpaddr10"},
    {kPmpaddr0 + 11, "pmpaddr11"},
    {kPmpaddr0 + 12, "pmpaddr12"},
    {kPmpaddr0 + 13, "pmpaddr13"},
    {kPmpaddr0 + 14, "pmpaddr14"},
    {kPmpaddr0 + 15, "pmpaddr15"},
    {kMcycle, "mcycle"},
    {kMinstret, "minstret"},
    {kCycle, "cycle"},
    {kTime, "time"},
    {kInstret, "instret"},
    {kMhartid, "mhartid"},
};
static_assert(std::is_sorted(std::begin(kCsrNames), std::end(kCsrNames),
                             [](const CsrName& a, const CsrName& b) {
                               return a.number < b.number;
                             }));

}  // namespace

std::span<const CsrName> csr_names() { return kCsrNames; }

const char* csr_name(std::uint16_t number) {
  const auto* const found =
      std::find_if(std::begin(kCsrNames), std::end(kCsrNames),
                   [&](const CsrName& known) { return known.number == number; });
  return found == std::end(kCsrNames) ? nullptr : found->name;
}

char letter_of(Privilege privilege) {
  switch (privilege) {
    case Privilege::kUser: return 'U';
    case Privilege::kSupervisor: return 'S';
    default: return 'M';
  }
}

}  // namespace vmrun
