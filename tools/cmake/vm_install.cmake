# What `cmake --install` puts where: the libraries, the public headers, the CMake
# package `vm` and the pkg-config files.

include(CMakePackageConfigHelpers)

get_property(libraries GLOBAL PROPERTY VM_LIBRARIES)
install(TARGETS ${libraries} EXPORT vm-targets
  FILE_SET HEADERS DESTINATION ${CMAKE_INSTALL_INCLUDEDIR}
  FILE_SET header_only DESTINATION ${CMAKE_INSTALL_INCLUDEDIR})

set(package_dir ${CMAKE_INSTALL_LIBDIR}/cmake/vm)
install(EXPORT vm-targets NAMESPACE vm:: DESTINATION ${package_dir})
configure_package_config_file(${CMAKE_CURRENT_LIST_DIR}/vm-config.cmake.in
  ${PROJECT_BINARY_DIR}/vm-config.cmake INSTALL_DESTINATION ${package_dir})
write_basic_package_version_file(${PROJECT_BINARY_DIR}/vm-config-version.cmake
  COMPATIBILITY SameMinorVersion)
install(FILES ${PROJECT_BINARY_DIR}/vm-config.cmake ${PROJECT_BINARY_DIR}/vm-config-version.cmake
  DESTINATION ${package_dir})

# What vm_device is linked with where it is built as an archive, and vm_mem_snapshot always.
set(VM_DEVICE_PC_PRIVATE ${VM_OPTIONAL})
list(FILTER VM_DEVICE_PC_PRIVATE INCLUDE REGEX liburing)
list(JOIN VM_OPTIONAL " " VM_SNAPSHOT_PC)

# The prefix is found from where the file lies, so that the tree can be moved.
file(RELATIVE_PATH VM_PC_PREFIX /${CMAKE_INSTALL_LIBDIR}/pkgconfig /)
foreach(part IN ITEMS mem mem-snapshot device engine)
  configure_file(${CMAKE_CURRENT_LIST_DIR}/vm-${part}.pc.in ${PROJECT_BINARY_DIR}/vm-${part}.pc @ONLY)
  install(FILES ${PROJECT_BINARY_DIR}/vm-${part}.pc DESTINATION ${CMAKE_INSTALL_LIBDIR}/pkgconfig)
endforeach()
