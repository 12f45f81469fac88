// The command line.
#ifndef VMRUN_OPTIONS_H_
#define VMRUN_OPTIONS_H_

#include <chrono>
#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <variant>
#include <vector>

#include "tools/command_line/command_line.h"
#include "tools/vmrun/block.h"
#include "tools/vmrun/jit.h"
#include "tools/vmrun/slots.h"
#include "tools/vmrun/snapshot_options.h"
#include "tools/vmrun/trace.h"

namespace vmrun {

inline constexpr std::string_view kDefaultFirmware = "/usr/lib/u-boot/qemu-riscv64/u-boot.bin";
inline constexpr std::string_view kDefaultSbi =
    "/usr/lib/riscv64-linux-gnu/opensbi/generic/fw_dynamic.bin";
inline constexpr std::uint64_t kDefaultMemoryBytes = std::uint64_t{128} << 20;
inline constexpr std::uint64_t kLeastMemoryBytes = std::uint64_t{16} << 20;
inline constexpr std::uint64_t kMostMemoryBytes = std::uint64_t{64} << 30;

enum class StatsFormat : std::uint8_t { kText, kJson };
enum class CpuMode : std::uint8_t { kInterpreter, kJit };
enum class Profiling : std::uint8_t { kOff, kOn };
enum class IommuMode : std::uint8_t { kOff, kIdentity };

struct Options {
  std::string firmware{kDefaultFirmware};  // kDefaultSbi where there is a kernel
  std::string kernel;                      // empty: none
  std::string initrd;                      // empty: none
  std::string append;
  std::vector<DiskFile> disks;
  std::uint64_t memory_bytes = kDefaultMemoryBytes;
  CpuMode cpu = CpuMode::kInterpreter;
  MemoryMode memory_mode = MemoryMode::kSoftTlb;
  LoopMode loops = LoopMode::kRecognised;
  unsigned harts = 1;
  IommuMode iommu = IommuMode::kOff;
  SlotOptions slots;                  // but for the disks
  std::optional<std::uint64_t> seed;  // of every source of chance
  std::string script;                 // empty: none
  std::optional<std::chrono::milliseconds> timeout;
  std::optional<std::uint64_t> instructions;  // to execute at most
  StatsFormat stats = StatsFormat::kText;
  Profiling profiling = Profiling::kOff;
  std::string stats_file;                 // empty: standard output
  std::optional<std::uint16_t> gdb_port;  // 0: any
  std::string trace;                      // empty: none; "-": standard error
  TraceKinds trace_kinds{.instructions = true};
  SnapshotOptions snapshot;
};

using command_line::Exit;
using command_line::parse_number;

std::variant<Options, Exit> parse_options(int argc, const char* const* argv);

// "4096", "64K", "128M", "2G", also as "128MiB"; nullopt where it is no size, or not a
// multiple of 4096, or too large.
std::optional<std::uint64_t> parse_size(std::string_view text);

}  // namespace vmrun

#endif  // VMRUN_OPTIONS_H_
