// The part of the copy core that is compiled into its callers.
#ifndef VM_MEM_INLINE_COPY_H_
#define VM_MEM_INLINE_COPY_H_

#endif  // VM_MEM_INLINE_COPY_H_
