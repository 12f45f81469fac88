#include "tools/vmrun/gdb_protocol.h"

#include <gtest/gtest.h>

#include <string>
#include <vector>

namespace vmrun {
namespace {

using Kind = GdbEventKind;

std::vector<GdbEvent> read_all(std::string_view bytes) {
  GdbPacketReader reader;
  std::vector<GdbEvent> out;
  while (auto event = reader.take(bytes)) out.push_back(*std::move(event));
  return out;
}

Kind kind_of(std::string_view bytes) {
  const auto events = read_all(bytes);
  EXPECT_EQ(events.size(), 1u);
  return events.at(0).kind;
}

TEST(GdbPacketReaderTest, TakesPacketsApart) {
  const auto events = read_all("+$g#67+$m10,4#2E");
  ASSERT_EQ(events.size(), 2u);
  EXPECT_EQ(events[0].payload, "g");
  EXPECT_EQ(events[1].payload, "m10,4");
}

TEST(GdbPacketReaderTest, EveryCutGivesTheSame) {
  const std::string bytes = gdb_frame("qSupported") + "\x03-" + gdb_frame("X0,2:}\x03\x04");
  for (std::size_t cut = 0; cut <= bytes.size(); ++cut) {
    GdbPacketReader reader;
    std::vector<GdbEvent> events;
    for (std::string_view part :
         {std::string_view(bytes).substr(0, cut), std::string_view(bytes).substr(cut)}) {
      while (auto event = reader.take(part)) events.push_back(*std::move(event));
    }
    ASSERT_EQ(events.size(), 4u) << cut;
    EXPECT_EQ(events[0].payload, "qSupported");
    EXPECT_EQ(events[1].kind, Kind::kInterrupt);
    EXPECT_EQ(events[2].kind, Kind::kResend);
    EXPECT_EQ(events[3].payload, "X0,2:}\x03\x04");
  }
}

TEST(GdbPacketReaderTest, RefusesWrongSums) {
  for (const char* bytes : {"$g#68", "$g#6x", "$g#x7", "$#01"}) {
    EXPECT_EQ(kind_of(bytes), Kind::kDamaged) << bytes;
  }
  EXPECT_EQ(kind_of("$#00"), Kind::kPacket);
}

TEST(GdbPacketReaderTest, APacketWithinAnotherTakesItsPlace) {
  for (const char* bytes : {"$qSup$g#67", "$qSup#$g#67", "$qSup#1$g#67"}) {
    const auto events = read_all(bytes);
    ASSERT_EQ(events.size(), 1u) << bytes;
    EXPECT_EQ(events[0].payload, "g");
  }
}

TEST(GdbPacketReaderTest, OverlongPacketsAreNoted) {
  EXPECT_EQ(kind_of(gdb_frame(std::string(kGdbPacketBytes, 'x'))), Kind::kPacket);
  EXPECT_EQ(kind_of(gdb_frame(std::string(kGdbPacketBytes + 1, 'x'))), Kind::kOverlong);
}

TEST(GdbProtocolTest, EscapesWhatFramesAPacket) {
  const std::string data("a#$}*\0z", 7);
  EXPECT_EQ(gdb_escape(data), std::string("a}\x03}\x04}]}\x0a\0z", 11));
  EXPECT_EQ(gdb_unescape(gdb_escape(data)), data);
  EXPECT_EQ(gdb_unescape("ab}"), std::nullopt);
}

TEST(GdbProtocolTest, HexIsTwoDigitsAByte) {
  EXPECT_EQ(hex_of("\x01\xfe"), "01fe");
  EXPECT_EQ(bytes_of_hex("01Fe"), "\x01\xfe");
  EXPECT_EQ(bytes_of_hex(""), "");
  for (const char* wrong : {"1", "0g", "g0", "0x10"}) EXPECT_EQ(bytes_of_hex(wrong), std::nullopt);
}

TEST(GdbFieldsTest, ReadsWhatIsThereAndNothingElse) {
  GdbFields fields("10,ffffffffffffffff:rest;end");
  EXPECT_FALSE(fields.skip(','));
  EXPECT_EQ(fields.number(), 16u);
  EXPECT_EQ(fields.number(), std::nullopt);
  EXPECT_TRUE(fields.skip(','));
  EXPECT_EQ(fields.number(), UINT64_MAX);
  EXPECT_TRUE(fields.skip(":r"));
  EXPECT_EQ(fields.until(';'), "est");
  EXPECT_EQ(fields.until(';'), "end");
  EXPECT_TRUE(fields.empty());
  EXPECT_EQ(GdbFields("11112222333344445").number(), std::nullopt);
}

}  // namespace
}  // namespace vmrun
