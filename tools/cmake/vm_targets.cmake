# How this project's targets look: warnings, visibility, sanitizers, the
# processor-specific sources, and the naming of tests.

include(GNUInstallDirs)

add_library(vm_build_flags INTERFACE)
target_compile_features(vm_build_flags INTERFACE cxx_std_20)
target_compile_options(vm_build_flags INTERFACE
  -Wall -Wextra -Wpedantic -Wshadow -Wconversion -Wsign-conversion
  $<$<COMPILE_LANGUAGE:CXX>:-Wold-style-cast -Wnon-virtual-dtor>
  $<$<BOOL:${VM_WERROR}>:-Werror>)

# The sanitizers reach every object of the build, so that no frame is blind.
if(VM_SANITIZE)
  add_compile_options(-fsanitize=${VM_SANITIZE} -fno-omit-frame-pointer -fno-sanitize-recover=all)
  add_link_options(-fsanitize=${VM_SANITIZE})
endif()

option(VM_UNITY_BUILD "Compile libraries several files at a time: less work in all" OFF)

# vm_unity_build(<target>): where the option says so. A source with names of its own that
# another has, too, is left out by SKIP_UNITY_BUILD_INCLUSION.
function(vm_unity_build target)
  if(NOT VM_UNITY_BUILD)
    return()
  endif()
  set_target_properties(${target} PROPERTIES UNITY_BUILD ON UNITY_BUILD_BATCH_SIZE 8)
  # A class of a .cc file with a member of its anonymous namespace looks like a header's.
  target_compile_options(${target} PRIVATE $<$<CXX_COMPILER_ID:GNU>:-Wno-subobject-linkage>)
endfunction()

# vm_add_library(<name> [STATIC]
#   PUBLIC_HEADERS <file>...  SOURCES <file>...
#   [SOURCES_X86_64 <file>...] [SOURCES_AARCH64 <file>...]
#   [INCLUDES_X86_64 <folder>] [INCLUDES_AARCH64 <folder>]
#   [PUBLIC_DEPS <target>...] [PRIVATE_DEPS <target>...])
# Defines <name> and, for a folder vm_x, the alias vm::x. PUBLIC_HEADERS is the
# API: what is installed, and compiled alone: by the source of the same name, which begins
# with it, or by all_verify_interface_header_sets. INCLUDES_*: where its sources find the
# architecture's headers.
function(vm_add_library name)
  cmake_parse_arguments(arg "STATIC" "INCLUDES_X86_64;INCLUDES_AARCH64"
    "PUBLIC_HEADERS;SOURCES;SOURCES_X86_64;SOURCES_AARCH64;PUBLIC_DEPS;PRIVATE_DEPS" ${ARGN})
  set(kind)
  if(arg_STATIC)
    set(kind STATIC)
  endif()
  add_library(${name} ${kind} ${arg_SOURCES})
  if(CMAKE_SYSTEM_PROCESSOR MATCHES "^(x86_64|AMD64)$")
    target_sources(${name} PRIVATE ${arg_SOURCES_X86_64})
    target_include_directories(${name} PRIVATE ${arg_INCLUDES_X86_64})
  elseif(CMAKE_SYSTEM_PROCESSOR MATCHES "^(aarch64|arm64)$")
    target_sources(${name} PRIVATE ${arg_SOURCES_AARCH64})
    target_include_directories(${name} PRIVATE ${arg_INCLUDES_AARCH64})
  endif()
  set(with_source ${arg_PUBLIC_HEADERS})
  set(sources ${arg_SOURCES})
  list(TRANSFORM sources REPLACE "\\.cc$" ".h")
  list(REMOVE_ITEM arg_PUBLIC_HEADERS ${sources})
  list(REMOVE_ITEM with_source ${arg_PUBLIC_HEADERS} "")
  target_sources(${name} PUBLIC
    FILE_SET HEADERS BASE_DIRS ${PROJECT_SOURCE_DIR} FILES ${with_source}
    FILE_SET header_only TYPE HEADERS BASE_DIRS ${PROJECT_SOURCE_DIR} FILES ${arg_PUBLIC_HEADERS})
  target_compile_features(${name} PUBLIC cxx_std_20)
  target_link_libraries(${name} PUBLIC ${arg_PUBLIC_DEPS}
    PRIVATE ${arg_PRIVATE_DEPS} $<BUILD_INTERFACE:vm_build_flags>)
  vm_unity_build(${name})
  string(REGEX REPLACE "^vm_" "" short ${name})
  # Kernels are compiled alone: what each may use of the processor is its own.
  set_source_files_properties(${arg_SOURCES_X86_64} ${arg_SOURCES_AARCH64}
    PROPERTIES SKIP_UNITY_BUILD_INCLUSION ON)
  set_target_properties(${name} PROPERTIES
    EXPORT_NAME ${short}
    POSITION_INDEPENDENT_CODE ON
    VERSION ${PROJECT_VERSION}
    SOVERSION ${PROJECT_VERSION_MAJOR}.${PROJECT_VERSION_MINOR}
    VERIFY_INTERFACE_HEADER_SETS ${PROJECT_IS_TOP_LEVEL}
    INTERFACE_HEADER_SETS_TO_VERIFY header_only)
  add_library(vm::${short} ALIAS ${name})
  set_property(GLOBAL APPEND PROPERTY VM_LIBRARIES ${name})
