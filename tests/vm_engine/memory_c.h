#ifndef TESTS_VM_ENGINE_MEMORY_C_H_
#define TESTS_VM_ENGINE_MEMORY_C_H_

#ifdef __cplusplus
extern "C" {
#endif

int vm_test_c_machine(void);

#ifdef __cplusplus
}
#endif

#endif
