# vm_add_fuzz_target(<folder>/<name> SOURCES <file>... [DEPS <target>...])
#
# For tests/<folder>/fuzz: with libFuzzer where VM_BUILD_FUZZERS says so (tools/fuzz), else
# as a test that replays the corpus in corpus/<name>; in a quick build of the tests only under
# AddressSanitizer, which sees most.
function(vm_add_fuzz_target path)
  cmake_parse_arguments(arg "" "" "SOURCES;DEPS" ${ARGN})
  if(VM_QUICK_TEST_BUILD AND NOT VM_BUILD_FUZZERS AND NOT VM_SANITIZE MATCHES "address")
    return()
  endif()
  cmake_path(GET path PARENT_PATH folder)
  cmake_path(GET path FILENAME name)
  if(VM_BUILD_FUZZERS)
    set(target ${name}_fuzz)
    add_executable(${target} ${arg_SOURCES})
    target_link_options(${target} PRIVATE -fsanitize=fuzzer)
    if(NOT TARGET fuzz_targets)
      add_custom_target(fuzz_targets)
    endif()
    add_dependencies(fuzz_targets ${target})
  else()
    set(target ${folder}_${name}_replay)
    add_executable(${target} ${arg_SOURCES} ${PROJECT_SOURCE_DIR}/tests/support/replay_main.cc)
    add_test(NAME ${folder}/fuzz.${name}_corpus
      COMMAND ${target} ${CMAKE_CURRENT_SOURCE_DIR}/corpus/${name})
  endif()
  target_link_libraries(${target} PRIVATE vm_build_flags ${arg_DEPS})
  target_include_directories(${target} PRIVATE ${PROJECT_SOURCE_DIR})
endfunction()
