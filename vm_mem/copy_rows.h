// The rows of the copy core one by one, for programs that verify and measure them. To
// copy, call vm_mem/simd_memcpy.h.
#ifndef VM_MEM_COPY_ROWS_H_
#define VM_MEM_COPY_ROWS_H_

#include <cstddef>
#include <cstdint>
#include <string_view>
#include <vector>

namespace vm_mem {

// One implementation of every operation, for one instruction set. No operation is null.
//
// Needs:  `supported`, or the operations end in an illegal instruction; valid pointers
//         for n bytes, of any alignment.
struct CopyRow {
  std::string_view name;         // as VM_MEM_ISA takes it
  std::size_t vector_width = 0;  // bytes of one lane
  bool supported = false;        // by this CPU and this operating system

  void (*copy)(std::byte* dst, const std::byte* src, std::size_t n) = nullptr;  // disjoint
  // The same for guest memory, whose aligned words it keeps whole.
  void (*copy_words)(std::byte* dst, const std::byte* src, std::size_t n) = nullptr;
  void (*move)(std::byte* dst, const std::byte* src, std::size_t n) = nullptr;  // any overlap
  void (*set)(std::byte* dst, std::byte value, std::size_t n) = nullptr;
  int (*compare)(const std::byte* a, const std::byte* b, std::size_t n) = nullptr;
  bool (*equal)(const std::byte* a, const std::byte* b, std::size_t n) = nullptr;
  bool (*is_zero)(const std::byte* p, std::size_t n) = nullptr;
  void (*stream)(std::byte* dst, const std::byte* src, std::size_t n) = nullptr;  // disjoint
};

// Every row built into the library, best first.
std::vector<CopyRow> copy_rows();

// Why the row in use at start-up was taken.
enum class RowChoice : std::uint8_t {
  kBest,      // it is the best that is supported
  kNarrower,  // the policy asks for narrower lanes than the best row's
  kForced,    // VM_MEM_ISA
};
RowChoice row_choice();

}  // namespace vm_mem

#endif  // VM_MEM_COPY_ROWS_H_
