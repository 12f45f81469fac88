// The table of loops over dirty marks: one row per instruction set.
//
// A mark is a byte, set where kMarkDirty is in it. Marks race with each other and with their
// clearing by design; the loops rest on two rules. Setting looks first and stores only
// where something is to be set, so that writers share the line. Clearing stores only to
// bytes that were seen set: a byte seen clear may have been set since.
//
// What they store is a whole byte: they are for logs whose marks have no other bits
// (DirtyLog::is_watchable). Those that only look are for every log.
#ifndef VM_MEM_INTERNAL_DIRTY_KERNELS_H_
#define VM_MEM_INTERNAL_DIRTY_KERNELS_H_

#include <cstddef>
#include <cstdint>
#include <span>
#include <string_view>

#include "vm_mem/dirty_log.h"
#include "vm_mem/dirty_pages.h"

namespace vm_mem::internal {

// Of the marks of one word of a bitmap.
inline constexpr std::size_t kMarksPerWord = 64;
// Loops take the words in groups of this size; arrays of marks are padded to it.
inline constexpr std::size_t kWordGroup = 4;
// The bytes after an array of marks that loops may read (never write).
inline constexpr std::size_t kMarkPadding = kMarksPerWord;

// Eight marks in a word of 64 bits that are dirty and have no other bits.
inline constexpr std::uint64_t kEightDirty = 0x0101'0101'0101'0101 * kMarkDirty;

// Bit i: mark i of eight is dirty. The product moves bit 8 * i to bit 56 + i; no two of its
// terms meet.
constexpr std::uint64_t dirty_of_eight(std::uint64_t marks) {
  return (marks & kEightDirty) * 0x0102'0408'1020'4080 >> 56;
}

// By how much kMarkDirty is below a byte's highest bit, which instructions can collect.
inline constexpr int kDirtyToTop = 7;
static_assert(kMarkDirty << kDirtyToTop == 0x80);

// One implementation of every loop. Bit i of words[w] stands for marks[64 * w + i].
//
// Needs:  word_count is a multiple of kWordGroup, but for expand(); kMarkPadding readable
//         bytes after the marks.
struct DirtyKernels {
  std::string_view isa;
  bool (*supported)();  // by this CPU and this OS

  // Sets marks[0, count). Memory: a release store each, after every store before the call.
  void (*set)(std::byte* marks, std::size_t count);
  // Sets the marks of the bits in `words`. Memory: as set().
  void (*expand)(std::byte* marks, const std::uint64_t* words, std::size_t word_count);
  // Moves the marks into `words`, which are overwritten: clears those that it found.
  // Returns how many those were.
  std::uint64_t (*collect)(std::byte* marks, std::uint64_t* words, std::size_t word_count);
  // How many of marks[0, 64 * word_count) are set.
  std::uint64_t (*count)(const std::byte* marks, std::size_t word_count);
  // Writes the runs of ones, in order, and returns how many. Needs: room for
  // most_runs() of them.
  std::size_t (*runs)(const std::uint64_t* words, std::size_t word_count, DirtyRun* out);
};

// Room for the runs of a bitmap with `ones` bits set, and for what a loop writes past them.
constexpr std::size_t most_runs(std::uint64_t ones, std::size_t word_count) {
  const std::uint64_t most = word_count * kMarksPerWord / 2 + 1;
  return (ones < most ? ones : most) + kMarksPerWord / 2;
}

// Every row built into this binary, best first. The last is kScalarDirtyKernels.
std::span<const DirtyKernels* const> built_dirty_kernels();

// The row named like the one that copies begin with (VM_MEM_ISA), else the best that is
// no wider. Chosen at the first use.
const DirtyKernels& active_dirty_kernels();

extern const DirtyKernels kAvx512DirtyKernels;
extern const DirtyKernels kAvx2DirtyKernels;
extern const DirtyKernels kSse2DirtyKernels;
extern const DirtyKernels kNeonDirtyKernels;
extern const DirtyKernels kScalarDirtyKernels;  // supported everywhere

}  // namespace vm_mem::internal

#endif  // VM_MEM_INTERNAL_DIRTY_KERNELS_H_
