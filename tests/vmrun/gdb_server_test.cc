#include "tools/vmrun/gdb_server.h"

#include <arpa/inet.h>
#include <fcntl.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <netinet/in.h>
#include <poll.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <unistd.h>

#include <memory>
#include <random>
#include <string>
#include <vector>

#include <fmt/format.h>

#include "tests/vmrun/assembler.h"

namespace vmrun {
namespace {

namespace as = assembler;
using std::chrono::milliseconds;
using testing::EndsWith;
using testing::HasSubstr;
constexpr std::uint64_t kMany = 10'000;

// The client's end of a connection.
class Client {
 public:
  explicit Client(int socket) : socket_(socket) {
    fcntl(socket_, F_SETFL, fcntl(socket_, F_GETFL) | O_NONBLOCK);
  }
  Client(Client&& other) noexcept : socket_(std::exchange(other.socket_, -1)) {}
  ~Client() { leave(); }

  void leave() {
    if (socket_ >= 0) close(std::exchange(socket_, -1));
  }
  // How much of it was taken.
  std::size_t say(std::string_view bytes) const {
    const ssize_t sent = send(socket_, bytes.data(), bytes.size(), MSG_NOSIGNAL);
    return sent < 0 ? 0 : static_cast<std::size_t>(sent);
  }
  std::string hear() const {
    char buffer[65536];
    const ssize_t got = recv(socket_, buffer, sizeof buffer, 0);
    if (got == 0) return "(end)";
    return got < 0 ? "" : std::string(buffer, static_cast<std::size_t>(got));
  }
  // Across the network, which takes its time.
  std::string wait_and_hear() const {
    pollfd set{socket_, POLLIN, 0};
    poll(&set, 1, 10'000);
    return hear();
  }

 private:
  int socket_;
};

std::unique_ptr<Machine> make_machine() {
  MachineOptions options;
  options.memory_bytes = 16 << 20;
  options.console = [](char) {};
  auto machine = Machine::create(std::move(options)).value();
  const std::vector<std::uint32_t> loop = {as::addi(10, 10, 1), as::jal(0, -4)};
  EXPECT_TRUE(machine->boot({.firmware = {"f", std::as_bytes(std::span(loop))}}).ok());
  return machine;
}

class GdbServerTest : public testing::Test {
 protected:
  GdbServerTest() {
    int ends[2];
    EXPECT_EQ(socketpair(AF_UNIX, SOCK_STREAM, 0, ends), 0);
    server_ = std::make_unique<GdbServer>(*machine_, ends[0]);
    its_socket_ = ends[0];
    client_ = std::make_unique<Client>(ends[1]);
  }
  GdbTurn attend() { return server_->attend(milliseconds(0)); }
  // What the server answers.
  std::string say(std::string_view bytes) {
    client_->say(bytes);
    attend();
    return client_->hear();
  }
  static std::string framed(std::string_view payload) { return gdb_frame(payload); }
  static std::string acked(std::string_view payload) {
    return std::string(1, '+').append(gdb_frame(payload));
  }

  // What the server has not taken in yet.
  std::size_t left() const {
    int bytes = 0;
    EXPECT_EQ(ioctl(its_socket_, FIONREAD, &bytes), 0);
    return static_cast<std::size_t>(bytes);
  }

