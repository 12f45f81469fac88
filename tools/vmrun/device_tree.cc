#include "tools/vmrun/device_tree.h"

#include <initializer_list>
#include <span>
#include <string>
#include <string_view>

#include <libfdt.h>

#include "absl/status/status.h"
#include "absl/strings/str_format.h"
#include "tools/vmrun/clock.h"
#include "tools/vmrun/finisher.h"
#include "tools/vmrun/hart_memory.h"
#include "tools/vmrun/interrupt_pins.h"
#include "tools/vmrun/layout.h"
#include "tools/vmrun/plic.h"

namespace vmrun {
namespace {

static_assert(kMostCommandLineBytes + 16384 <= kMostTreeBytes);

// Those of the harts' interrupt controllers follow one another.
enum Phandle : std::uint32_t { kPlicPhandle = 1, kFinisherPhandle = 2, kFirstCpuInterrupts = 3 };

// libfdt's sequential writer; the first error stays.
class Writer {
 public:
  Writer() : bytes_(kMostTreeBytes) {
    note(fdt_create(bytes_.data(), static_cast<int>(bytes_.size())));
    note(fdt_finish_reservemap(bytes_.data()));
  }

  void begin(const std::string& name) { note(fdt_begin_node(bytes_.data(), name.c_str())); }
  void end() { note(fdt_end_node(bytes_.data())); }

  // A property without a value.
  void flag(const char* name) { note(fdt_property(bytes_.data(), name, nullptr, 0)); }
  // `text` may hold several strings with null characters between.
  void text(const char* name, std::string_view text) {
    const std::string value(text);
    note(fdt_property(bytes_.data(), name, value.c_str(), static_cast<int>(value.size() + 1)));
  }
  void bytes(const char* name, std::span<const std::byte> value) {
    note(fdt_property(bytes_.data(), name, value.data(), static_cast<int>(value.size())));
  }
  void cells(const char* name, std::initializer_list<std::uint32_t> values) {
    cells(name, std::vector<std::uint32_t>(values));
  }
  void cells(const char* name, const std::vector<std::uint32_t>& values) {
    std::vector<fdt32_t> big_endian;
    for (const std::uint32_t value : values) big_endian.push_back(cpu_to_fdt32(value));
    note(fdt_property(bytes_.data(), name, big_endian.data(),
                      static_cast<int>(big_endian.size() * sizeof(fdt32_t))));
  }
  // An address and a size, of two cells each.
  void range(std::uint64_t base, std::uint64_t bytes) {
    cells("reg", {static_cast<std::uint32_t>(base >> 32), static_cast<std::uint32_t>(base),
                  static_cast<std::uint32_t>(bytes >> 32), static_cast<std::uint32_t>(bytes)});
  }

  absl::StatusOr<std::vector<std::byte>> finish() && {
    note(fdt_finish(bytes_.data()));
    if (error_ != 0) {
      return absl::InternalError(absl::StrFormat("device tree: %s", fdt_strerror(error_)));
    }
    bytes_.resize(fdt_totalsize(bytes_.data()));
    return std::move(bytes_);
  }

 private:
  void note(int result) {
    if (error_ == 0) error_ = result;
  }