endfunction()

# The tests labelled concurrency: all that the tsan preset has to build.
add_custom_target(concurrency_tests)

# Tests spend their compile time on what GoogleTest and the standard library declare,
# and on optimizing assertions. A developer's build keeps the preset's flags and checks
# the includes; a build of everything takes the short cuts.
option(VM_QUICK_TEST_BUILD "Compile tests with a precompiled header and little optimization" OFF)
if(VM_QUICK_TEST_BUILD AND CMAKE_CXX_COMPILER_ID STREQUAL "GNU")
  # ThreadSanitizer and the emulator are slow enough with code that is optimized a little.
  # GCC's warnings about values are wrong of std::string and the like at -O1.
  set(VM_QUICK_TEST_FLAGS -O0)
  if(VM_SANITIZE MATCHES "thread" OR CMAKE_CROSSCOMPILING)
    set(VM_QUICK_TEST_FLAGS -O1
      -Wno-array-bounds -Wno-restrict -Wno-stringop-overflow -Wno-stringop-overread
      -Wno-maybe-uninitialized)
  endif()
  # The checks of undefined behaviour are half of the time that a sanitized test takes to compile:
  # the libraries have them.
  if(VM_SANITIZE MATCHES "undefined")
    list(APPEND VM_QUICK_TEST_FLAGS -fno-sanitize=undefined)
  endif()
  if(VM_SANITIZE)
    add_compile_options(-g1)  # a report needs names and lines, no types
  endif()
  # A tenth of the compiler's time is the collection of its garbage: not before 1 GiB (in KiB).
  add_compile_options(--param=ggc-min-heapsize=1048576)
endif()

# Sanitizers and emulators are slow to start: there one test is a program with all of its
# cases. That each runs alone is for the other configurations to show.
set(VM_TEST_PROGRAMS OFF)
if(VM_QUICK_TEST_BUILD AND (VM_SANITIZE OR CMAKE_CROSSCOMPILING))
  set(VM_TEST_PROGRAMS ON)
endif()

