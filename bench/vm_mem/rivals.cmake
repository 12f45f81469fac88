# Copies that others wrote, where they are installed.

if(CMAKE_SYSTEM_PROCESSOR MATCHES "^(x86_64|AMD64)$")
  target_sources(vm_bench_contestants PRIVATE rivals/naive_x86_64.cc)

  find_package(PkgConfig QUIET)
  if(PkgConfig_FOUND)
    pkg_check_modules(VM_BENCH_DPDK QUIET libdpdk)
  endif()
  if(VM_BENCH_DPDK_FOUND)
    add_library(vm_bench_dpdk OBJECT rivals/dpdk.cc)
    target_include_directories(vm_bench_dpdk SYSTEM PRIVATE ${VM_BENCH_DPDK_INCLUDE_DIRS})
    # DPDK's headers are written for this configuration and one CPU; of the warnings,
    # those of its macros appear in code that includes them.
    target_compile_options(vm_bench_dpdk PRIVATE -include rte_config.h -march=x86-64-v3 -w)
    target_link_libraries(vm_bench_dpdk PRIVATE vm_build_flags vm_bench_harness benchmark::benchmark)
    target_sources(vm_bench_contestants INTERFACE $<TARGET_OBJECTS:vm_bench_dpdk>)
  else()
    message(STATUS "DPDK (libdpdk-dev) not found: the benchmarks run without rte_memcpy")
  endif()
endif()

find_package(hwy CONFIG QUIET)
if(hwy_FOUND)
  target_sources(vm_bench_contestants PRIVATE rivals/highway.cc)
  target_link_libraries(vm_bench_contestants PUBLIC hwy::hwy)
else()
  message(STATUS "Highway (libhwy-dev) not found: the benchmarks run without its Copy")
endif()
