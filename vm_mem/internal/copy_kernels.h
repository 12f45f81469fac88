// The table of copy kernels: one row per instruction set.
//
// Contract on guest memory, for copy_words, move and set, and for stream where dst is
// at a multiple of 8: with start offsets and length that are multiples of 8, every
// load and every store starts at a multiple of 8 bytes from the start of its buffer.
// An 8-byte word that is aligned on the guest's side is therefore never torn, whichever
// side is the guest's and however the other side is aligned. Kernels call nothing in
// libc, which promises none of this. A byte of the destination may be stored twice.
#ifndef VM_MEM_INTERNAL_COPY_KERNELS_H_
#define VM_MEM_INTERNAL_COPY_KERNELS_H_

#include <cstddef>
#include <span>
#include <string_view>
#include <utility>

#include "vm_mem/inline_copy.h"

namespace vm_mem::internal {

// The same for memory whose pages the host may fail to provide. Each returns n, or where
// a load or a store faulted how many bytes lie before the first that cannot be done:
// these are done, and nothing is written beyond. What is done may be done again.
//
// Needs:  the handler of vm_mem/host_fault.h; n a multiple of 8; disjoint ranges; dst at
//         a multiple of 8, for copy_words dst or src.
struct RecoverableKernels {
  std::size_t (*copy_words)(std::byte* dst, const std::byte* src, std::size_t n);
  std::size_t (*stream)(std::byte* dst, const std::byte* src, std::size_t n);
  std::size_t (*set)(std::byte* dst, std::byte value, std::size_t n);
};

// One implementation of every operation. A row is complete: no entry is ever null,
// and rows never borrow from each other. Every operation takes any length, 0
// included, and any alignment.
struct CopyKernels {
  std::string_view isa;
  bool (*supported)();       // by this CPU and this OS
  std::size_t vector_width;  // bytes of one lane

  // Disjoint; memory of the host alone: promises nothing about words. Takes every path
  // that the policy has, the streaming one with its fence included.
  CopyFunction* copy;
  void (*copy_words)(std::byte* dst, const std::byte* src, std::size_t n);  // disjoint
  void (*move)(std::byte* dst, const std::byte* src, std::size_t n);        // any overlap
  void (*set)(std::byte* dst, std::byte value, std::size_t n);
  int (*compare)(const std::byte* a, const std::byte* b, std::size_t n);  // -1, 0 or 1
  bool (*equal)(const std::byte* a, const std::byte* b, std::size_t n);
  bool (*is_zero)(const std::byte* p, std::size_t n);
  // Disjoint; past the caches where the ISA can, with a store fence at the end.
  void (*stream)(std::byte* dst, const std::byte* src, std::size_t n);
  RecoverableKernels recoverable;
};

// Every row built into this binary, best first. The last is kScalarKernels.
std::span<const CopyKernels* const> built_copy_kernels();

extern const CopyKernels kAvx512Kernels;
extern const CopyKernels kAvx2Kernels;
extern const CopyKernels kSse2Kernels;
extern const CopyKernels kSveKernels;
extern const CopyKernels kNeonKernels;
extern const CopyKernels kScalarKernels;  // supported everywhere

}  // namespace vm_mem::internal

#endif  // VM_MEM_INTERNAL_COPY_KERNELS_H_