  std::vector<std::byte> bytes_;
  int error_ = 0;
};

std::string node_name(std::string_view kind, std::uint64_t base) {
  return absl::StrFormat("%s@%x", std::string(kind), base);
}

void address_cells(Writer& tree, std::uint32_t address, std::uint32_t size) {
  tree.cells("#address-cells", {address});
  tree.cells("#size-cells", {size});
}

constexpr std::uint32_t high_cell(std::uint64_t value) {
  return static_cast<std::uint32_t>(value >> 32);
}
constexpr std::uint32_t low_cell(std::uint64_t value) { return static_cast<std::uint32_t>(value); }

void add_chosen(Writer& tree, const TreeOptions& options) {
  tree.begin("chosen");
  tree.text("stdout-path", "/soc/" + node_name("serial", kUartBase));
  if (!options.command_line.empty()) tree.text("bootargs", options.command_line);
  if (options.initrd_begin != options.initrd_end) {
    tree.cells("linux,initrd-start",
               {high_cell(options.initrd_begin), low_cell(options.initrd_begin)});
    tree.cells("linux,initrd-end", {high_cell(options.initrd_end), low_cell(options.initrd_end)});
  }
  if (options.rng_seed) tree.bytes("rng-seed", *options.rng_seed);
  tree.end();
}

// A node that makes a write of `value` to the finisher mean something.
void add_syscon(Writer& tree, const char* name, const char* compatible, std::uint32_t value) {
  tree.begin(name);
  tree.cells("value", {value});
  tree.cells("offset", {0});
  tree.cells("regmap", {kFinisherPhandle});
  tree.text("compatible", compatible);
  tree.end();
}

void add_memory(Writer& tree, std::uint64_t memory_bytes) {
  tree.begin(node_name("memory", kRamBase));
  tree.text("device_type", "memory");
  tree.range(kRamBase, memory_bytes);
  tree.end();
}

void add_flash(Writer& tree) {
  tree.begin(node_name("flash", kFlashBase));
  tree.text("compatible", "cfi-flash");
  tree.cells("reg", {0, kFlashBase, 0, kFlashBytes, 0, kFlashBase + kFlashBytes, 0, kFlashBytes});
  tree.cells("bank-width", {4});
  tree.end();
}

void add_cpu(Writer& tree, unsigned hart) {
  tree.begin(node_name("cpu", hart));
  tree.text("device_type", "cpu");
  tree.cells("reg", {hart});
  tree.text("status", "okay");
  tree.text("compatible", "riscv");
  tree.text("riscv,isa", "rv64imafdc_zicbom_zicboz_zicsr_zifencei_zba_zbb_svadu");
  tree.cells("riscv,cbom-block-size", {kCacheBlockBytes});
  tree.cells("riscv,cboz-block-size", {kCacheBlockBytes});
  tree.text("mmu-type", "riscv,sv48");
  tree.begin("interrupt-controller");
  tree.cells("#interrupt-cells", {1});
  tree.flag("interrupt-controller");
  tree.text("compatible", "riscv,cpu-intc");
  tree.cells("phandle", {kFirstCpuInterrupts + hart});
  tree.end();
  tree.end();
}

void add_cpus(Writer& tree, unsigned harts) {
  tree.begin("cpus");
  address_cells(tree, 1, 0);
  tree.cells("timebase-frequency", {kTicksPerSecond});
  for (unsigned hart = 0; hart < harts; ++hart) add_cpu(tree, hart);
  tree.end();
}

// Two interrupts of each hart.
std::vector<std::uint32_t> interrupts_of(unsigned harts, Interrupt first, Interrupt second) {
  std::vector<std::uint32_t> out;
  for (unsigned hart = 0; hart < harts; ++hart) {
    for (const Interrupt each : {first, second}) {
      out.push_back(kFirstCpuInterrupts + hart);
      out.push_back(static_cast<std::uint32_t>(each));
    }
  }
  return out;
}

void add_interrupt(Writer& tree, unsigned source) {
  tree.cells("interrupts", {source});
  tree.cells("interrupt-parent", {kPlicPhandle});
}

void add_interrupt_controllers(Writer& tree, unsigned harts) {
  tree.begin(node_name("plic", kPlicBase));
  tree.text("compatible", std::string_view("sifive,plic-1.0.0\0riscv,plic0", 29));
  tree.range(kPlicBase, kPlicBytes);
  tree.cells("#address-cells", {0});
  tree.cells("#interrupt-cells", {1});
  tree.flag("interrupt-controller");
  tree.cells("interrupts-extended",
             interrupts_of(harts, Interrupt::kExternal, Interrupt::kSupervisorExternal));
  tree.cells("riscv,ndev", {Plic::kSources});
  tree.cells("phandle", {kPlicPhandle});
  tree.end();
  tree.begin(node_name("clint", kClintBase));
  tree.text("compatible", std::string_view("sifive,clint0\0riscv,clint0", 26));
  tree.range(kClintBase, kClintBytes);
  tree.cells("interrupts-extended", interrupts_of(harts, Interrupt::kSoftware, Interrupt::kTimer));
  tree.end();
}

void add_finisher(Writer& tree) {
  tree.begin(node_name("test", kFinisherBase));
  tree.text("compatible", std::string_view("sifive,test1\0sifive,test0\0syscon", 32));
  tree.range(kFinisherBase, kFinisherBytes);
  tree.cells("phandle", {kFinisherPhandle});
  tree.end();
}

void add_serial(Writer& tree) {
  constexpr std::uint32_t kInputClockHz = 3'686'400;
  tree.begin(node_name("serial", kUartBase));
  tree.text("compatible", "ns16550a");
  tree.range(kUartBase, 0x100);
  tree.cells("clock-frequency", {kInputClockHz});
  add_interrupt(tree, kUartInterrupt);
  tree.end();
}

void add_virtio(Writer& tree, unsigned slot) {
  const std::uint64_t base = kVirtioBase + slot * kVirtioBytes;
  tree.begin(node_name("virtio_mmio", base));
  tree.text("compatible", "virtio,mmio");
  tree.range(base, kVirtioBytes);
  add_interrupt(tree, kVirtioFirstInterrupt + slot);
  tree.end();
}

void add_soc(Writer& tree, unsigned harts) {
  tree.begin("soc");
  address_cells(tree, 2, 2);
  tree.text("compatible", "simple-bus");
  tree.flag("ranges");
  add_interrupt_controllers(tree, harts);
  add_finisher(tree);
  add_serial(tree);
  for (unsigned slot = 0; slot < kVirtioSlots; ++slot) add_virtio(tree, slot);
  tree.end();
}

}  // namespace

absl::StatusOr<std::vector<std::byte>> make_device_tree(const TreeOptions& options) {
  Writer tree;
  tree.begin("");
  address_cells(tree, 2, 2);
  tree.text("compatible", "riscv-virtio");
  tree.text("model", "riscv-virtio,vmrun");
  add_chosen(tree, options);
  add_memory(tree, options.memory_bytes);
  add_flash(tree);
  add_cpus(tree, options.harts);
  add_soc(tree, options.harts);
  add_syscon(tree, "poweroff", "syscon-poweroff", kFinisherPass);
  add_syscon(tree, "reboot", "syscon-reboot", kFinisherReset);
  tree.end();
  return std::move(tree).finish();
}

}  // namespace vmrun