# vm_quick_test_target(<target>): the short cuts, for one target of the tests.
function(vm_quick_test_target target)
  if(NOT VM_QUICK_TEST_FLAGS)
    return()
  endif()
  target_compile_options(${target} PRIVATE ${VM_QUICK_TEST_FLAGS})
  # It is C++: a target with C sources does without.
  get_target_property(sources ${target} SOURCES)
  if(sources MATCHES "\\.c(;|$)")
    return()
  endif()
  if(NOT TARGET vm_test_precompiled)
    add_library(vm_test_precompiled OBJECT ${PROJECT_SOURCE_DIR}/tests/support/precompiled.cc)
    target_link_libraries(vm_test_precompiled PRIVATE vm_build_flags vm_device rapidcheck
      rapidcheck_gtest GTest::gmock)
    target_compile_options(vm_test_precompiled PRIVATE ${VM_QUICK_TEST_FLAGS})
    target_precompile_headers(vm_test_precompiled PRIVATE
      ${PROJECT_SOURCE_DIR}/tests/support/precompiled.h)
  endif()
  target_precompile_headers(${target} REUSE_FROM vm_test_precompiled)
endfunction()

# vm_add_test(<folder>/<file>_test [SOURCES <file>...] [DEPS <target>...] [OPTIMIZED] [PORTABLE]
#   [LABELS <label>...] [TIMEOUT <seconds>] [EMULATED_ENVIRONMENT <name=value>]
#   [SANITIZED_ENVIRONMENT <name=value>])
# One binary per test file; ctest names mirror the path:
# vm_mem/simd_memcpy_test.PerIsa/KernelTest.CopiesEveryLength/avx2
# EMULATED_ENVIRONMENT is set where an emulator runs the test: fewer cases, say.
# SANITIZED_ENVIRONMENT likewise in builds with a sanitizer.
# PORTABLE: nothing of the architecture is in what it tests, so that a quick build for an
# emulator leaves it out.
# OPTIMIZED: the preset's flags always, because what the test checks is inlined into
# it, or because it computes for long.
function(vm_add_test path)
  cmake_parse_arguments(arg "OPTIMIZED;PORTABLE"
    "TIMEOUT;EMULATED_ENVIRONMENT;SANITIZED_ENVIRONMENT"
    "SOURCES;DEPS;LABELS" ${ARGN})
  if(arg_PORTABLE AND VM_QUICK_TEST_BUILD AND CMAKE_CROSSCOMPILING)
    return()
  endif()
  string(REPLACE "/" "_" target ${path})
  add_executable(${target} ${PROJECT_SOURCE_DIR}/tests/${path}.cc ${arg_SOURCES})
  target_link_libraries(${target} PRIVATE vm_build_flags ${arg_DEPS} GTest::gmock GTest::gtest_main)
  target_include_directories(${target} PRIVATE ${PROJECT_SOURCE_DIR})
  target_compile_definitions(${target} PRIVATE VM_TEST_SANITIZERS="${VM_SANITIZE}")
  if(NOT arg_OPTIMIZED)
    vm_quick_test_target(${target})
  endif()
  if(NOT arg_TIMEOUT)
    set(arg_TIMEOUT 300)
  endif()
  set(environment)
  if(CMAKE_CROSSCOMPILING AND arg_EMULATED_ENVIRONMENT)
    set(environment ENVIRONMENT "${arg_EMULATED_ENVIRONMENT}")
  elseif(VM_SANITIZE AND arg_SANITIZED_ENVIRONMENT)
    set(environment ENVIRONMENT "${arg_SANITIZED_ENVIRONMENT}")
  endif()
  if(VM_TEST_PROGRAMS)
    add_test(NAME ${path} COMMAND ${target} --gtest_brief=1)
    set_tests_properties(${path} PROPERTIES TIMEOUT 900 ${environment}
      LABELS "${arg_LABELS}")
  else()
    gtest_discover_tests(${target} TEST_PREFIX ${path}. NO_PRETTY_VALUES DISCOVERY_TIMEOUT 120
      PROPERTIES TIMEOUT ${arg_TIMEOUT} ${environment} LABELS "${arg_LABELS}")
  endif()
  if("concurrency" IN_LIST arg_LABELS)
    add_dependencies(concurrency_tests ${target})
  endif()
endfunction()
