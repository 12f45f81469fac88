# What is used where it is installed: each is a target PkgConfig::<name> then.

option(VM_IO_URING "Use io_uring through liburing where it is installed" ON)
option(VM_ISAL "Compute the checksums of snapshots with ISA-L where it is installed" ON)

set(VM_OPTIONAL)  # the names of those that are, for the installed package
find_package(PkgConfig QUIET)
if(PKG_CONFIG_FOUND AND VM_IO_URING)
  pkg_check_modules(liburing QUIET IMPORTED_TARGET GLOBAL liburing>=2.0)
endif()
if(PKG_CONFIG_FOUND AND VM_ISAL)
  pkg_check_modules(libisal QUIET IMPORTED_TARGET GLOBAL libisal)
endif()
foreach(name IN ITEMS liburing libisal)
  if(TARGET PkgConfig::${name})
    list(APPEND VM_OPTIONAL ${name})
  endif()
endforeach()
