#include "tests/vm_engine/emit_trampoline.h"

asm(R"(
        .text
        .globl vm_test_run_emitted
        .type vm_test_run_emitted, @function
vm_test_run_emitted:
        push %rbp
        mov %rsp, %rbp
        .irp reg, rbx, r12, r13, r14, r15
        push %\reg
        .endr
        sub $8, %rsp
        push %rdx
        push %rbp
        # rsp is a multiple of 16; (rsp) is rbp, 8(rsp) is `out`.
        mov %rsp, .Lframe(%rip)
        mov %rdi, .Lcode(%rip)
        sub %rcx, %rsp
        mov %rsp, .Lentry(%rip)
        xor %ecx, %ecx
1:      mov 648(%rsi,%rcx), %rax
        mov %rax, -256(%rsp,%rcx)
        add $8, %ecx
        cmp $256, %ecx
        jne 1b
        .irp i, 0,1,2,3,4,5,6,7,8,9,10,11,12,13,14,15
        vmovdqu 128+32*\i(%rsi), %ymm\i
        .endr
        mov 0(%rsi), %rax
        mov 8(%rsi), %rcx
        mov 16(%rsi), %rdx
        mov 24(%rsi), %rbx
        mov 40(%rsi), %rbp
        mov 56(%rsi), %rdi
        .irp i, 8,9,10,11,12,13,14,15
        mov 8*\i(%rsi), %r\i
        .endr
        lea -264(%rsp), %rsp
        push $0x8c3
        popf
        lea 264(%rsp), %rsp
        mov 48(%rsi), %rsi
        jmp *.Lcode(%rip)

        .globl vm_test_emitted_done
vm_test_emitted_done:
        mov %rsp, .Lexit(%rip)
        mov %rsi, .Lrsi(%rip)
        mov .Lentry(%rip), %rsp
        lea -256(%rsp), %rsp
        pushf
        pop .Lflags(%rip)
        mov .Lframe(%rip), %rsp
        mov 8(%rsp), %rsi
        mov %rax, 0(%rsi)
        mov %rcx, 8(%rsi)
        mov %rdx, 16(%rsi)
        mov %rbx, 24(%rsi)
        mov %rbp, 40(%rsi)
        mov %rdi, 56(%rsi)
        .irp i, 8,9,10,11,12,13,14,15
        mov %r\i, 8*\i(%rsi)
        .endr
        .irp i, 0,1,2,3,4,5,6,7,8,9,10,11,12,13,14,15
        vmovdqu %ymm\i, 128+32*\i(%rsi)
        .endr
        vzeroupper
        mov .Lrsi(%rip), %rax
        mov %rax, 48(%rsi)
        mov .Lflags(%rip), %rax
        mov %rax, 640(%rsi)
        mov .Lentry(%rip), %rdx
        mov .Lexit(%rip), %rax
        sub %rdx, %rax
        mov %rax, 904(%rsi)
        xor %ecx, %ecx
2:      mov -256(%rdx,%rcx), %rax
        mov %rax, 648(%rsi,%rcx)
        add $8, %ecx
        cmp $256, %ecx
        jne 2b
        pop %rbp
        lea -40(%rbp), %rsp
        .irp reg, r15, r14, r13, r12, rbx
        pop %\reg
        .endr
        pop %rbp
        ret
        .size vm_test_run_emitted, . - vm_test_run_emitted

        .globl vm_test_run_wide
        .type vm_test_run_wide, @function
vm_test_run_wide:
        mov %rdi, %rax
        mov %rsi, %rdi
        mov %rdx, %rsi
        mov %rcx, %rdx
        lea vm_test_wide_in(%rip), %rcx
        .irp i, 0,1,2,3,4,5,6,7,8,9,10,11,12,13,14,15,16,17,18,19,20,21,22,23,24,25,26,27,28,29,30,31
        vmovdqu64 64*\i(%rcx), %zmm\i
        .endr
        sub $8, %rsp
        lea -8(%rsp), %rcx
        mov %rcx, vm_test_wide_rsp(%rip)
        call *%rax
        add $8, %rsp
        lea vm_test_wide_out(%rip), %rcx
        .irp i, 0,1,2,3,4,5,6,7,8,9,10,11,12,13,14,15,16,17,18,19,20,21,22,23,24,25,26,27,28,29,30,31
        vmovdqu64 %zmm\i, 64*\i(%rcx)
        .endr
        vzeroupper
        ret
        .size vm_test_run_wide, . - vm_test_run_wide

        .globl vm_test_wide_helper
        .type vm_test_wide_helper, @function
vm_test_wide_helper:
        mov %rsp, vm_test_wide_helper_rsp(%rip)
        .irp i, 0,1,2,3,4,5,6,7,8,9,10,11,12,13,14,15,16,17,18,19,20,21,22,23,24,25,26,27,28,29,30,31
        vpxorq %zmm\i, %zmm\i, %zmm\i
        .endr
        ret
        .size vm_test_wide_helper, . - vm_test_wide_helper

        .bss
        .balign 8
        .globl vm_test_wide_in, vm_test_wide_out, vm_test_wide_rsp, vm_test_wide_helper_rsp
vm_test_wide_in:         .skip 2048
vm_test_wide_out:        .skip 2048
vm_test_wide_rsp:        .skip 8
vm_test_wide_helper_rsp: .skip 8
        .irp slot, .Lframe, .Lentry, .Lcode, .Lexit, .Lrsi, .Lflags
\slot:  .skip 8
        .endr
        .text
)");
