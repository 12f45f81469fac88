// What most tests include, compiled once: for builds with VM_QUICK_TEST_BUILD only.
// A test includes what it uses all the same.
#ifndef VM_TESTS_SUPPORT_PRECOMPILED_H_
#define VM_TESTS_SUPPORT_PRECOMPILED_H_

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <rapidcheck.h>
#include <rapidcheck/gtest.h>

#include <algorithm>
#include <array>
#include <atomic>
#include <cstdint>
#include <cstring>
#include <functional>
#include <map>
#include <memory>
#include <set>
#include <span>
#include <string>
#include <thread>
#include <vector>

#include "absl/status/statusor.h"
#include "vm_device/mmio_bus.h"
#include "vm_device/virtio_mmio.h"
#include "vm_mem/memory_manager.h"

#endif  // VM_TESTS_SUPPORT_PRECOMPILED_H_
