// Where things are in the guest's physical address space: QEMU's "virt" machine, less
// what this one does not have.
#ifndef VMRUN_LAYOUT_H_
#define VMRUN_LAYOUT_H_

#include <cstdint>

namespace vmrun {

inline constexpr std::uint64_t kFinisherBase = 0x10'0000;
inline constexpr std::uint64_t kFinisherBytes = 0x1000;
inline constexpr std::uint64_t kClintBase = 0x200'0000;
inline constexpr std::uint64_t kClintBytes = 0x1'0000;
inline constexpr std::uint64_t kPlicBase = 0xc00'0000;
inline constexpr std::uint64_t kPlicBytes = 0x60'0000;
inline constexpr std::uint64_t kUartBase = 0x1000'0000;
inline constexpr std::uint64_t kUartBytes = 0x1000;
inline constexpr unsigned kUartInterrupt = 10;
inline constexpr std::uint64_t kVirtioBase = 0x1000'1000;
inline constexpr std::uint64_t kVirtioBytes = 0x1000;
inline constexpr unsigned kVirtioSlots = 8;
inline constexpr unsigned kVirtioFirstInterrupt = 1;
inline constexpr std::uint64_t kFlashBase = 0x2000'0000;
inline constexpr std::uint64_t kFlashBytes = 0x200'0000;  // of each bank
inline constexpr unsigned kFlashBanks = 2;
inline constexpr unsigned kMostHarts = 8;
inline constexpr std::uint64_t kRamBase = 0x8000'0000;

}  // namespace vmrun

#endif  // VMRUN_LAYOUT_H_
