// Source:  virtio 1.2, sections 2.7 (split virtqueues), 4.2 (over MMIO), 5.2 (block device).

#include "bench/vmrun/guest/disk.h"

enum { kQueueSize = 4, kNext = 1, kDeviceWrites = 2 };
enum { kAcknowledge = 1, kDriver = 2, kDriverOk = 4, kFeaturesOk = 8 };
enum {
  kMagic = 0x00,
  kVersion = 0x04,
  kDeviceId = 0x08,
  kDriverFeatures = 0x20,
  kDriverFeaturesSelect = 0x24,
  kQueueSelect = 0x30,
  kQueueNumber = 0x38,
  kQueueReady = 0x44,
  kQueueNotify = 0x50,
  kStatus = 0x70,
  kQueueDescriptors = 0x80,
  kQueueDriver = 0x90,
  kQueueDevice = 0xa0,
};

static struct {
  uint64_t address;
  uint32_t bytes;
  uint16_t flags;
  uint16_t next;
} descriptors[kQueueSize] __attribute__((aligned(16)));

static volatile struct {
  uint16_t flags;
  uint16_t index;
  uint16_t ring[kQueueSize];
} available __attribute__((aligned(2)));

static volatile struct {
  uint16_t flags;
  uint16_t index;
  struct {
    uint32_t id;
    uint32_t bytes;
  } ring[kQueueSize];
} used __attribute__((aligned(4)));

static struct {
  uint32_t type;
  uint32_t reserved;
  uint64_t sector;
} header;
static volatile uint8_t status;

static volatile uint32_t* reg(unsigned offset) { return (uint32_t*)(0x10001000ul + offset); }

static void set_address(unsigned offset, const volatile void* at) {
  *reg(offset) = (uint32_t)(uintptr_t)at;
  *reg(offset + 4) = (uint32_t)((uintptr_t)at >> 32);
}

int disk_start(void) {
  if (*reg(kMagic) != 0x74726976 || *reg(kVersion) != 2 || *reg(kDeviceId) != 2) return 0;
  *reg(kStatus) = 0;
  *reg(kStatus) = kAcknowledge | kDriver;
  *reg(kDriverFeaturesSelect) = 0;
  *reg(kDriverFeatures) = 0;
  *reg(kDriverFeaturesSelect) = 1;
  *reg(kDriverFeatures) = 1;  // VIRTIO_F_VERSION_1
  *reg(kStatus) |= kFeaturesOk;
  *reg(kQueueSelect) = 0;
  *reg(kQueueNumber) = kQueueSize;
  set_address(kQueueDescriptors, descriptors);
  set_address(kQueueDriver, &available);
  set_address(kQueueDevice, &used);
  *reg(kQueueReady) = 1;
  *reg(kStatus) |= kDriverOk;
  return 1;
}

int disk_transfer(enum disk_direction direction, uint64_t sector, void* memory, uint32_t bytes) {
  header.type = direction;
  header.sector = sector;
  status = 0xff;
  descriptors[0].address = (uintptr_t)&header;
  descriptors[0].bytes = sizeof header;
  descriptors[0].flags = kNext;
  descriptors[0].next = 1;
  descriptors[1].address = (uintptr_t)memory;
  descriptors[1].bytes = bytes;
  descriptors[1].flags = kNext | (direction == kDiskRead ? kDeviceWrites : 0);
  descriptors[1].next = 2;
  descriptors[2].address = (uintptr_t)&status;
  descriptors[2].bytes = 1;
  descriptors[2].flags = kDeviceWrites;
  const uint16_t before = used.index;
  available.ring[available.index % kQueueSize] = 0;
  __sync_synchronize();
  available.index = available.index + 1;
  __sync_synchronize();
  *reg(kQueueNotify) = 0;
  while (used.index == before) continue;
  __sync_synchronize();
  return status == 0;
}
