// An NS16550A: the guest's console. Transmission is instantaneous, the line settings
// are remembered and without effect.
#ifndef VMRUN_UART_H_
#define VMRUN_UART_H_

#include <array>
#include <cstddef>
#include <cstdint>
#include <deque>
#include <functional>
#include <utility>

#include "vm_device/interrupt_line.h"
#include "vm_device/state_bytes.h"
#include "vm_mem/mmio_handler.h"

namespace vmrun {

// Registers are one byte wide, one byte apart.
//
// Threads:  the hart's.
// Source:   PC16550D data sheet.
class Uart final : public vm_mem::MmioHandler {
 public:
  static constexpr std::size_t kFifoBytes = 16;

  // Needs:  `line` outlives this object.
  Uart(vm_device::InterruptLine& line, std::function<void(char)> transmit)
      : line_(&line), transmit_(std::move(transmit)) {}

  // How many bytes receive() takes at the moment.
  std::size_t space() const;
  // Needs:  space() > 0.
  void receive(char byte);

  // How often the guest has found nothing to read since it last read or wrote a byte:
  // what tells a guest that waits in a loop from one that works.
  std::uint64_t idle_polls() const { return idle_polls_; }

  vm_mem::AccessFault mmio_read(std::uint64_t offset, unsigned size, std::uint64_t& value) override;
  vm_mem::AccessFault mmio_write(std::uint64_t offset, unsigned size, std::uint64_t value) override;

  // For a snapshot, with what was typed and not read. What was refused, the reader says.
  void save(vm_device::StateWriter& to) const;
  void load(vm_device::StateReader& from);

 private:
  template <typename Archive, typename Self>
  static void fields(Archive& archive, Self& self);
  std::uint8_t read_register(std::uint64_t offset);
  void write_register(std::uint64_t offset, std::uint8_t value);
  std::uint8_t pop();
  void accept(char byte);
  void write_fifo_control(std::uint8_t value);
  std::uint8_t line_status();
  std::uint8_t identify_interrupt();
  std::uint8_t modem_status() const;
  void write_interrupt_enable(std::uint8_t value);
  bool divisor_selected() const;
  bool has_receive_interrupt() const;
  void update();

  vm_device::InterruptLine* line_;
  std::function<void(char)> transmit_;
  std::deque<char> received_;
  std::uint64_t idle_polls_ = 0;
  std::array<std::uint8_t, 2> divisor_{1, 0};
  std::uint8_t interrupt_enable_ = 0;
  std::uint8_t fifo_control_ = 0;
  std::uint8_t line_control_ = 0;
  std::uint8_t modem_control_ = 0;
  std::uint8_t scratch_ = 0;
  bool transmitter_empty_interrupt_ = false;
};

}  // namespace vmrun

#endif  // VMRUN_UART_H_
