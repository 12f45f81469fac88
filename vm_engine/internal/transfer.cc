#include "vm_engine/internal/transfer.h"

#include <algorithm>
#include <array>
#include <atomic>
#include <bit>
#include <span>

#include "vm_engine/internal/helper_flags.h"
#include "vm_mem/guest_copy.h"
#include "vm_mem/simd_memcpy.h"

namespace vm_engine::internal {
namespace {

constexpr std::uint32_t kOverlapMask = 3u << 12;
constexpr std::uint32_t kKnownFlags = kOrderMask | (kOrderMask - 1);

std::uint64_t page_rest_above(std::uint64_t gva) { return kPageBytes - (gva & ~kPageMask); }
std::uint64_t page_rest_below(std::uint64_t end) { return ((end - 1) & ~kPageMask) + 1; }

}  // namespace

Transfer::Transfer(Cpu& cpu, const TransferRequest& request)
    : cpu_(cpu),
      request_(request),
      element_(element_bytes(request.flags)),
      progress_((request.flags & VME_BACKWARD) != 0 ? Order::kDescending : Order::kAscending),
      data_order_(progress_),
      source_{.gva = request.source_gva,
              .access = request.read_access,
              .side = VME_SIDE_SOURCE,
              .mode = source_mode(request.flags)},
      destination_{.gva = request.destination_gva,
                   .access = VME_ACCESS_WRITE,
                   .side = VME_SIDE_DESTINATION,
                   .mode = destination_mode(request.flags)},
      ordered_((request.flags & kOrderMask) == VME_ORDER_TSO_ELEM),
      devices_allowed_((request.flags & (VME_NO_MMIO | VME_ATOMIC_OR_NOTHING)) == 0) {}

std::uint64_t Transfer::run() {
  if (request_.bytes == 0) return 0;
  const Cpu::Use use(cpu_);
  cpu_.sync();
  if (!valid()) {
    cpu_.fail(VME_EINVAL, subject(reads_guest() ? source_ : destination_, 0),
              reads_guest() ? source_.gva : destination_.gva, kNoAddress);
    return finish(0);
  }
  if ((request_.flags & kOrderMask) != VME_ORDER_ACQREL_ENDS) return run_relaxed();
  std::atomic_thread_fence(std::memory_order_seq_cst);
  const std::uint64_t left = run_relaxed();
  std::atomic_thread_fence(std::memory_order_seq_cst);
  return left;
}

std::uint64_t Transfer::run_relaxed() {
  const bool poll = (request_.flags & VME_POLL) != 0;
  const bool atomic = (request_.flags & VME_ATOMIC_OR_NOTHING) != 0;
  const Step all{.offset = 0, .bytes = request_.bytes};
  if (!poll && is_long() && move_direct(all)) return finish(request_.bytes);
  if (!against_its_order() && !atomic) return finish(walk(all, progress_, poll, &Transfer::move));
  if (against_its_order()) devices_allowed_ = false;
  const std::uint64_t reach = walk(all, progress_, false, &Transfer::look);
  if (atomic && reach != request_.bytes) return finish(0);
  if (!against_its_order()) return finish(walk(all, progress_, false, &Transfer::move));
  const bool up = progress_ == Order::kAscending;
  const Step reached{.offset = up ? 0 : request_.bytes - reach, .bytes = reach};
  data_order_ = up ? Order::kDescending : Order::kAscending;
  const vme_fault why = cpu_.fault;
  if (walk(reached, data_order_, false, &Transfer::move) != reach) return finish(0);
  if (reach != request_.bytes) cpu_.fault = why;
  return finish(reach);
}

// What the others' requests tell of may be the running block's code (VME_CODE_HIT): of a
// call that failed the reason stands, and exit_request says the rest.
std::uint64_t Transfer::finish(std::uint64_t done) {
  if (done == request_.bytes) {
    cpu_.sync();
    return 0;
  }
  const vme_fault why = cpu_.fault;
  cpu_.sync();
  cpu_.fault = why;
  cpu_.fault.done = done;
  return request_.bytes - done;
}

bool Transfer::valid() const {
  const bool null_host = (request_.kind == TransferKind::kRead && request_.host_to == nullptr) ||
                         (request_.kind == TransferKind::kWrite && request_.host_from == nullptr);
  return !null_host && (request_.flags & ~kKnownFlags) == 0 && element_ <= 8 &&
         request_.bytes % element_ == 0 && overlap() <= VME_OVERLAP_DISJOINT &&
         (request_.flags & kOrderMask) <= VME_ORDER_TSO_ELEM && source_.mode < VME_MMU_MODES &&
         destination_.mode < VME_MMU_MODES;
}

bool Transfer::reads_guest() const {
  return request_.kind == TransferKind::kCopy || request_.kind == TransferKind::kRead;
}
bool Transfer::writes_guest() const { return request_.kind != TransferKind::kRead; }

std::uint32_t Transfer::overlap() const { return request_.flags & kOverlapMask; }

bool Transfer::against_its_order() const {
  if (request_.kind != TransferKind::kCopy || overlap() != VME_OVERLAP_MEMMOVE) return false;
  const std::uint64_t ahead = progress_ == Order::kAscending ? destination_.gva - source_.gva
                                                             : source_.gva - destination_.gva;
  return ahead != 0 && ahead < request_.bytes;
}

Subject Transfer::subject(const Operand& operand, std::uint64_t offset) const {
  return Subject{.access = operand.access,
                 .side = operand.side,
                 .gva = operand.gva + offset,
                 .bytes = element_};
}

// The first look at exit_request comes after the first step, so that a caller who
// calls again without clearing it still gets on.
std::uint64_t Transfer::walk(Step range, Order order, bool poll, Action action) {
  std::uint64_t done = 0;
  while (done < range.bytes) {
    const Step step = cut(range, done, order);
    cpu_.sync();
    if (poll && done != 0 && begins_page(step) && cpu_.exit_requested()) {
      const Operand& operand = reads_guest() ? source_ : destination_;
      cpu_.fail(VME_INTR, subject(operand, lead(step)), operand.gva + lead(step), kNoAddress);
      return done;
    }
    const std::uint64_t moved = (this->*action)(step);
    done += moved;
    if (moved != step.bytes) return done;
  }
  return done;
}

// Whether the element before the step's first lies, in part at least, in another page than
// it, or the step itself does.
bool Transfer::begins_page(const Step& step) const {
  const std::uint64_t element = lead(step);
  const std::uint64_t before =
      progress_ == Order::kAscending ? element - element_ : element + element_;
  const auto begins = [&](const Operand& operand) {
    const auto page_of = [&](std::uint64_t offset) { return (operand.gva + offset) & kPageMask; };
    const std::uint64_t page = page_of(element);
    return page_of(element + element_ - 1) != page || page_of(before) != page ||
           page_of(before + element_ - 1) != page;
  };
  return (reads_guest() && begins(source_)) || (writes_guest() && begins(destination_));
}

Transfer::Step Transfer::cut(const Step& range, std::uint64_t done, Order order) const {
  const bool up = order == Order::kAscending;
  const std::uint64_t from = up ? range.offset + done : range.offset + range.bytes - done;
  std::uint64_t bytes = range.bytes - done;
  const auto limit = [&](const Operand& operand) {
    const std::uint64_t at = operand.gva + from;
    bytes = std::min(bytes, up ? page_rest_above(at) : page_rest_below(at));
  };
  if (reads_guest()) limit(source_);
  if (writes_guest()) limit(destination_);
  if (writes_guest() && (request_.flags & VME_ONCE) != 0) bytes = std::min(bytes, kStoredOnce);
  bytes = std::max(bytes - bytes % element_, element_);
  return Step{.offset = up ? from : from - bytes, .bytes = bytes};
}

// The element of a step that comes first, and so the one that a fault of its page hits.
std::uint64_t Transfer::lead(const Step& step) const {
  return progress_ == Order::kAscending ? step.offset : step.offset + step.bytes - element_;
}

bool Transfer::place(const Operand& operand, const Step& step, Extent& extent) {
  extent.bytes = step.bytes;
  extent.first = std::min(step.bytes, page_rest_above(operand.gva + step.offset));
  const std::uint64_t element = lead(step);
  const unsigned pages = extent.first == step.bytes ? 1 : 2;
  for (unsigned page = 0; page < pages; ++page) {
    const std::uint64_t at = operand.gva + (page == 0 ? element : step.offset + extent.first);
    const Place found = cpu_.resolve(at, operand.access, operand.mode);
    const bool device = found.kind == PageKind::kDevice;
    const vme_rc rc = device && !devices_allowed_ ? VME_MMIO : found.rc;
    if (rc != VME_OK) {
      cpu_.fail(rc, subject(operand, element), at, found.gpa);
      return false;
    }
    extent.gpa[page] = page == 0 ? found.gpa - (element - step.offset) : found.gpa;
    extent.device |= device;
  }
  return true;
}

bool Transfer::resolve(const Step& step, Stage& stage) {
  if (reads_guest() && !place(source_, step, stage.source)) return false;
  return !writes_guest() || place(destination_, step, stage.destination);
}

std::uint64_t Transfer::look(const Step& step) {
  Stage stage;
  return resolve(step, stage) ? step.bytes : 0;
}

std::uint64_t Transfer::move(const Step& step) {
  Stage stage;
  if (!resolve(step, stage)) return 0;
  const auto split = [](const Extent& extent) { return extent.first != extent.bytes; };
  const bool elements = ordered_ || stage.source.device || stage.destination.device ||
                        split(stage.source) || split(stage.destination) ||
                        (progress_ == Order::kDescending && !cpu_.memory().faults_by_page());
  return elements ? move_elements(step, stage) : move_run(step, stage);
}

// Whether some operand has more than one page.
bool Transfer::is_long() const {
  const auto crosses = [&](const Operand& operand) {
    return request_.bytes > page_rest_above(operand.gva);
  };
  return (reads_guest() && crosses(source_)) || (writes_guest() && crosses(destination_));
}

bool Transfer::find_bytes(const Operand& operand, const Step& step, Bytes& bytes) {
  const std::uint64_t gva = operand.gva + step.offset;
  const Cpu::Piece* piece = cpu_.piece(gva, step.bytes, operand.access, operand.mode);
  if (piece == nullptr) return false;
  const std::uint64_t offset = gva - piece->gva;
  bytes = {piece->host + offset, piece->dirty_log, piece->region_offset + offset};
  return true;
}

// Whether what the flags ask of operands that overlap is a move as if through a buffer.
bool Transfer::moves(const Bytes& destination, const Bytes& source, std::uint64_t bytes) const {
  if (overlap() != VME_OVERLAP_PROPAGATE) return true;
  const bool up = progress_ == Order::kAscending;
  const auto ahead = static_cast<std::uint64_t>(up ? destination.host - source.host
                                                   : source.host - destination.host);
  return ahead == 0 || ahead >= bytes;
}

// At once, by the host's pointers: where nothing can stop it in between and no order is
// asked for. False: nothing was done.
bool Transfer::move_direct(const Step& step) {
  if (ordered_ || (request_.flags & VME_ONCE) != 0) return false;
  Bytes source, destination;
  if (reads_guest() && !find_bytes(source_, step, source)) return false;
  if (writes_guest() && !find_bytes(destination_, step, destination)) return false;
  switch (request_.kind) {
    case TransferKind::kCopy:
      if (!moves(destination, source, step.bytes)) return false;
      vm_mem::copy_within_guest(destination.host, source.host, step.bytes);
      break;
    case TransferKind::kFill: fill_direct(destination.host, step.bytes); break;
    case TransferKind::kRead:
      vm_mem::copy_from_guest(request_.host_to + step.offset, source.host, step.bytes);
      break;
    case TransferKind::kWrite:
      vm_mem::copy_to_guest(destination.host, request_.host_from + step.offset, step.bytes);
      break;
  }
  cpu_.memory().count_copy(step.bytes);
  if (destination.dirty_log != nullptr) {
    destination.dirty_log->mark(destination.region_offset, step.bytes, vm_mem::WriteCause::kCopy);
  }
  return true;
}

void Transfer::fill_direct(std::byte* to, std::uint64_t bytes) {
  if (element_ == 1) return vm_mem::fill_guest(to, static_cast<std::byte>(request_.pattern), bytes);
  const std::span<std::byte> buffer = cpu_.bounce().first(std::min(bytes, kPageBytes));
  const auto pattern = std::bit_cast<std::array<std::byte, 8>>(request_.pattern);
  for (std::uint64_t i = 0; i < buffer.size(); ++i) buffer[i] = pattern[i % element_];
  for (std::uint64_t done = 0, run = 0; done < bytes; done += run) {
    run = std::min<std::uint64_t>(bytes - done, buffer.size());
    vm_mem::copy_to_guest(to + done, buffer.data(), run);
  }
}

std::uint64_t Transfer::move_run(const Step& step, const Stage& stage) {
  if (move_direct(step)) return step.bytes;
  Outcome outcome;
  switch (request_.kind) {
    case TransferKind::kCopy: outcome = copy_run(stage); break;
    case TransferKind::kFill: outcome = fill_run(stage); break;
    case TransferKind::kRead: outcome = read_run(step, stage); break;
    case TransferKind::kWrite:
      outcome = cpu_.memory().write(stage.destination.gpa[0],
                                    {request_.host_from + step.offset, step.bytes});
      break;
  }
  if (outcome.rc == VME_OK) return step.bytes;
  const Operand& operand = outcome.side == VME_SIDE_SOURCE ? source_ : destination_;
  const std::uint64_t whole = whole_elements(outcome.done);
  report(outcome, operand, step.offset + whole, step.offset + outcome.done);
  return progress_ == Order::kAscending ? whole : 0;
}

Outcome Transfer::read_run(const Step& step, const Stage& stage) {
  std::byte* const to = request_.host_to + step.offset;
  if (cpu_.memory().faults_by_page())
    return cpu_.memory().read(stage.source.gpa[0], {to, step.bytes});
  const Outcome got = cpu_.memory().read(stage.source.gpa[0], cpu_.bounce().first(step.bytes));
  vm_mem::memcpy_raw(to, cpu_.bounce().data(), whole_elements(got.done));
  return got;
}

Outcome Transfer::copy_run(const Stage& stage) {
  const std::uint64_t to = stage.destination.gpa[0];
  const std::uint64_t from = stage.source.gpa[0];
  const std::uint64_t bytes = stage.source.bytes;
  if (overlap() == VME_OVERLAP_PROPAGATE) {
    const bool up = progress_ == Order::kAscending;
    const std::uint64_t distance = up ? to - from : from - to;
    if (distance != 0 && distance < bytes) {
      return up ? replicate_up(stage, distance) : replicate_down(stage, distance);
    }
  }
  return cpu_.memory().copy(to, from, bytes, element_);
}

Outcome Transfer::fill_run(const Stage& stage) {
  const std::uint64_t bytes = stage.destination.bytes;
  const auto low = static_cast<std::byte>(request_.pattern & 0xff);
  if (element_ == 1) return cpu_.memory().fill(stage.destination.gpa[0], low, bytes);
  const std::span<std::byte> page = cpu_.bounce().first(bytes);
  const auto pattern = std::bit_cast<std::array<std::byte, 8>>(request_.pattern);
  for (std::uint64_t i = 0; i < bytes; ++i) page[i] = pattern[i % element_];
  return cpu_.memory().write(stage.destination.gpa[0], page);
}

// Both replicate what element-by-element order does within one step: the source is
// read once, the pattern grows in a buffer, the destination is written once. From a
// distance of one element on, the result repeats with the distance as its period,
// and the buffer doubles; below, every element overwrites part of the next source.
Outcome Transfer::replicate_up(const Stage& stage, std::uint64_t distance) {
  std::byte* buffer = cpu_.bounce().data();
  const Outcome got = cpu_.memory().read(stage.source.gpa[0], {buffer, stage.source.bytes});
  const std::uint64_t bytes = whole_elements(got.done);
  if (bytes == 0) return got;
  std::byte* target = buffer + distance;
  for (std::uint64_t at = 0, run = 0; at < bytes; at += run) {
    const std::uint64_t period = distance + at;
    run = std::min(distance >= element_ ? period : element_, bytes - at);
    vm_mem::memmove_raw(target + at, distance >= element_ ? buffer : buffer + at, run);
  }
  const Outcome put = cpu_.memory().write(stage.destination.gpa[0], {target, bytes});
  return put.rc == VME_OK ? got : put;
}

Outcome Transfer::replicate_down(const Stage& stage, std::uint64_t distance) {
  const std::uint64_t bytes = stage.source.bytes;
  std::byte* buffer = cpu_.bounce().data();
  const Outcome got = cpu_.memory().read(stage.source.gpa[0], {buffer + distance, bytes});
  if (got.rc != VME_OK) return Outcome{.rc = got.rc};
  std::byte* end = buffer + distance + bytes;
  for (std::uint64_t left = bytes, run = 0; left > 0; left -= run) {
    const std::uint64_t period = distance + (bytes - left);
    run = std::min(distance >= element_ ? period : element_, left);
    std::byte* to = buffer + left - run;
    vm_mem::memmove_raw(to, distance >= element_ ? end - run : to + distance, run);
  }
  return cpu_.memory().write(stage.destination.gpa[0], {buffer, bytes});
}

std::uint64_t Transfer::move_elements(const Step& step, const Stage& stage) {
  const bool up = data_order_ == Order::kAscending;
  for (std::uint64_t done = 0; done < step.bytes; done += element_) {
    const std::uint64_t at = up ? done : step.bytes - done - element_;
    if (!move_element(step, stage, at)) return done;
  }
  return step.bytes;
}

bool Transfer::move_element(const Step& step, const Stage& stage, std::uint64_t at) {
  auto value = std::bit_cast<std::array<std::byte, 8>>(request_.pattern);
  if (reads_guest() && !read_element(source_, step, stage.source, at, value.data())) return false;
  if (request_.kind == TransferKind::kWrite) {
    vm_mem::memcpy_raw(value.data(), request_.host_from + step.offset + at, element_);
  }
  if (writes_guest()) {
    return write_element(destination_, step, stage.destination, at, value.data());
  }
  vm_mem::memcpy_raw(request_.host_to + step.offset + at, value.data(), element_);
  return true;
}

bool Transfer::read_element(const Operand& operand, const Step& step, const Extent& extent,
                            std::uint64_t at, std::byte* to) {
  const std::uint64_t first = std::min(element_, extent.first - at);
  const std::span<std::byte> bytes(to, first);
  const bool whole_word = ordered_ && !extent.device && first == element_;
  Outcome got = whole_word ? cpu_.memory().load(extent.gpa[0] + at, bytes)
                           : cpu_.memory().read(extent.gpa[0] + at, bytes);
  if (got.rc == VME_OK && first < element_) {
    got = cpu_.memory().read(extent.gpa[1], {to + first, element_ - first});
    got.done += first;
  }
  if (ordered_ && !whole_word) std::atomic_thread_fence(std::memory_order_acquire);
  return report(got, operand, step.offset + at, step.offset + at + got.done);
}

bool Transfer::write_element(const Operand& operand, const Step& step, const Extent& extent,
                             std::uint64_t at, const std::byte* from) {
  const std::uint64_t first = std::min(element_, extent.first - at);
  const std::span<const std::byte> bytes(from, first);
  const bool whole_word = ordered_ && !extent.device && first == element_;
  if (ordered_ && !whole_word) std::atomic_thread_fence(std::memory_order_release);
  Outcome put = whole_word ? cpu_.memory().store(extent.gpa[0] + at, bytes)
                           : cpu_.memory().write(extent.gpa[0] + at, bytes);
  if (put.rc == VME_OK && first < element_) {
    put = cpu_.memory().write(extent.gpa[1], {from + first, element_ - first});
    put.done += first;
  }
  return report(put, operand, step.offset + at, step.offset + at + put.done);
}

bool Transfer::report(const Outcome& outcome, const Operand& operand, std::uint64_t element,
                      std::uint64_t offset) {
  if (outcome.rc == VME_OK) return true;
  const std::uint64_t at = operand.gva + offset;
  const Place place = cpu_.resolve(at, operand.access, operand.mode);
  cpu_.fail(outcome.rc, subject(operand, element), at, place.gpa);
  return false;
}

}  // namespace vm_engine::internal
