# rust-vmm's vm-memory from Debian's package of the crate, built by cargo, which downloads
# nothing. Cargo writes beside the manifest, so the crate is built from a copy.

set(crate_build ${CMAKE_CURRENT_BINARY_DIR}/vm_memory)
foreach(file IN ITEMS Cargo.toml .cargo/config.toml src/lib.rs)
  configure_file(vm_memory/${file} ${crate_build}/${file} COPYONLY)
endforeach()

# Debian's compiler, that the crate is packaged with, before any other.
find_program(VM_BENCH_CARGO cargo PATHS /usr/bin NO_DEFAULT_PATH)
find_program(VM_BENCH_CARGO cargo)
find_program(VM_BENCH_RUSTC rustc PATHS /usr/bin NO_DEFAULT_PATH)
find_program(VM_BENCH_RUSTC rustc)
mark_as_advanced(VM_BENCH_CARGO VM_BENCH_RUSTC)
set(cargo ${CMAKE_COMMAND} -E env CARGO_HOME=${crate_build}/home RUSTC=${VM_BENCH_RUSTC}
  ${VM_BENCH_CARGO})

# Whether every crate is there is cargo's to say: a package may be installed by half.
set(missing)
if(NOT VM_BENCH_CARGO OR NOT VM_BENCH_RUSTC)
  set(missing "cargo is not installed")
elseif(NOT CMAKE_SYSTEM_PROCESSOR STREQUAL CMAKE_HOST_SYSTEM_PROCESSOR OR VM_SANITIZE)
  set(missing "vm-memory is not built for this configuration")
else()
  file(REMOVE ${crate_build}/Cargo.lock)  # of another version of cargo, perhaps
  execute_process(COMMAND ${cargo} generate-lockfile --offline
    WORKING_DIRECTORY ${crate_build} RESULT_VARIABLE status OUTPUT_QUIET ERROR_QUIET)
  if(NOT status EQUAL 0)
    set(missing "librust-vm-memory-dev is not installed")
  endif()
endif()
if(missing)
  vm_add_absent_peer(vm_bench_vm_memory "${missing}")
  return()
endif()

set(archive ${crate_build}/target/release/libvm_bench_vm_memory.a)
add_custom_command(OUTPUT ${archive}
  COMMAND ${cargo} build --release --offline --quiet --target-dir ${crate_build}/target
  WORKING_DIRECTORY ${crate_build}
  DEPENDS ${crate_build}/Cargo.toml ${crate_build}/.cargo/config.toml ${crate_build}/src/lib.rs
  COMMENT "Building vm-memory with cargo"
  VERBATIM)
add_custom_target(vm_bench_vm_memory_crate DEPENDS ${archive})

add_library(vm_bench_vm_memory STATIC vm_memory.cc)
add_dependencies(vm_bench_vm_memory vm_bench_vm_memory_crate)
target_link_libraries(vm_bench_vm_memory PRIVATE ${archive} Threads::Threads ${CMAKE_DL_LIBS} m)
