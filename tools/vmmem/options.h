// The command line.
#ifndef VMMEM_OPTIONS_H_
#define VMMEM_OPTIONS_H_

#include <chrono>
#include <cstddef>
#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <variant>
#include <vector>

#include "tools/command_line/command_line.h"
#include "vm_mem/guest_address.h"
#include "vm_mem/snapshot.h"

namespace vmmem {

enum class Command : std::uint8_t {
  kInfo,
  kVerify,
  kBench,
  kCalibrate,
  kEmitPolicy,
  kDemo,
  kSnapshot
};
enum class Format : std::uint8_t { kText, kJson };
enum class Effort : std::uint8_t { kQuick, kFull };

enum class SnapshotCommand : std::uint8_t { kInspect, kVerify, kDiff, kMerge, kExport, kImport };
// What becomes of a file that is where the output is to be.
enum class Existing : std::uint8_t { kKept, kReplaced };

struct SnapshotRequest {
  SnapshotCommand command = SnapshotCommand::kInspect;
  std::string file;
  std::string other;  // diff: the second; else the file to write
  vm_mem::SnapshotParents parents = vm_mem::SnapshotParents::kOpen;  // verify
  std::uint32_t youngest = 0;                                        // merge: so many files; 0: all
  std::vector<vm_mem::GuestRange> regions = {};                      // import
  Existing existing = Existing::kKept;                               // merge, export, import
  vm_mem::SnapshotCompression compression = vm_mem::SnapshotCompression::kNone;  // merge, import
};

struct Options {
  Command command = Command::kInfo;
  Format format = Format::kText;
  std::chrono::milliseconds time{0};      // verify, bench: how long
  std::optional<std::uint64_t> seed;      // verify; nullopt: one is drawn
  std::optional<std::uint64_t> one_case;  // verify: this case alone
  std::vector<std::string> rows;          // verify, bench; empty: every supported one
  std::vector<std::size_t> sizes;         // bench
  std::string output;                     // calibrate
  std::string isa;                        // emit-policy; empty: this machine's
  Effort effort = Effort::kFull;          // calibrate
  SnapshotRequest snapshot;
};

using command_line::Exit;

std::variant<Options, Exit> parse_options(int argc, const char* const* argv);

// "100", "4K", "2M", "1G", also as "4KiB"; nullopt where it is no size, or is 0 or above
// 256 MiB.
std::optional<std::size_t> parse_copy_size(std::string_view text);

// "0x80000000:64M"; nullopt where it is none, or not of whole pages of 4096 bytes.
std::optional<vm_mem::GuestRange> parse_region(std::string_view text);

}  // namespace vmmem

#endif  // VMMEM_OPTIONS_H_
