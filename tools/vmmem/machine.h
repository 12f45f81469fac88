// What there is to say of the machine beside its CPU: pages, kernel, libc.
#ifndef VMMEM_MACHINE_H_
#define VMMEM_MACHINE_H_

#include <cstddef>
#include <cstdint>
#include <string>
#include <vector>

namespace vmmem {

struct HugePagePool {
  std::size_t page_bytes = 0;
  std::uint64_t pages = 0;
  std::uint64_t free_pages = 0;
};

struct Machine {
  std::size_t page_bytes = 0;
  std::string transparent_huge_pages;  // "always", "madvise", "never"; "absent"
  std::vector<HugePagePool> pools;     // smallest pages first
  std::string libc;                    // "glibc 2.36"
  std::string kernel;                  // "Linux 6.1.0"
};

Machine look_at_machine();

// The word in brackets of "always [madvise] never"; "absent" where there is none.
std::string chosen_word(const std::string& line);

// What is below `folder`, as /sys/kernel/mm/hugepages.
std::vector<HugePagePool> read_pools(const std::string& folder);

// The register files that XCR0 says the OS saves: "SSE, YMM, mask, ZMM".
std::string saved_register_files(std::uint64_t xcr0);

}  // namespace vmmem

#endif  // VMMEM_MACHINE_H_
