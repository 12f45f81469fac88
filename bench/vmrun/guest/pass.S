// A program that is run pass by pass: from its first instruction to the one at _start + 4, where
// the hart waits.
  .option norvc
  .section .text.start, "ax"
  .globl _start
_start:
  j begin
done:
  wfi
  j done
begin:
  la sp, stack_top
  call main
  j done