  std::unique_ptr<Machine> machine_ = make_machine();
  std::unique_ptr<GdbServer> server_;
  std::unique_ptr<Client> client_;
  int its_socket_ = -1;
};

TEST_F(GdbServerTest, HoldsTheMachineAndAnswers) {
  EXPECT_EQ(attend(), GdbTurn::kHold);
  EXPECT_EQ(say("+$qC#b4"), acked("QC1"));
  EXPECT_EQ(say("$qC#00"), "-");
  EXPECT_EQ(say("-"), framed("QC1"));
  EXPECT_EQ(say(framed(std::string(kGdbPacketBytes + 1, 'm'))), acked("E07"));
  EXPECT_EQ(say(framed("QStartNoAckMode")), acked("OK"));
  EXPECT_EQ(say(framed("qC")), framed("QC1"));
  EXPECT_EQ(say("-$qC#00"), "");
  EXPECT_EQ(attend(), GdbTurn::kHold);
}

TEST_F(GdbServerTest, ControlCStopsAndWhatWasSaidMeanwhileIsAnsweredThen) {
  EXPECT_EQ(say(framed("c")), "+");
  EXPECT_EQ(attend(), GdbTurn::kRun);
  EXPECT_EQ(say(framed("qC")), "");
  EXPECT_EQ(say("\x03"), framed("T02thread:1;").append(acked("QC1")));
  EXPECT_EQ(attend(), GdbTurn::kHold);
  EXPECT_EQ(say("\x03"), "") << "it stands already";
}

TEST_F(GdbServerTest, ControlCCountsWhereItStandsAmongThePackets) {
  const std::string stop = framed("T02thread:1;");
  EXPECT_EQ(say(fmt::format("{}\x03{}", framed("c"), framed("qC"))),
            fmt::format("+{}{}", stop, acked("QC1")));
  EXPECT_EQ(attend(), GdbTurn::kHold);
  EXPECT_EQ(say(fmt::format("\x03{}", framed("c"))), "+") << "it stood when that was said";
  EXPECT_EQ(attend(), GdbTurn::kRun);
  EXPECT_EQ(say(fmt::format("\x03{}\x03", framed("c"))), fmt::format("{}+{}", stop, stop));
}

TEST_F(GdbServerTest, TakesInNoMoreThanItsShareAtATime) {
  for (const char* const bytes : {"+", "\x01", "$", "m"}) {
    const std::string some(4096, *bytes);
    std::size_t said = left();
    while (const std::size_t taken = client_->say(some)) said += taken;
    ASSERT_GT(said, GdbLink::kMostAtOnce);
    attend();
    EXPECT_EQ(said - left(), GdbLink::kMostAtOnce) << bytes;
  }
}

TEST_F(GdbServerTest, TellsOfABreakpointAndTheEnd) {
  EXPECT_FALSE(server_->note_stop(StopReason::kBreakpoint));
  EXPECT_EQ(say(framed("Z0,80000004,4") + framed("c")), fmt::format("+{}+", framed("OK")));
  EXPECT_EQ(machine_->run(kMany), StopReason::kBreakpoint);
  EXPECT_FALSE(server_->note_stop(StopReason::kBudget));
  EXPECT_TRUE(server_->note_stop(StopReason::kBreakpoint));
  EXPECT_EQ(client_->hear(), framed("T05thread:1;"));
  say(framed("c"));
  EXPECT_TRUE(server_->note_stop(StopReason::kTrapLoop));
  EXPECT_EQ(client_->hear(), framed("T0bthread:1;"));
  say(framed("c"));
  server_->note_end(1);
  EXPECT_EQ(client_->hear(), framed("W01"));
}

TEST_F(GdbServerTest, TheMachineGoesOnWithoutAClient) {
  say(framed("Z0,80000004,4"));
  client_->leave();
  EXPECT_EQ(attend(), GdbTurn::kRun);
  EXPECT_EQ(machine_->run(kMany), StopReason::kBudget);
  EXPECT_FALSE(server_->note_stop(StopReason::kTrapLoop));
}

TEST_F(GdbServerTest, ClientsThatLeaveWhileItRunsLeaveNothingBehind) {
  say(framed("Z0,80000004,4") + framed("c"));
  client_->leave();
  EXPECT_EQ(attend(), GdbTurn::kRun);
  EXPECT_EQ(machine_->run(kMany), StopReason::kBudget);
}

TEST_F(GdbServerTest, WhoDetachesIsAnsweredAndLetGo) {
  EXPECT_EQ(say(framed("D")), acked("OK"));
  EXPECT_EQ(client_->hear(), "(end)");
  EXPECT_EQ(attend(), GdbTurn::kRun);
}

TEST_F(GdbServerTest, KillingEndsTheRun) {
  client_->say(framed("k"));
  EXPECT_EQ(attend(), GdbTurn::kEnd);
}

TEST_F(GdbServerTest, AClientThatDoesNotReadIsNotWaitedFor) {
  const std::string question = framed("g");
  std::size_t said = 0;
  for (int i = 0; i < 100'000; ++i) {
    const std::size_t taken = client_->say(question);
    ASSERT_EQ(attend(), GdbTurn::kHold);
    said += taken;
    if (taken == 0) break;
  }
  EXPECT_LT(said, 2u << 20) << "neither side takes any amount";
  // When it reads again it finds what it asked for, in order and whole.
  std::string heard;
  for (;;) {
    const std::string more = client_->hear();
    if (more.empty()) break;
    heard += more;
    attend();
  }
  const std::string first = heard.substr(0, heard.find('#') + 3);
  EXPECT_EQ(heard.size() % first.size(), 0u);
  EXPECT_THAT(heard, EndsWith(first));
}

// Bytes without sense, packets cut short, and good ones among them.
TEST_F(GdbServerTest, RubbishDoesNoHarm) {
  std::mt19937 random(7);
  const std::vector<std::string> good = {
      "g", "c", "s", "m80000000,40", "Z0,80000004,4", "vCont;c", "X80001000,2:ab", "qSupported",
      "?", "H", "D"};
  for (int round = 0; round < 300; ++round) {
    int ends[2];
    ASSERT_EQ(socketpair(AF_UNIX, SOCK_STREAM, 0, ends), 0);
    GdbServer server(*machine_, ends[0]);
    Client client(ends[1]);
    GdbTurn turn = GdbTurn::kHold;
    for (int i = 0; i < 30 && turn != GdbTurn::kEnd; ++i) {
      std::string bytes = framed(good[random() % good.size()]);
      if (random() % 2 != 0) bytes.resize(random() % bytes.size());
      for (std::size_t at = random() % 9; at < bytes.size() && at < 6; at += 3) {
        bytes[at] = static_cast<char>(random());
      }
      client.say(bytes);
      turn = server.attend(milliseconds(0));
      client.hear();
      if (turn == GdbTurn::kRun && machine_->run(100) == StopReason::kBreakpoint) {
        static_cast<void>(server.note_stop(StopReason::kBreakpoint));
      }
    }
    client.say(framed("?"));  // else it may have said nothing at all
    client.leave();
    ASSERT_NE(server.attend(milliseconds(0)), GdbTurn::kHold);
  }
  EXPECT_EQ(machine_->run(kMany), StopReason::kBudget);
}

int connect_to(std::uint16_t port) {
  const int socket = ::socket(AF_INET, SOCK_STREAM, 0);
  sockaddr_in address{};
  address.sin_family = AF_INET;
  address.sin_port = htons(port);
  address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
  EXPECT_EQ(connect(socket, reinterpret_cast<sockaddr*>(&address), sizeof address), 0);
  return socket;
}

TEST(GdbServerPortTest, OneClientAtATimeAndTheNextStopsItAgain) {
  auto machine = make_machine();
  auto server = GdbServer::listen(0, *machine).value();
  EXPECT_EQ(server->attend(milliseconds(0)), GdbTurn::kHold) << "nobody has come yet";
  Client first(connect_to(server->port()));
  EXPECT_EQ(server->attend(milliseconds(5000)), GdbTurn::kHold);
  const Client second(connect_to(server->port()));
  server->attend(milliseconds(5000));
  EXPECT_EQ(second.wait_and_hear(), "(end)");
  first.say(gdb_frame("D"));
  while (server->attend(milliseconds(5000)) == GdbTurn::kHold) {
  }
  EXPECT_THAT(first.wait_and_hear(), HasSubstr("OK"));
  const Client third(connect_to(server->port()));
  third.say(gdb_frame("?"));
  while (server->attend(milliseconds(0)) == GdbTurn::kRun) {
  }
  EXPECT_THAT(third.wait_and_hear(), HasSubstr("T05thread:1;"));
}

// As a script does that waits for the port.
TEST(GdbServerPortTest, WhoSaysNoPacketChangesNothing) {
  auto machine = make_machine();
  auto server = GdbServer::listen(0, *machine).value();
  for (const char* const said : {"", "+", "\x03", "$qC#00", "GET / HTTP/1.1\r\n"}) {
    Client passer_by(connect_to(server->port()));
    passer_by.say(said);
    EXPECT_EQ(server->attend(milliseconds(5000)), GdbTurn::kHold);
    passer_by.leave();
    for (int i = 0; i < 3; ++i) EXPECT_EQ(server->attend(milliseconds(10)), GdbTurn::kHold) << said;
  }
  Client debugger(connect_to(server->port()));
  debugger.say(gdb_frame("D"));
  while (server->attend(milliseconds(5000)) == GdbTurn::kHold) {
  }
  const Client passer_by(connect_to(server->port()));
  passer_by.say("+");
  for (int i = 0; i < 3; ++i) EXPECT_EQ(server->attend(milliseconds(0)), GdbTurn::kRun);
}

TEST(GdbServerPortTest, WhoFloodsARunningMachineAndLeavesMakesRoomForTheNext) {
  auto machine = make_machine();
  auto server = GdbServer::listen(0, *machine).value();
  Client first(connect_to(server->port()));
  first.say(gdb_frame("c"));
  while (server->attend(milliseconds(5000)) == GdbTurn::kHold) {
  }
  std::string flood;
  for (int i = 0; i < 20'000; ++i) flood += "$#00";
  first.say(flood);
  first.leave();
  for (int i = 0; i < 10; ++i) EXPECT_EQ(server->attend(milliseconds(0)), GdbTurn::kRun);
  const Client second(connect_to(server->port()));
  second.say(gdb_frame("?"));
  for (int i = 0; i < 1000 && server->attend(milliseconds(0)) == GdbTurn::kRun; ++i) {
  }
  EXPECT_THAT(second.wait_and_hear(), HasSubstr("T05thread:1;"));
}

TEST(GdbServerPortTest, APortInUseIsRefusedWithItsNumber) {
  auto machine = make_machine();
  const auto server = GdbServer::listen(0, *machine).value();
  const auto second = GdbServer::listen(server->port(), *machine);
  EXPECT_EQ(second.status().code(), absl::StatusCode::kUnavailable);
  EXPECT_EQ(second.status().message(),
            fmt::format("--gdb {0}: 127.0.0.1:{0}: Address already in use", server->port()));
}

}  // namespace
}  // namespace vmrun
