// Hart 0 runs main() in M-mode and switches off; others wait. Zeros are the loader's.
  .section .text.start, "ax"
  .globl _start
_start:
  bnez a0, wait
  la sp, stack_top
  li t0, 0x2000  // mstatus.FS: floating point is on
  csrs mstatus, t0
  call main
  li t0, 0x100000  // the finisher
  li t1, 0x5555
  sw t1, 0(t0)
wait:
  wfi
  j wait
