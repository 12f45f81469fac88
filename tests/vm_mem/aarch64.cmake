vm_add_test(vm_mem/cpu_identity_aarch64_test DEPS vm_mem)
vm_add_test(vm_mem/copy_sve_test DEPS vm_mem)

find_package(Python3 COMPONENTS Interpreter)
if(Python3_FOUND AND NOT VM_SANITIZE)
  add_test(NAME vm_mem/check_isa_leaks
    COMMAND ${Python3_EXECUTABLE} ${CMAKE_CURRENT_SOURCE_DIR}/check_isa_leaks.py
      $<TARGET_OBJECTS:vm_mem>
    COMMAND_EXPAND_LISTS)
  set_tests_properties(vm_mem/check_isa_leaks PROPERTIES SKIP_RETURN_CODE 77)
endif()

# From here on: CPUs that only an emulator can be told to be.
if(NOT CMAKE_CROSSCOMPILING_EMULATOR MATCHES "qemu")
  return()
endif()

# vm_add_cpu_test(<name> <qemu's CPU> COMMAND <word>... [ENVIRONMENT <name=value>...]
#   [EXPECT <regular expression>])
function(vm_add_cpu_test name cpu)
  cmake_parse_arguments(arg "" "EXPECT" "COMMAND;ENVIRONMENT" ${ARGN})
  add_test(NAME vm_mem/${name} COMMAND ${arg_COMMAND})
  set_tests_properties(vm_mem/${name} PROPERTIES
    ENVIRONMENT "QEMU_CPU=${cpu};${arg_ENVIRONMENT}"
    FAIL_REGULAR_EXPRESSION "not on this CPU; 0 tests")
  if(arg_EXPECT)
    set_tests_properties(vm_mem/${name} PROPERTIES PASS_REGULAR_EXPRESSION "${arg_EXPECT}")
  endif()
endfunction()

foreach(bytes IN ITEMS 16 32 64 256)
  set(cpu max,sve-default-vector-length=${bytes})
  vm_add_cpu_test(copy_sve_test.vectors_of_${bytes} ${cpu}
    COMMAND vm_mem_copy_sve_test --gtest_filter=*Told ENVIRONMENT VM_TEST_SVE_BYTES=${bytes})
  vm_add_cpu_test(copy_kernels_test.vectors_of_${bytes} ${cpu}
    COMMAND vm_mem_copy_kernels_test --gtest_filter=*/sve)
  vm_add_cpu_test(startup_test.vectors_of_${bytes} ${cpu} COMMAND vm_mem_startup_probe
    EXPECT "isa=sve\nvector_width=16\n.*copied=1\nstatus=OK")
endforeach()

# A CPU without SVE, and one that has it where the kernel does not offer it.
foreach(cpu IN ITEMS cortex-a72 "max,sve=off")
  string(REGEX REPLACE "[^a-z0-9]" "_" suffix ${cpu})
  vm_add_cpu_test(copy_kernels_test.${suffix} ${cpu}
    COMMAND vm_mem_copy_kernels_test --gtest_filter=*/neon)
  vm_add_cpu_test(simd_memcpy_test.${suffix} ${cpu}
    COMMAND vm_mem_simd_memcpy_test --gtest_filter=-*64MiB*)
  vm_add_cpu_test(startup_test.${suffix} ${cpu} COMMAND vm_mem_startup_test)
  vm_add_cpu_test(startup_test.${suffix}_refuses_sve ${cpu}
    COMMAND vm_mem_startup_probe ENVIRONMENT VM_MEM_ISA=sve
    EXPECT "isa=neon\n.*copied=1\nstatus=INVALID_ARGUMENT: VM_MEM_ISA=sve: not a row of this CPU and operating system. want one of neon, scalar")
endforeach()
