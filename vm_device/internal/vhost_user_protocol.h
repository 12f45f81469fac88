// The words of the vhost-user protocol.
//
// Source: https://qemu.readthedocs.io/en/latest/interop/vhost-user.html
#ifndef VM_DEVICE_INTERNAL_VHOST_USER_PROTOCOL_H_
#define VM_DEVICE_INTERNAL_VHOST_USER_PROTOCOL_H_

#include <cstddef>
#include <cstdint>
#include <cstring>

namespace vm_device::internal {

enum class VhostUserRequest : std::uint32_t {
  kGetFeatures = 1,
  kSetFeatures = 2,
  kSetOwner = 3,
  kResetOwner = 4,
  kSetMemTable = 5,
  kSetLogBase = 6,
  kSetLogFd = 7,
  kSetVringNum = 8,
  kSetVringAddr = 9,
  kSetVringBase = 10,
  kGetVringBase = 11,
  kSetVringKick = 12,
  kSetVringCall = 13,
  kSetVringErr = 14,
  kGetProtocolFeatures = 15,
  kSetProtocolFeatures = 16,
  kGetQueueNum = 17,
  kSetVringEnable = 18,
  kSetBackendReqFd = 21,
  kIotlbMsg = 22,
  kGetConfig = 24,
  kSetConfig = 25,
  kGetInflightFd = 31,
  kSetInflightFd = 32,
  kResetDevice = 34,
  kGetMaxMemSlots = 36,
  kAddMemReg = 37,
  kRemMemReg = 38,
  kSetStatus = 39,
  kGetStatus = 40,
};

// Of the back end.
enum class VhostBackendRequest : std::uint32_t { kIotlbMsg = 1, kConfigChange = 2 };

enum class VhostIotlbType : std::uint8_t { kMiss = 1, kUpdate = 2, kInvalidate = 3 };

// The kernel's struct vhost_iotlb_msg, as front ends send it.
struct VhostIotlbMessage {
  std::uint64_t iova = 0;
  std::uint64_t bytes = 0;
  std::uint64_t user = 0;
  std::uint8_t access = 0;  // bits of DmaAccess
  VhostIotlbType type{};
  std::uint8_t padding[6] = {};

  // Of all its bytes; what the padding has means nothing.
  static VhostIotlbMessage decode(const std::byte* from) {
    VhostIotlbMessage out;
    std::memcpy(static_cast<void*>(&out), from, sizeof out);
    return out;
  }
};
static_assert(sizeof(VhostIotlbMessage) == 32);

// The header: three words, the request, flags and the bytes of the payload.
inline constexpr std::size_t kVhostUserHeaderBytes = 12;
inline constexpr std::uint32_t kVhostUserVersionMask = 3;
inline constexpr std::uint32_t kVhostUserVersion = 1;
inline constexpr std::uint32_t kVhostUserReply = 1 << 2;
inline constexpr std::uint32_t kVhostUserNeedReply = 1 << 3;

// Among the features of virtio, but of the protocol.
inline constexpr std::uint64_t kVhostFeatureLogAll = std::uint64_t{1} << 26;
inline constexpr std::uint64_t kVhostFeatureProtocol = std::uint64_t{1} << 30;

inline constexpr std::uint64_t kProtocolMq = 1 << 0;
inline constexpr std::uint64_t kProtocolLogShmfd = 1 << 1;
inline constexpr std::uint64_t kProtocolReplyAck = 1 << 3;
inline constexpr std::uint64_t kProtocolBackendReq = 1 << 5;
inline constexpr std::uint64_t kProtocolConfig = 1 << 9;
inline constexpr std::uint64_t kProtocolInflightShmfd = 1 << 12;
inline constexpr std::uint64_t kProtocolResetDevice = 1 << 13;
inline constexpr std::uint64_t kProtocolConfigureMemSlots = 1 << 15;
inline constexpr std::uint64_t kProtocolStatus = 1 << 16;

// A ring's number and, in place of a descriptor that is not there, a flag.
inline constexpr std::uint64_t kVringIndexMask = 0xff;
inline constexpr std::uint64_t kVringNoFd = 1 << 8;

inline constexpr std::size_t kMemTableSlots = 8;
inline constexpr std::uint64_t kMaxMemSlots = 509;
inline constexpr std::size_t kVhostRegionBytes = 32;
inline constexpr std::size_t kMemTableHeaderBytes = 8;
inline constexpr std::size_t kInflightBytes = 20;
inline constexpr std::size_t kConfigHeaderBytes = 12;
inline constexpr std::size_t kLeastIotlbBytes = 26;  // without the padding
inline constexpr std::size_t kMaxConfigBytes = 256;

inline constexpr std::size_t kMaxVhostUserFds = 8;
inline constexpr std::size_t kMaxVhostUserPayload = 512;

}  // namespace vm_device::internal

#endif  // VM_DEVICE_INTERNAL_VHOST_USER_PROTOCOL_H_
