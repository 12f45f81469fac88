#include "tools/vmrun/uart.h"

#include <span>
#include <string>

namespace vmrun {
namespace {

enum Register : std::uint64_t {
  kBuffer = 0,  // receive and transmit; the divisor's halves while DLAB is set
  kInterruptEnable = 1,
  kInterruptOrFifo = 2,
  kLineControl = 3,
  kModemControl = 4,
  kLineStatus = 5,
  kModemStatus = 6,
  kScratch = 7,
};

constexpr std::uint8_t kDlab = 0x80;
constexpr std::uint8_t kFifoEnable = 0x01;
constexpr std::uint8_t kFifoClearReceive = 0x02;
constexpr std::uint8_t kReceiveEnable = 0x01;
constexpr std::uint8_t kTransmitEnable = 0x02;
constexpr std::uint8_t kInterruptEnableBits = 0x0f;
constexpr std::uint8_t kModemControlBits = 0x1f;
constexpr std::uint8_t kDataReady = 0x01;
constexpr std::uint8_t kTransmitterIdle = 0x60;  // holding and shift register empty
constexpr std::uint8_t kLoopback = 0x10;
constexpr std::uint8_t kNoInterrupt = 0x01;
constexpr std::uint8_t kTransmitInterrupt = 0x02;
constexpr std::uint8_t kReceiveInterrupt = 0x04;
constexpr std::uint8_t kFifosEnabled = 0xc0;
// Clear to send, data set ready, carrier detect.
constexpr std::uint8_t kConnected = 0xb0;

}  // namespace

std::size_t Uart::space() const {
  const std::size_t capacity = (fifo_control_ & kFifoEnable) != 0 ? kFifoBytes : 1;
  return received_.size() >= capacity ? 0 : capacity - received_.size();
}

// In loopback mode the wire is not connected to the receiver.
void Uart::receive(char byte) {
  if ((modem_control_ & kLoopback) == 0) accept(byte);
}

void Uart::accept(char byte) {
  received_.push_back(byte);
  idle_polls_ = 0;
  update();
}

std::uint8_t Uart::pop() {
  if (received_.empty()) return 0;
  const auto byte = static_cast<std::uint8_t>(received_.front());
  received_.pop_front();
  idle_polls_ = 0;
  update();
  return byte;
}

std::uint8_t Uart::line_status() {
  if (!received_.empty()) return kTransmitterIdle | kDataReady;
  ++idle_polls_;
  return kTransmitterIdle;
}

bool Uart::has_receive_interrupt() const {
  return (interrupt_enable_ & kReceiveEnable) != 0 && !received_.empty();
}

// Reading the cause acknowledges a transmitter interrupt.
std::uint8_t Uart::identify_interrupt() {
  const std::uint8_t fifos = (fifo_control_ & kFifoEnable) != 0 ? kFifosEnabled : std::uint8_t{0};
  if (has_receive_interrupt()) return fifos | kReceiveInterrupt;
  if (!transmitter_empty_interrupt_) return fifos | kNoInterrupt;
  transmitter_empty_interrupt_ = false;
  update();
  return fifos | kTransmitInterrupt;
}

void Uart::update() {
  const bool high = has_receive_interrupt() || transmitter_empty_interrupt_;
  line_->set(high ? vm_device::Level::kHigh : vm_device::Level::kLow);
}

bool Uart::divisor_selected() const { return (line_control_ & kDlab) != 0; }

std::uint8_t Uart::read_register(std::uint64_t offset) {
  switch (offset) {
    case kBuffer: return divisor_selected() ? divisor_[0] : pop();
    case kInterruptEnable: return divisor_selected() ? divisor_[1] : interrupt_enable_;
    case kInterruptOrFifo: return identify_interrupt();
    case kLineControl: return line_control_;
    case kModemControl: return modem_control_;
    case kLineStatus: return line_status();
    case kModemStatus: return modem_status();
    case kScratch: return scratch_;
    default: return 0;
  }
}

void Uart::write_fifo_control(std::uint8_t value) {
  const bool toggled = ((value ^ fifo_control_) & kFifoEnable) != 0;
  if (toggled || (value & kFifoClearReceive) != 0) received_.clear();
  fifo_control_ = value & kFifoEnable;
  update();
}

// Enabling the transmitter interrupt raises it: the transmitter is empty. Where it was
// enabled before, one that has been acknowledged stays so.
void Uart::write_interrupt_enable(std::uint8_t value) {
  const bool was_enabled = (interrupt_enable_ & kTransmitEnable) != 0;
  const bool is_enabled = (value & kTransmitEnable) != 0;
  transmitter_empty_interrupt_ = is_enabled && (!was_enabled || transmitter_empty_interrupt_);
  interrupt_enable_ = value;
}

// In loopback mode the outputs RTS, DTR, OUT1 and OUT2 are the inputs CTS, DSR, RI and
// DCD; drivers find out by it whether there is a UART.
std::uint8_t Uart::modem_status() const {
  if ((modem_control_ & kLoopback) == 0) return kConnected;
  const unsigned outputs = modem_control_;
  return static_cast<std::uint8_t>(((outputs & 2) << 3) | ((outputs & 1) << 5) |
                                   ((outputs & 0xc) << 4));
}

void Uart::write_register(std::uint64_t offset, std::uint8_t value) {
  if (offset <= kInterruptEnable && divisor_selected()) {
    divisor_[offset] = value;
    return;
  }
  switch (offset) {
    case kBuffer:
      idle_polls_ = 0;
      transmitter_empty_interrupt_ = (interrupt_enable_ & kTransmitEnable) != 0;
      if ((modem_control_ & kLoopback) == 0) {
        transmit_(static_cast<char>(value));
      } else if (space() > 0) {
        accept(static_cast<char>(value));
      }
      break;
    case kInterruptEnable: write_interrupt_enable(value & kInterruptEnableBits); break;
    case kInterruptOrFifo: return write_fifo_control(value);
    case kLineControl: line_control_ = value; break;
    case kModemControl: modem_control_ = value & kModemControlBits; break;
    case kScratch: scratch_ = value; break;
    default: break;
  }
  update();
}

template <typename Archive, typename Self>
void Uart::fields(Archive& archive, Self& self) {
  archive(self.divisor_, self.interrupt_enable_, self.fifo_control_, self.line_control_,
          self.modem_control_, self.scratch_, self.transmitter_empty_interrupt_, self.idle_polls_);
}

void Uart::save(vm_device::StateWriter& to) const {
  fields(to, *this);
  const std::string waiting(received_.begin(), received_.end());
  to.bytes(std::as_bytes(std::span(waiting)), kFifoBytes);
}

void Uart::load(vm_device::StateReader& from) {
  fields(from, *this);
  from.check(interrupt_enable_ <= kInterruptEnableBits && fifo_control_ <= kFifoEnable &&
                 modem_control_ <= kModemControlBits,
             "bits that the registers do not have");
  received_.clear();
  for (const std::byte byte : from.bytes(kFifoBytes)) {
    received_.push_back(static_cast<char>(byte));
  }
  update();
}

vm_mem::AccessFault Uart::mmio_read(std::uint64_t offset, unsigned size, std::uint64_t& value) {
  if (size != 1) return vm_mem::AccessFault::kDevice;
  value = read_register(offset);
  return vm_mem::AccessFault::kNone;
}

vm_mem::AccessFault Uart::mmio_write(std::uint64_t offset, unsigned size, std::uint64_t value) {
  if (size != 1) return vm_mem::AccessFault::kDevice;
  write_register(offset, static_cast<std::uint8_t>(value));
  return vm_mem::AccessFault::kNone;
}

}  // namespace vmrun
