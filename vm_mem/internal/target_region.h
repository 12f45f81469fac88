// How a file compiles some of its functions for an instruction set above the
// baseline, and how kernels are kept out of the race detector.
//
// The region replaces -m flags: those would let every inline function that the
// file instantiates leak into the program with instructions the CPU may lack.
#ifndef VM_MEM_INTERNAL_TARGET_REGION_H_
#define VM_MEM_INTERNAL_TARGET_REGION_H_

#define VM_MEM_PRAGMA(text) _Pragma(#text)

// Needs:  std and intrinsic headers are included before the region begins; the
//         region lies in an anonymous namespace.
#if defined(__clang__)
#define VM_MEM_TARGET_BEGIN(isa) \
  VM_MEM_PRAGMA(clang attribute push(__attribute__((target(isa))), apply_to = function))
#define VM_MEM_TARGET_END VM_MEM_PRAGMA(clang attribute pop)
#define VM_MEM_SVE "sve"
#else
#define VM_MEM_TARGET_BEGIN(isa) VM_MEM_PRAGMA(GCC push_options) VM_MEM_PRAGMA(GCC target(isa))
#define VM_MEM_TARGET_END VM_MEM_PRAGMA(GCC pop_options)
#define VM_MEM_SVE "+sve"
#endif

// A piece of a kernel. Being always inlined, it takes the target and the
// sanitizer attributes of the kernel that it ends up in.
#define VM_MEM_INLINE [[gnu::always_inline]] inline

// A kernel as the table sees it. Guest memory is raced on purpose by the other
// vCPUs, so ThreadSanitizer must not look at these accesses.
//
// Aligned, because where a kernel happens to lie would otherwise decide a tenth of the
// time of a small copy.
#define VM_MEM_KERNEL __attribute__((no_sanitize("thread"), aligned(64)))

// A part of a kernel that is called.
#define VM_MEM_OUTLINE __attribute__((no_sanitize("thread"), noinline, aligned(64)))

#endif  // VM_MEM_INTERNAL_TARGET_REGION_H_
