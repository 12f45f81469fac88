#include "tests/vm_engine/fault_sites.h"

namespace vm_test {

// The top byte does not count.
std::vector<std::uint64_t> lost_indexes() { return {0xadull << 48, 0x90ull << 48}; }

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
        ldr x0, [x0, x1]
        str xzr, [x2]
        ret
vm_test_load_land:
        mov x0, #1
        str x0, [x2]
        mov x0, #0
        ret
vm_test_store:
vm_test_store_site:
        str x2, [x0, x1]
        str xzr, [x3]
        ret
vm_test_store_land:
        mov x0, #1
        str x0, [x3]
        ret
vm_test_copy:
        mov x3, #0
1:      cmp x3, x2
        b.eq vm_test_copy_land
vm_test_copy_load_site:
        ldrb w4, [x1, x3]
vm_test_copy_store_site:
        strb w4, [x0, x3]
        add x3, x3, #1
        b 1b
vm_test_copy_land:
        mov x0, x3
        ret
vm_test_frame_load:
        stp x29, x30, [sp, #-16]!
        mov x29, x0
vm_test_frame_load_site:
        ldr x0, [x29, x1]
        ldp x29, x30, [sp], #16
        mov x0, #0
        ret
vm_test_frame_load_land:
        ldp x29, x30, [sp], #16
        mov x0, #1
        ret
vm_test_sites_end:
        nop
)");
