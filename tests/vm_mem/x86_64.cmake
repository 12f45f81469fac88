vm_add_test(vm_mem/dirty_kvm_test DEPS vm_mem)
vm_add_test(vm_mem/cpu_features_x86_test DEPS vm_mem)
vm_add_test(vm_mem/cpu_identity_x86_test DEPS vm_mem)

# The same source in three objects, each with flags of its own, linked in both orders.
foreach(part baseline avx2 avx512)
  add_library(vm_mem_inline_copy_${part} OBJECT inline_copy_part.cc)
  target_link_libraries(vm_mem_inline_copy_${part} PRIVATE vm_build_flags vm_mem)
  target_include_directories(vm_mem_inline_copy_${part} PRIVATE ${PROJECT_SOURCE_DIR})
  target_compile_definitions(vm_mem_inline_copy_${part} PRIVATE VM_TEST_PART=${part}_part)
endforeach()
target_compile_options(vm_mem_inline_copy_avx2 PRIVATE -mavx2)
target_compile_options(vm_mem_inline_copy_avx512 PRIVATE -mavx512f -mavx512bw -mavx512vl -mbmi2)
foreach(order "baseline;avx2;avx512" "avx512;avx2;baseline")
  list(TRANSFORM order REPLACE "(.+)" "$<TARGET_OBJECTS:vm_mem_inline_copy_\\1>" OUTPUT_VARIABLE parts)
  list(GET order 0 first)
  set(target vm_mem_inline_copy_test_${first}_first)
  add_executable(${target} inline_copy_test.cc ${parts})
  target_link_libraries(${target} PRIVATE vm_build_flags vm_mem GTest::gtest_main)
  target_include_directories(${target} PRIVATE ${PROJECT_SOURCE_DIR})
  gtest_discover_tests(${target} TEST_PREFIX vm_mem/inline_copy_test.${first}_first/
    NO_PRETTY_VALUES)
endforeach()

# Sanitizers touch memory on their own, and step through signals. The second program is
# linked whole from what a typed access runs through.
if(NOT VM_SANITIZE)
  vm_add_test(vm_mem/double_fetch_test OPTIMIZED DEPS vm_mem)
endif()
if(NOT VM_SANITIZE AND CMAKE_CXX_COMPILER_ID STREQUAL "GNU")
  set(target vm_mem_double_fetch_test_lto)
  set(sources memory_manager.cc memory_reader.cc internal/access_engine.cc
    internal/section_walk.cc internal/word_access.cc)
  list(TRANSFORM sources PREPEND ${PROJECT_SOURCE_DIR}/vm_mem/)
  add_executable(${target} double_fetch_test.cc ${sources})
  target_link_libraries(${target} PRIVATE vm_build_flags vm_mem absl::strings absl::str_format
    GTest::gtest_main)
  target_include_directories(${target} PRIVATE ${PROJECT_SOURCE_DIR})
  target_compile_options(${target} PRIVATE -O3 -flto)
  target_link_options(${target} PRIVATE -O3 -flto)
  gtest_discover_tests(${target} TEST_PREFIX vm_mem/double_fetch_test.lto/ NO_PRETTY_VALUES)
endif()

# Two modules that each have the library are, to AddressSanitizer, two definitions of each
# of its variables.
if(NOT VM_SANITIZE)
  add_library(vm_mem_plugin MODULE plugin_part.cc)
  target_link_libraries(vm_mem_plugin PRIVATE vm_build_flags vm_mem)
  target_include_directories(vm_mem_plugin PRIVATE ${PROJECT_SOURCE_DIR})
  vm_add_test(vm_mem/plugin_test DEPS vm_mem ${CMAKE_DL_LIBS})
  set_target_properties(vm_mem_plugin_test PROPERTIES ENABLE_EXPORTS ON)
  add_dependencies(vm_mem_plugin_test vm_mem_plugin)
  target_compile_definitions(vm_mem_plugin_test PRIVATE
    VM_TEST_PLUGIN="$<TARGET_FILE:vm_mem_plugin>")
endif()

# Sanitizers add symbols and calls of their own; flags of the user's, instructions.
find_package(Python3 COMPONENTS Interpreter)
if(Python3_FOUND AND NOT VM_SANITIZE AND NOT CMAKE_CXX_FLAGS MATCHES "-m(arch|avx)")
  add_test(NAME vm_mem/check_isa_leaks
    COMMAND Python3::Interpreter ${CMAKE_CURRENT_SOURCE_DIR}/check_isa_leaks.py
      $<TARGET_OBJECTS:vm_mem>
    COMMAND_EXPAND_LISTS)
endif()
