#include "tests/vm_engine/fault_sites.h"

namespace vm_test {

std::vector<std::uint64_t> lost_indexes() {
  return {1ull << 63, ~0ull << 48, 0x7eadull << 48, 0xadull << 48};
}

}  // namespace vm_test

asm(R"(
        .text
        .balign 64
        .globl vm_test_sites, vm_test_sites_end
        .globl vm_test_load, vm_test_load_site, vm_test_load_land
        .globl vm_test_store, vm_test_store_site, vm_test_store_land
        .globl vm_test_copy, vm_test_copy_load_site, vm_test_copy_store_site, vm_test_copy_land
        .globl vm_test_frame_load, vm_test_frame_load_site, vm_test_frame_load_land
vm_test_sites:
vm_test_load:
vm_test_load_site:
        mov (%rdi,%rsi), %rax
        movq $0, (%rdx)
        ret
vm_test_load_land:
        movq $1, (%rdx)
        xor %eax, %eax
        ret
vm_test_store:
vm_test_store_site:
        mov %rdx, (%rdi,%rsi)
        movq $0, (%rcx)
        ret
vm_test_store_land:
        movq $1, (%rcx)
        ret
vm_test_copy:
        xor %eax, %eax
1:      cmp %rdx, %rax
        je vm_test_copy_land
vm_test_copy_load_site:
        movzbl (%rsi,%rax), %ecx
vm_test_copy_store_site:
        mov %cl, (%rdi,%rax)
        inc %rax
        jmp 1b
vm_test_copy_land:
        ret
vm_test_frame_load:
        push %rbp
        mov %rdi, %rbp
vm_test_frame_load_site:
        mov (%rbp,%rsi), %rax
        pop %rbp
        xor %eax, %eax
        ret
vm_test_frame_load_land:
        pop %rbp
        mov $1, %eax
        ret
vm_test_sites_end:
        nop
)");
