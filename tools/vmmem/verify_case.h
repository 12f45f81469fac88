// One case of verification: an operation on a size at offsets, all drawn from a seed and
// a number, held against a byte loop.
#ifndef VMMEM_VERIFY_CASE_H_
#define VMMEM_VERIFY_CASE_H_

#include <cstddef>
#include <cstdint>
#include <optional>
#include <string>
#include <string_view>

#include "tools/vmmem/guarded_arena.h"
#include "vm_mem/copy_rows.h"

namespace vmmem {

enum class Operation : std::uint8_t {
  kCopy,
  kCopyWords,
  kMove,
  kSet,
  kCompare,
  kEqual,
  kIsZero,
  kStream,
};
inline constexpr std::size_t kOperationCount = 8;
std::string_view operation_name(Operation operation);

// Offsets are into the arenas of a VerifyBench.
struct VerifyCase {
  std::uint64_t number = 0;
  Operation operation = Operation::kCopy;
  std::size_t bytes = 0;
  std::size_t dst = 0;
  std::size_t src = 0;
  std::uint64_t content = 0;  // seeds what is in memory
};

// The same for the same seed and number, on every machine.
VerifyCase draw_case(std::uint64_t seed, std::uint64_t number);

// The memory that cases run in: a destination and a source, each between unreadable
// pages.
class VerifyBench {
 public:
  static constexpr std::size_t kArenaBytes = 256 << 10;

  VerifyBench() : dst_(kArenaBytes), src_(kArenaBytes) {}

  bool ready() const { return !dst_.bytes().empty() && !src_.bytes().empty(); }

  // What the row does wrong in this case; nullopt: nothing.
  std::optional<std::string> check(const vm_mem::CopyRow& row, const VerifyCase& drawn);

 private:
  std::optional<std::string> check_copy(const vm_mem::CopyRow& row, const VerifyCase& drawn);
  std::optional<std::string> check_move(const vm_mem::CopyRow& row, const VerifyCase& drawn);
  std::optional<std::string> check_set(const vm_mem::CopyRow& row, const VerifyCase& drawn);
  std::optional<std::string> check_compare(const vm_mem::CopyRow& row, const VerifyCase& drawn);
  std::optional<std::string> check_is_zero(const vm_mem::CopyRow& row, const VerifyCase& drawn);

  GuardedArena dst_;
  GuardedArena src_;
  FaultTrap trap_;
};

}  // namespace vmmem

#endif  // VMMEM_VERIFY_CASE_H_
