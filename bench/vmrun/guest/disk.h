// The first virtio-blk of the machine, polled: one request at a time.
#ifndef BENCH_VMRUN_GUEST_DISK_H_
#define BENCH_VMRUN_GUEST_DISK_H_

#include <stdint.h>

enum disk_direction { kDiskRead = 0, kDiskWrite = 1 };

// 0: there is none that this driver knows.
int disk_start(void);
// `bytes` are whole sectors. 0: the device reported an error.
int disk_transfer(enum disk_direction direction, uint64_t sector, void* memory, uint32_t bytes);

#endif  // BENCH_VMRUN_GUEST_DISK_H_
