#include "tests/vm_engine/emit_a64_trampoline.h"

// Where the code ends, x0 and x1 go below the bytes that are looked at.
asm(R"(
        .text
        .balign 16
        .globl vm_test_run_a64
        .type vm_test_run_a64, %function
vm_test_run_a64:
        stp x29, x30, [sp, #-176]!
        stp x19, x20, [sp, #16]
        stp x21, x22, [sp, #32]
        stp x23, x24, [sp, #48]
        stp x25, x26, [sp, #64]
        stp x27, x28, [sp, #80]
        stp d8, d9, [sp, #96]
        stp d10, d11, [sp, #112]
        stp d12, d13, [sp, #128]
        stp d14, d15, [sp, #144]
        str x1, [sp, #160]
        adrp x2, .La64_frame
        mov x3, sp
        str x3, [x2, :lo12:.La64_frame]
        // The bytes below sp.
        mov x2, #64
1:      sub x2, x2, #8
        add x3, x0, #784
        ldr x4, [x3, x2]
        sub x3, sp, #64
        str x4, [x3, x2]
        cbnz x2, 1b
        .irp i, 0,1,2,3,4,5,6,7,8,9,10,11,12,13,14,15,16,17,18,19,20,21,22,23,24,25,26,27,28,29,30,31
        ldr q\i, [x0, #256 + 16 * \i]
        .endr
        ldr x1, [x0, #248]
        msr nzcv, x1
        .irp i, 1,2,3,4,5,6,7,8,9,10,11,12,13,14,15,16,17,18,19,20,21,22,23,24,25,26,27,28,29,30
        ldr x\i, [x0, #8 * \i]
        .endr
        ldr x0, [x0]
        b vm_test_a64_code + 4

        .globl vm_test_a64_exit, vm_test_a64_done
vm_test_a64_exit:
        stp x0, x1, [sp, #-96]
        mov x0, #1
        b 2f
vm_test_a64_done:
        stp x0, x1, [sp, #-96]
        mov x0, #0
2:      adrp x1, .La64_frame
        ldr x1, [x1, :lo12:.La64_frame]
        ldr x1, [x1, #160]
        str x0, [x1, #776]
        .irp i, 2,3,4,5,6,7,8,9,10,11,12,13,14,15,16,17,18,19,20,21,22,23,24,25,26,27,28,29,30
        str x\i, [x1, #8 * \i]
        .endr
        ldp x2, x3, [sp, #-96]
        stp x2, x3, [x1]
        mrs x2, nzcv
        str x2, [x1, #248]
        .irp i, 0,1,2,3,4,5,6,7,8,9,10,11,12,13,14,15,16,17,18,19,20,21,22,23,24,25,26,27,28,29,30,31
        str q\i, [x1, #256 + 16 * \i]
        .endr
        mov x2, #64
        sub x3, sp, #64
        add x4, x1, #784
3:      sub x2, x2, #8
        ldr x5, [x3, x2]
        str x5, [x4, x2]
        cbnz x2, 3b
        adrp x2, .La64_frame
        ldr x2, [x2, :lo12:.La64_frame]
        mov x3, sp
        sub x3, x3, x2
        str x3, [x1, #768]
        mov sp, x2
        ldp x19, x20, [sp, #16]
        ldp x21, x22, [sp, #32]
        ldp x23, x24, [sp, #48]
        ldp x25, x26, [sp, #64]
        ldp x27, x28, [sp, #80]
        ldp d8, d9, [sp, #96]
        ldp d10, d11, [sp, #112]
        ldp d12, d13, [sp, #128]
        ldp d14, d15, [sp, #144]
        ldp x29, x30, [sp], #176
        ret
        .size vm_test_run_a64, . - vm_test_run_a64

        .globl vm_test_a64_trash
        .type vm_test_a64_trash, %function
vm_test_a64_trash:
        adrp x9, vm_test_a64_trash_sp
        mov x10, sp
        str x10, [x9, :lo12:vm_test_a64_trash_sp]
        .irp i, 16,32,48,64,80,96,112,128
        stp x30, x30, [sp, #-\i]
        .endr
        adrp x9, vm_test_a64_trash_result
        ldr x0, [x9, :lo12:vm_test_a64_trash_result]
        mov x1, x0
        .irp i, 2,3,4,5,6,7,8,9,10,11,12,13,14,15,16,17,18
        mov x\i, #0x7171
        .endr
        .irp i, 0,1,2,3,4,5,6,7,16,17,18,19,20,21,22,23,24,25,26,27,28,29,30,31
        movi v\i\().16b, #0x77
        .endr
        .irp i, 8,9,10,11,12,13,14,15
        mov v\i\().d[1], x2
        .endr
        mov x2, #0x50000000
        msr nzcv, x2
        ret
        .size vm_test_a64_trash, . - vm_test_a64_trash

        .bss
        .globl vm_test_a64_trash_result, vm_test_a64_trash_sp
        .balign 8
vm_test_a64_trash_result: .skip 8
vm_test_a64_trash_sp: .skip 8
.La64_frame: .skip 8
        // Among code, because an emulator tells of a writable mapping that it is executable
        // only where its neighbours are.
        .text
        .balign 65536
        .globl vm_test_a64_code
vm_test_a64_code: .skip 65536
)");
