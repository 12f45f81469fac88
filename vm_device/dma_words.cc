// Typed access. A word that is naturally aligned lies in one page, and so in one run.
#include "vm_device/dma.h"
#include "vm_device/internal/dma_memory.h"
#include "vm_device/internal/dma_transfer.h"

namespace vm_device {
namespace {

using internal::DmaTransfer;
using vm_mem::AccessResult;
using vm_mem::GuestAddress;
using vm_mem::WordOperation;

// Calls `use` with a zero of as many bytes.
template <typename Use>
AccessResult with_word(unsigned bytes, Use use) {
  switch (bytes) {
    case 1: return use(std::uint8_t{0});
    case 2: return use(std::uint16_t{0});
    case 4: return use(std::uint32_t{0});
    default: return use(std::uint64_t{0});
  }
}

AccessResult load_word(const internal::DmaMemory& memory, GuestAddress from, unsigned bytes,
                       std::uint64_t& bits, std::memory_order order) {
  return with_word(bytes, [&](auto word) {
    const AccessResult result = memory.typed([&](auto& it) { return it.load(from, word, order); });
    if (result.ok()) bits = word;
    return result;
  });
}

AccessResult store_word(const internal::DmaMemory& memory, GuestAddress to, unsigned bytes,
                        std::uint64_t bits, std::memory_order order) {
  return with_word(bytes, [&](auto word) {
    word = static_cast<decltype(word)>(bits);
    return memory.typed([&](auto& it) { return it.store(to, word, order); });
  });
}

template <typename Memory, typename Word>
AccessResult modify_word(Memory& memory, GuestAddress at, WordOperation operation, Word operand,
                         Word& previous) {
  switch (operation) {
    case WordOperation::kExchange: return memory.exchange(at, operand, previous);
    case WordOperation::kAdd: return memory.fetch_add(at, operand, previous);
    case WordOperation::kOr: return memory.fetch_or(at, operand, previous);
    case WordOperation::kAnd: return memory.fetch_and(at, operand, previous);
    case WordOperation::kXor: return memory.fetch_xor(at, operand, previous);
  }
  return {.fault = vm_mem::AccessFault::kProtected, .at = at};
}

// Of an access to the word at `address`, which is in memory at `run`.
DmaResult result_of(const DmaTransfer& transfer, const AccessResult& result, std::uint64_t address,
                    const GuestSegment& run) {
  if (result.ok()) [[likely]]
    return {.done = result.done};
  return {transfer.fault_of(result.fault), result.done,
          address + (result.at.value - run.address.value)};
}

// Calls access(GuestAddress, i) for each byte of a word that is in two runs, the
// translations of all having been found.
template <typename Access>
DmaResult by_bytes(DmaTransfer& transfer, const DmaSegment& word, DmaAccess access,
                   Access access_byte) {
  const auto nothing = [](GuestAddress, std::uint64_t, std::uint64_t bytes) {
    return AccessResult{.done = bytes};
  };
  DmaResult result = transfer.move(word, access, nothing);
  if (!result.ok()) return DmaTransfer::refused(result.at, 0);
  return transfer.move(word, access, [&](GuestAddress at, std::uint64_t i, std::uint64_t bytes) {
    AccessResult all;
    for (std::uint64_t n = 0; n < bytes; ++n) {
      const AccessResult one = access_byte(at.offset_by(n), i + n);
      if (!one.ok()) return AccessResult{.fault = one.fault, .done = n, .at = one.at};
      all.done = n + 1;
    }
    return all;
  });
}

constexpr unsigned shift_of(std::uint64_t byte, unsigned bytes) {
  return static_cast<unsigned>(
      8 * (std::endian::native == std::endian::little ? byte : bytes - 1 - byte));
}

}  // namespace

DmaResult DmaSpace::load_bits(std::uint64_t address, unsigned bytes, std::uint64_t& bits,
                              std::memory_order order) {
  DmaTransfer transfer(port_, initiator_);
  const GuestSegment run = transfer.section().translate(address, bytes, DmaAccess::kRead);
  if (run.bytes == 0) return DmaTransfer::refused(address, 0);
  if (run.bytes == bytes) [[likely]] {
    return result_of(transfer, load_word(memory(), run.address, bytes, bits, order), address, run);
  }
  std::uint64_t found = 0;
  DmaResult result = by_bytes(
      transfer, {address, bytes}, DmaAccess::kRead, [&](GuestAddress from, std::uint64_t i) {
        std::uint8_t byte = 0;
        const AccessResult loaded =
            memory().typed([&](auto& it) { return it.load(from, byte, order); });
        found |= static_cast<std::uint64_t>(byte) << shift_of(i, bytes);
        return loaded;
      });
  if (result.ok()) {
    bits = found;
  } else {
    result.done = 0;
  }
  return result;
}

DmaResult DmaSpace::store_bits(std::uint64_t address, unsigned bytes, std::uint64_t bits,
                               std::memory_order order) {
  DmaTransfer transfer(port_, initiator_);
  const GuestSegment run = transfer.section().translate(address, bytes, DmaAccess::kWrite);
  if (run.bytes == 0) return DmaTransfer::refused(address, 0);
  if (run.bytes == bytes) [[likely]] {
    return result_of(transfer, store_word(memory(), run.address, bytes, bits, order), address, run);
  }
  return by_bytes(transfer, {address, bytes}, DmaAccess::kWrite,
                  [&](GuestAddress to, std::uint64_t i) {
                    const auto byte = static_cast<std::uint8_t>(bits >> shift_of(i, bytes));
                    return memory().typed([&](auto& it) { return it.store(to, byte, order); });
                  });
}

DmaResult DmaSpace::modify_bits(std::uint64_t address, unsigned bytes, WordOperation operation,
                                std::uint64_t operand, std::uint64_t& previous) {
  if (address % bytes != 0) return {DmaFault::kMisaligned, 0, address};
  DmaTransfer transfer(port_, initiator_);
  const GuestSegment run = transfer.section().translate(address, bytes, DmaAccess::kReadWrite);
  if (run.bytes == 0) return DmaTransfer::refused(address, 0);
  const AccessResult result = with_word(bytes, [&](auto word) {
    using Word = decltype(word);
    const AccessResult modified = memory().typed([&](auto& it) {
      return modify_word(it, run.address, operation, static_cast<Word>(operand), word);
    });
    if (modified.ok()) previous = word;
    return modified;
  });
  return result_of(transfer, result, address, run);
}

DmaResult DmaSpace::compare_exchange_bits(std::uint64_t address, unsigned bytes,
                                          std::uint64_t& expected, std::uint64_t desired,
                                          bool& exchanged) {
  exchanged = false;
  if (address % bytes != 0) return {DmaFault::kMisaligned, 0, address};
  DmaTransfer transfer(port_, initiator_);
  const GuestSegment run = transfer.section().translate(address, bytes, DmaAccess::kReadWrite);
  if (run.bytes == 0) return DmaTransfer::refused(address, 0);
  const AccessResult result = with_word(bytes, [&](auto word) {
    using Word = decltype(word);
    word = static_cast<Word>(expected);
    const AccessResult compared = memory().typed([&](auto& it) {
      return it.compare_exchange(run.address, word, static_cast<Word>(desired), exchanged);
    });
    if (compared.ok()) expected = word;
    return compared;
  });
  return result_of(transfer, result, address, run);
}

}  // namespace vm_device
