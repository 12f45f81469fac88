#include "tests/vm_mem/access_world.h"

#include <cstring>
#include <span>
#include <stdexcept>

#include "vm_mem/internal/copy_order.h"

namespace vm_mem {
namespace {

std::string text_of(const AccessResult& result) {
  return std::string(access_fault_name(result.fault)) +
         (result.side == AccessSide::kSource ? " source" : " destination") +
         (result.from_end ? " from_end" : "") + " done " + std::to_string(result.done) + " at " +
         std::to_string(result.at.value);
}

const std::byte* bytes_of(const std::vector<std::uint8_t>& bytes) {
  return reinterpret_cast<const std::byte*>(bytes.data());
}
std::span<std::byte> span_of(std::vector<std::uint8_t>& bytes) {
  return std::as_writable_bytes(std::span(bytes));
}

int sign(int order) { return (order > 0) - (order < 0); }

// Calls `body` with a value of the unsigned type of that many bytes.
template <typename Body>
void with_word(unsigned bytes, std::uint64_t value, Body body) {
  switch (bytes) {
    case 1: return body(static_cast<std::uint8_t>(value));
    case 2: return body(static_cast<std::uint16_t>(value));
    case 4: return body(static_cast<std::uint32_t>(value));
    default: return body(value);
  }
}

template <typename Word>
std::vector<std::uint8_t> bytes_of_word(Word word) {
  std::vector<std::uint8_t> bytes(sizeof word);
  std::memcpy(bytes.data(), &word, sizeof word);
  return bytes;
}

template <typename Word>
Word word_of_bytes(const std::vector<std::uint8_t>& bytes) {
  Word word{};
  std::memcpy(&word, bytes.data(), sizeof word);
  return word;
}

}  // namespace

std::vector<std::uint8_t> pattern(std::uint64_t bytes, std::uint64_t seed) {
  std::vector<std::uint8_t> pattern(bytes);
  for (std::uint8_t& byte : pattern) {
    seed = seed * 6364136223846793005 + 1442695040888963407;
    byte = static_cast<std::uint8_t>(seed >> 56);
  }
  return pattern;
}

AccessWorld::AccessWorld() : manager_(MemoryManager::create({}).value()), reader_(*manager_) {}
AccessWorld::~AccessWorld() = default;

std::map<std::string, std::uint64_t>& AccessWorld::counts() {
  static std::map<std::string, std::uint64_t> counts;
  return counts;
}

void AccessWorld::require(bool holds, const char* file, int line) const {
  if (holds) return;
  throw std::logic_error(std::string(file) + ":" + std::to_string(line) + " does not hold after\n" +
                         trace_.str());
}

void AccessWorld::expect_same(const char* what, const AccessResult& real,
                              const AccessResult& model) {
  ++counts()["access"];
  ++counts()[std::string(what) + " " + std::string(access_fault_name(model.fault))];
  trace_ << what << ": " << text_of(real) << ", model: " << text_of(model) << "\n";
  require(real == model);
  compare_state();
}

void AccessWorld::read(std::uint64_t from, std::uint64_t bytes, Through through) {
  std::vector<std::uint8_t> real(bytes, 0xee);
  std::vector<std::uint8_t> model(bytes, 0xee);
  const AccessResult result = through == Through::kReader
                                  ? reader_.read(GuestAddress{from}, span_of(real))
                                  : manager_->read(GuestAddress{from}, span_of(real));
  expect_same("read", result, model_.read(from, model));
  require(real == model);
}

void AccessWorld::write(std::uint64_t to, std::uint64_t bytes, std::uint64_t seed,
                        Through through) {
  const std::vector<std::uint8_t> data = pattern(bytes, seed);
  const std::span<const std::byte> source(bytes_of(data), data.size());
  const AccessResult result = through == Through::kReader
                                  ? reader_.write(GuestAddress{to}, source)
                                  : manager_->write(GuestAddress{to}, source);
  expect_same("write", result, model_.write(to, data));
}

void AccessWorld::fill(std::uint64_t to, std::uint64_t bytes, std::uint8_t value, Through through) {
  const AccessResult result = through == Through::kReader
                                  ? reader_.fill_block(GuestAddress{to}, std::byte{value}, bytes)
                                  : manager_->fill_block(GuestAddress{to}, std::byte{value}, bytes);
  expect_same("fill", result, model_.fill(to, value, bytes));
}

void AccessWorld::copy(std::uint64_t to, std::uint64_t from, std::uint64_t bytes, Through through) {
  const AccessResult result =
      through == Through::kReader
          ? reader_.copy_block(GuestAddress{to}, GuestAddress{from}, bytes)
          : manager_->copy_block(GuestAddress{to}, GuestAddress{from}, bytes);
  if (result.ok()) {
    const char* const orders[] = {"ascending", "descending", "buffered"};
    const auto order =
        internal::copy_order(*manager_->map(), {GuestAddress{to}, GuestAddress{from}, bytes});
    ++counts()[std::string("copy ") + orders[static_cast<int>(order)]];
  }
  expect_same("copy", result, model_.copy(to, from, bytes));
}

void AccessWorld::compare(std::uint64_t a, std::uint64_t b, std::uint64_t bytes) {
  int real = 99;
  int model = 0;
  const AccessResult result =
      manager_->compare_block(GuestAddress{a}, GuestAddress{b}, bytes, real);
  expect_same("compare", result, model_.compare(a, b, bytes, model));
  require(sign(real) == model);
}

void AccessWorld::load(std::uint64_t from, unsigned bytes, std::memory_order order) {
  with_word(bytes, 0xeeeeeeeeeeeeeeee, [&](auto real) {
    std::vector<std::uint8_t> model = bytes_of_word(real);
    const auto untouched = model;
    const AccessResult result = manager_->load(GuestAddress{from}, real, order);
    expect_same("load", result, model_.load(from, model));
    require(bytes_of_word(real) == (result.ok() ? model : untouched));
  });
}

void AccessWorld::store(std::uint64_t to, unsigned bytes, std::uint64_t value,
                        std::memory_order order) {
  with_word(bytes, value, [&](auto word) {
    const AccessResult result = manager_->store(GuestAddress{to}, word, order);
    expect_same("store", result, model_.store(to, bytes_of_word(word)));
  });
}

template <typename Word>
Word AccessWorld::model_word(std::uint64_t at) {
  std::vector<std::uint8_t> bytes(sizeof(Word));
  require(model_.load(at, bytes).ok());
  return word_of_bytes<Word>(bytes);
}

template <typename Word>
void AccessWorld::modify_as(std::uint64_t at, unsigned operation, Word operand) {
  const AccessResult wanted = model_.check_modify(at, sizeof(Word));
  const Word old = wanted.ok() ? model_word<Word>(at) : Word{0};
  Word previous = 0;
  AccessResult result;
  Word next = 0;
  const GuestAddress address{at};
  switch (operation) {
    case 0: next = operand, result = manager_->exchange(address, operand, previous); break;
    case 1:
      next = static_cast<Word>(old + operand);
      result = manager_->fetch_add(address, operand, previous);
      break;
    case 2:
      next = static_cast<Word>(old | operand);
      result = manager_->fetch_or(address, operand, previous);
      break;
    case 3:
      next = static_cast<Word>(old & operand);
      result = manager_->fetch_and(address, operand, previous);
      break;
    default:
      next = static_cast<Word>(old ^ operand);
      result = manager_->fetch_xor(address, operand, previous);
  }
  if (wanted.ok()) require(model_.store(at, bytes_of_word(next)).ok());
  expect_same("modify", result, wanted);
  require(previous == (wanted.ok() ? old : Word{0}));
}

void AccessWorld::modify(std::uint64_t at, unsigned bytes, unsigned operation,
                         std::uint64_t operand) {
  with_word(bytes, operand, [&](auto word) { modify_as(at, operation, word); });
}

template <typename Word>
void AccessWorld::compare_exchange_as(std::uint64_t at, Word expected, Word desired) {
  const AccessResult wanted = model_.check_modify(at, sizeof(Word));
  const Word old = wanted.ok() ? model_word<Word>(at) : Word{0};
  // Half of the time the right guess.
  Word guess = expected % 2 == 0 ? old : expected;
  const bool stores = guess == old;
  if (wanted.ok() && stores) require(model_.store(at, bytes_of_word(desired)).ok());
  const Word unchanged = guess;
  bool exchanged = false;
  const AccessResult result =
      manager_->compare_exchange(GuestAddress{at}, guess, desired, exchanged);
  expect_same("compare_exchange", result, wanted);
  require(exchanged == (wanted.ok() && stores));
  require(guess == (wanted.ok() ? old : unchanged));
}

void AccessWorld::compare_exchange(std::uint64_t at, unsigned bytes, std::uint64_t expected,
                                   std::uint64_t desired) {
  with_word(bytes, expected, [&](auto word) {
    compare_exchange_as(at, word, static_cast<decltype(word)>(desired));
  });
}

}  // namespace vm_mem
