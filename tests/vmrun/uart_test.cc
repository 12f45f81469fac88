#include "tools/vmrun/uart.h"

#include <gtest/gtest.h>

#include <string>

namespace vmrun {
namespace {

using vm_mem::AccessFault;

class Wire final : public vm_device::InterruptLine {
 public:
  void set(vm_device::Level level) override { high = level == vm_device::Level::kHigh; }
  bool high = false;
};

class UartTest : public testing::Test {
 protected:
  std::uint64_t read(std::uint64_t offset) {
    std::uint64_t value = 0;
    EXPECT_EQ(uart_.mmio_read(offset, 1, value), AccessFault::kNone);
    return value;
  }
  void write(std::uint64_t offset, std::uint64_t value) {
    EXPECT_EQ(uart_.mmio_write(offset, 1, value), AccessFault::kNone);
  }

  Wire line_;
  std::string printed_;
  Uart uart_{line_, [this](char byte) { printed_.push_back(byte); }};
};

TEST_F(UartTest, TransmitsAtOnce) {
  EXPECT_EQ(read(5), 0x60u);
  write(0, 'h');
  write(0, 'i');
  EXPECT_EQ(printed_, "hi");
  EXPECT_EQ(read(5), 0x60u);
}

TEST_F(UartTest, ReceivesInOrder) {
  write(2, 1);
  uart_.receive('a');
  uart_.receive('b');
  EXPECT_EQ(read(5), 0x61u);
  EXPECT_EQ(read(0), std::uint64_t{'a'});
  EXPECT_EQ(read(0), std::uint64_t{'b'});
  EXPECT_EQ(read(5), 0x60u);
  EXPECT_EQ(read(0), 0u);
}

TEST_F(UartTest, TheFifoHoldsSixteenBytesAndOneWhileItIsOff) {
  EXPECT_EQ(uart_.space(), 1u);
  uart_.receive('x');
  EXPECT_EQ(uart_.space(), 0u);
  write(2, 1);
  EXPECT_EQ(uart_.space(), Uart::kFifoBytes);  // switching it empties it
  for (std::size_t i = 0; i < Uart::kFifoBytes; ++i) uart_.receive('x');
  EXPECT_EQ(uart_.space(), 0u);
  write(2, 3);
  EXPECT_EQ(uart_.space(), Uart::kFifoBytes);
}

TEST_F(UartTest, TheReceiveInterruptLastsUntilTheByteIsRead) {
  write(1, 1);
  EXPECT_FALSE(line_.high);
  uart_.receive('a');
  EXPECT_TRUE(line_.high);
  EXPECT_EQ(read(2), 4u);
  EXPECT_TRUE(line_.high);
  read(0);
  EXPECT_FALSE(line_.high);
  EXPECT_EQ(read(2), 1u);
}

TEST_F(UartTest, TheTransmitInterruptIsAcknowledgedByReadingItsCause) {
  write(1, 2);
  EXPECT_TRUE(line_.high);
  EXPECT_EQ(read(2), 2u);
  EXPECT_FALSE(line_.high);
  write(0, 'x');
  EXPECT_TRUE(line_.high);
}

TEST_F(UartTest, EnablingTheReceiverDoesNotRepeatAnAcknowledgedTransmitInterrupt) {
  write(1, 2);
  EXPECT_EQ(read(2), 2u);
  write(1, 3);
  EXPECT_FALSE(line_.high);
  EXPECT_EQ(read(2), 1u);
}

TEST_F(UartTest, DlabShowsTheDivisor) {
  write(3, 0x83);
  write(0, 0x34);
  write(1, 0x12);
  EXPECT_EQ(read(0), 0x34u);
  EXPECT_EQ(read(1), 0x12u);
  write(3, 3);
  EXPECT_EQ(read(1), 0u);
  EXPECT_EQ(printed_, "");
}

TEST_F(UartTest, LoopbackKeepsBytesInside) {
  write(2, 1);
  write(4, 0x10);
  write(0, 'x');
  EXPECT_EQ(printed_, "");
  EXPECT_EQ(read(0), std::uint64_t{'x'});
  uart_.receive('y');
  EXPECT_EQ(read(5), 0x60u);
}

TEST_F(UartTest, LoopbackTiesTheModemLines) {
  EXPECT_EQ(read(6), 0xb0u);
  write(4, 0x1a);
  EXPECT_EQ(read(6), 0x90u);
  write(4, 0x15);
  EXPECT_EQ(read(6), 0x60u);
}

TEST_F(UartTest, RemembersScratchAndIdentifiesItsFifo) {
  write(7, 0x5a);
  EXPECT_EQ(read(7), 0x5au);
  write(2, 1);
  EXPECT_EQ(read(2), 0xc1u);
}

TEST_F(UartTest, CountsPollsThatFindNothing) {
  read(5);
  read(5);
  EXPECT_EQ(uart_.idle_polls(), 2u);
  write(0, 'x');
  EXPECT_EQ(uart_.idle_polls(), 0u);
}

TEST_F(UartTest, RefusesWideAccesses) {
  std::uint64_t value = 0;
  EXPECT_EQ(uart_.mmio_read(0, 4, value), AccessFault::kDevice);
  EXPECT_EQ(uart_.mmio_write(0, 2, 1), AccessFault::kDevice);
}

}  // namespace
}  // namespace vmrun
