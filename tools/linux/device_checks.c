// The other virtio devices, where the machine has them: entropy, a console, a network card
// whose cable leads back to it.

#include <linux/errno.h>
#include <linux/if_ether.h>
#include <linux/if_packet.h>
#include <linux/sockios.h>

#include "guest.h"

enum { kConsoleBytes = 20000, kEtherType = 0x88b5, kLargestFrame = 1514, kUp = 1 };
enum { kSockRaw = 3, kAfPacket = 17, kSolSocket = 1, kReceiveTimeout = 20 };

// The kernel's struct ifreq, whose header takes a libc.
struct request {
  char name[16];
  union {
    short flags;
    int index;
    char bytes[24];
  } value;
};

static int random_numbers(void) {
  unsigned char bytes[64] = {0};
  const int source = open("/dev/hwrng", O_RDONLY);
  if (source < 0) return -1;
  const long done = my_syscall3(__NR_read, source, bytes, sizeof bytes);
  close(source);
  if (done == -ENODEV) return -1;
  unsigned char seen = 0;
  for (size_t i = 0; i < sizeof bytes; ++i) seen |= bytes[i];
  return done == sizeof bytes && seen != 0;
}

static int console(void) {
  static unsigned char text[kConsoleBytes];
  const int device = open("/dev/hvc0", O_RDWR | O_NOCTTY);
  if (device < 0) return -1;
  for (unsigned i = 0; i < kConsoleBytes; ++i) text[i] = (unsigned char)('a' + i % 26);
  const int done = write(device, text, kConsoleBytes) == kConsoleBytes;
  close(device);
  return done;
}

// Switches the card on; its number, or -1 where there is none.
static int switch_on(int socket) {
  struct request request = {.name = "eth0", .value = {.flags = kUp}};
  if (ioctl(socket, SIOCSIFFLAGS, &request) != 0) return -1;
  return ioctl(socket, SIOCGIFINDEX, &request) == 0 ? request.value.index : -1;
}

// A frame to everybody, and itself as it comes back.
static int comes_back(int card, const struct sockaddr_ll* to, size_t bytes) {
  static unsigned char sent[kLargestFrame];
  static unsigned char received[kLargestFrame + 64];
  fill(sent, bytes, (unsigned)bytes);
  memset(sent, 0xff, ETH_ALEN);
  sent[12] = kEtherType >> 8;
  sent[13] = kEtherType & 0xff;
  if (my_syscall6(__NR_sendto, card, sent, bytes, 0, to, sizeof *to) != (long)bytes) return 0;
  for (;;) {
    struct sockaddr_ll from = {0};
    int length = sizeof from;
    const long got = my_syscall6(__NR_recvfrom, card, received, sizeof received, 0, &from, &length);
    if (got < 0) return 0;
    if (from.sll_pkttype != PACKET_OUTGOING) {
      return got == (long)bytes && memcmp(sent, received, bytes) == 0;
    }
  }
}

static int network(void) {
  const unsigned short protocol = kEtherType >> 8 | (kEtherType & 0xff) << 8;
  const int card = (int)my_syscall3(__NR_socket, kAfPacket, kSockRaw, protocol);
  const int index = card < 0 ? -1 : switch_on(card);
  if (index < 0) return -1;
  const struct timeval patience = {2, 0};
  my_syscall5(__NR_setsockopt, card, kSolSocket, kReceiveTimeout, &patience, sizeof patience);
  const struct sockaddr_ll here = {.sll_family = kAfPacket,
                                   .sll_protocol = protocol,
                                   .sll_ifindex = index,
                                   .sll_halen = ETH_ALEN};
  if (my_syscall3(__NR_bind, card, &here, sizeof here) != 0) return 0;
  for (size_t bytes = ETH_ZLEN; bytes <= kLargestFrame; bytes += 97) {
    if (!comes_back(card, &here, bytes)) return 0;
  }
  return comes_back(card, &here, kLargestFrame);
}

const struct check kDeviceChecks[] = {
    {"random numbers", random_numbers}, {"virtio console", console}, {"network", network}, {0, 0}};
