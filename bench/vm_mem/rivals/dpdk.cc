// DPDK's rte_memcpy, which its users compile for their own CPU: here for AVX2.

#include <rte_memcpy.h>

#include "bench/vm_mem/contestants.h"

namespace vm_bench {
namespace {

void copy_dpdk(std::byte* dst, const std::byte* src, std::size_t n) { rte_memcpy(dst, src, n); }

const Rival kDpdk("dpdk", copy_dpdk, __builtin_cpu_supports("avx2") != 0);

}  // namespace
}  // namespace vm_bench
