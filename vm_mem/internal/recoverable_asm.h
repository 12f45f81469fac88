// How an instruction that may fault says where to go on then: an entry in a table that
// the handler of host_fault.cc looks the faulting instruction up in. Where nothing
// faults it costs nothing.
//
// The statements that move bytes are `asm goto` without outputs: with outputs some
// compilers lose values on the way to the label (g++ bug 113921), so that loads and
// stores of one step share a statement and registers that it clobbers.
//
// Needs:  the statement is expanded in code that no linker discards: not in an inline
//         function that is left out of line.
#ifndef VM_MEM_INTERNAL_RECOVERABLE_ASM_H_
#define VM_MEM_INTERNAL_RECOVERABLE_ASM_H_

#define VM_MEM_FIXUP(to)                                \
  ".pushsection vm_mem_fixups, \"aR\"\n\t.balign 4\n\t" \
  ".long 1b - ., " to " - .\n\t.popsection\n\t"

// For `asm goto`: on a fault the C++ label `fault` is next.
#define VM_MEM_CAN_FAULT(instruction) "1: " instruction "\n\t" VM_MEM_FIXUP("%l[fault]")

// On a fault the assembler's label 2, of the same statement, is next.
#define VM_MEM_CAN_FAULT_TO_2(instruction) "1: " instruction "\n\t" VM_MEM_FIXUP("2f")

#endif  // VM_MEM_INTERNAL_RECOVERABLE_ASM_H_
