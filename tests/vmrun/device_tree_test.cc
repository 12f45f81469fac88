#include "tools/vmrun/device_tree.h"

#include <gtest/gtest.h>
#include <libfdt.h>

#include <string>
#include <vector>

namespace vmrun {
namespace {

class DeviceTreeTest : public testing::Test {
 protected:
  int node(const std::string& path) const { return fdt_path_offset(tree_.data(), path.c_str()); }
  std::vector<std::uint32_t> cells(const std::string& path, const char* name) const {
    int bytes = 0;
    const auto* value =
        static_cast<const fdt32_t*>(fdt_getprop(tree_.data(), node(path), name, &bytes));
    std::vector<std::uint32_t> out;
    for (int i = 0; value != nullptr && i < bytes / 4; ++i) out.push_back(fdt32_to_cpu(value[i]));
    return out;
  }
  std::string text(const std::string& path, const char* name) const {
    const void* value = fdt_getprop(tree_.data(), node(path), name, nullptr);
    return value == nullptr ? "" : static_cast<const char*>(value);
  }
  bool is_compatible(const std::string& path, const char* with) const {
    return fdt_node_check_compatible(tree_.data(), node(path), with) == 0;
  }
  using Cells = std::vector<std::uint32_t>;

  std::vector<std::byte> tree_ = make_device_tree({.memory_bytes = std::uint64_t{5} << 30}).value();
};

TEST_F(DeviceTreeTest, IsWellFormed) {
  EXPECT_EQ(fdt_check_full(tree_.data(), tree_.size()), 0);
  EXPECT_EQ(fdt_totalsize(tree_.data()), tree_.size());
}

TEST_F(DeviceTreeTest, MemoryHasItsSizeInTwoCells) {
  EXPECT_EQ(cells("/memory@80000000", "reg"), (Cells{0, 0x80000000, 1, 0x40000000}));
}

TEST_F(DeviceTreeTest, TheConsoleIsTheSerialPort) {
  const std::string serial = text("/chosen", "stdout-path");
  EXPECT_TRUE(is_compatible(serial, "ns16550a"));
  EXPECT_EQ(cells(serial, "interrupts"), Cells{10});
}

TEST_F(DeviceTreeTest, TheCpuSaysWhatItCan) {
  EXPECT_EQ(text("/cpus/cpu@0", "riscv,isa"),
            "rv64imafdc_zicbom_zicboz_zicsr_zifencei_zba_zbb_svadu");
  EXPECT_EQ(text("/cpus/cpu@0", "mmu-type"), "riscv,sv48");
  EXPECT_EQ(cells("/cpus", "timebase-frequency"), Cells{10'000'000});
}

TEST_F(DeviceTreeTest, EveryCompatibleNameCanBeFound) {
  EXPECT_TRUE(is_compatible("/soc/plic@c000000", "riscv,plic0"));
  EXPECT_TRUE(is_compatible("/soc/clint@2000000", "riscv,clint0"));
  EXPECT_TRUE(is_compatible("/soc/test@100000", "syscon"));
  EXPECT_TRUE(is_compatible("/flash@20000000", "cfi-flash"));
  for (int slot = 1; slot <= 8; ++slot) {
    const std::string path = "/soc/virtio_mmio@1000" + std::to_string(slot) + "000";
    EXPECT_TRUE(is_compatible(path, "virtio,mmio")) << path;
    EXPECT_EQ(cells(path, "interrupts"), Cells{static_cast<std::uint32_t>(slot)});
  }
}

TEST_F(DeviceTreeTest, SwitchingOffIsAWriteToTheFinisher) {
  EXPECT_EQ(cells("/poweroff", "value"), Cells{0x5555});
  EXPECT_EQ(cells("/poweroff", "regmap"), cells("/soc/test@100000", "phandle"));
  EXPECT_EQ(cells("/reboot", "value"), Cells{0x7777});
}

TEST_F(DeviceTreeTest, InterruptsLeadToTheCpu) {
  const Cells cpu = cells("/cpus/cpu@0/interrupt-controller", "phandle");
  EXPECT_EQ(cells("/soc/plic@c000000", "interrupts-extended"), (Cells{cpu[0], 11, cpu[0], 9}));
  EXPECT_EQ(cells("/soc/clint@2000000", "interrupts-extended"), (Cells{cpu[0], 3, cpu[0], 7}));
  EXPECT_EQ(cells("/soc/serial@10000000", "interrupt-parent"),
            cells("/soc/plic@c000000", "phandle"));
}

TEST_F(DeviceTreeTest, EveryHartHasItsInterrupts) {
  tree_ = make_device_tree({.memory_bytes = 1 << 30, .harts = 2}).value();
  EXPECT_EQ(cells("/cpus/cpu@1", "reg"), Cells{1});
  const Cells first = cells("/cpus/cpu@0/interrupt-controller", "phandle");
  const Cells second = cells("/cpus/cpu@1/interrupt-controller", "phandle");
  ASSERT_EQ(second.size(), 1u);
  EXPECT_EQ(cells("/soc/plic@c000000", "interrupts-extended"),
            (Cells{first[0], 11, first[0], 9, second[0], 11, second[0], 9}));
  EXPECT_EQ(cells("/soc/clint@2000000", "interrupts-extended"),
            (Cells{first[0], 3, first[0], 7, second[0], 3, second[0], 7}));
}

TEST_F(DeviceTreeTest, ChosenHasWhatTheKernelIsGiven) {
  EXPECT_EQ(text("/chosen", "bootargs"), "");
  EXPECT_TRUE(cells("/chosen", "linux,initrd-start").empty());
  tree_ = make_device_tree({.memory_bytes = 1 << 30,
                            .command_line = std::string(kMostCommandLineBytes, 'x'),
                            .initrd_begin = 0x1'8000'1000,
                            .initrd_end = 0x1'8000'1234})
              .value();
  EXPECT_EQ(text("/chosen", "bootargs"), std::string(kMostCommandLineBytes, 'x'));
  EXPECT_EQ(cells("/chosen", "linux,initrd-start"), (Cells{1, 0x8000'1000}));
  EXPECT_EQ(cells("/chosen", "linux,initrd-end"), (Cells{1, 0x8000'1234}));
}

}  // namespace
}  // namespace vmrun
