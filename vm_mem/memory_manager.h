// Owns the guest's regions and moves bytes in and out of them.
//
// The regions are published as an immutable MemoryMap. A change builds a new map
// and swaps it in; accesses that run at that moment finish on the old one, and
// never wait. docs/memory_model.md states what concurrent accesses may see.
#ifndef VM_MEM_MEMORY_MANAGER_H_
#define VM_MEM_MEMORY_MANAGER_H_

#include <atomic>
#include <chrono>
#include <cstddef>
#include <cstdint>
#include <functional>
#include <memory>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "vm_mem/access.h"
#include "vm_mem/code_watch.h"
#include "vm_mem/dirty_pages.h"
#include "vm_mem/guest_address.h"
#include "vm_mem/memory_lease.h"
#include "vm_mem/memory_map.h"
#include "vm_mem/mmio_handler.h"
#include "vm_mem/ram_options.h"
#include "vm_mem/region_info.h"
#include "vm_mem/statistics.h"
#include "vm_mem/typed_access.h"
#include "vm_mem/write_cause.h"

namespace vm_mem {

class MemoryListener;

namespace internal {
class GuestRam;
}

// Who answers SIGBUS and SIGSEGV for regions whose memory can fault in the host.
enum class FaultHandler : std::uint8_t {
  kInstall,   // the library, once a region needs it: install_host_fault_handler()
  kEmbedder,  // a handler of the embedder's, which calls recover_host_fault()
};

struct MemoryManagerOptions {
  // The most regions that may exist at a time; more is refused.
  std::size_t max_regions = 65536;
  // The most runs of guest addresses that they may be seen as. Aliases of containers
  // in containers multiply.
  std::size_t max_sections = 262144;
  FaultHandler fault_handler = FaultHandler::kInstall;
  // kOn: for all RAM, whatever RamOptions::code_watch says.
  CodeWatching code_watch = CodeWatching::kOff;
};

// What remove_region does while somebody still uses the region.
enum class RemovePolicy : std::uint8_t {
  kRefuse,  // do not wait: kUnavailable while leased, else the memory goes when its
            // last reader has finished
  kWait,    // return once the memory has been given back to the host
};

class MemoryManager : public TypedAccess<MemoryManager> {
 public:
  static absl::StatusOr<std::unique_ptr<MemoryManager>> create(MemoryManagerOptions options);

  MemoryManager(const MemoryManager&) = delete;
  MemoryManager& operator=(const MemoryManager&) = delete;
  // Needs:  no access in progress, and no MemoryReader left.
  ~MemoryManager();

  // --- The map. Every call is all or nothing: on an error the map is as before.
  //
  // Units:   ranges begin and end at multiples of 4096.
  // Errors:  kInvalidArgument     empty or misaligned range, null handler, content
  //                               longer than the range, alias outside its region or
  //                               of a container that holds it, no container
  //          kAlreadyExists       overlap at equal priority; the message names both
  //          kNotFound            no such region
  //          kFailedPrecondition  an alias still shows the region, a container still
  //                               holds others, a call from a listener or from
  //                               prefault_progress
  //          kUnavailable         leased; the message names the count. Restored lazily, and
  //                               removed or cut while pages are absent
  //          kResourceExhausted   the host refused (errno in the message), or
  //                               max_regions or max_sections reached
  // Memory:  an access that starts after the call has returned sees the change.
  // Cost:    proportional to the number of regions; accesses are not stopped.

  absl::StatusOr<RegionId> add_ram(GuestRange range, RamOptions options = {});
  // `content` is copied; the rest of the range reads as zero.
  absl::StatusOr<RegionId> add_rom(GuestRange range, std::span<const std::byte> content,
                                   Placement placement = {});
  // Needs:  `handler` lives until the region is removed and its last access ended.
  absl::StatusOr<RegionId> add_mmio(GuestRange range, MmioHandler* handler,
                                    Placement placement = {});
  // Shows [offset, offset + range.bytes()) of `target` again: of RAM, ROM, a device or a
  // container with all that is seen in it. An alias of an alias shows what that one
  // shows now.
  absl::StatusOr<RegionId> add_alias(GuestRange range, RegionId target, std::uint64_t offset,
                                     Placement placement = {});
  // Holds regions, whose ranges then count from its beginning and are clipped to it.
  // Where it has none, what lies below it is seen.
  absl::StatusOr<RegionId> add_container(GuestRange range, Placement placement = {});
  // Needs:  kWait: this thread is in no access (not in an MmioHandler), holds no lease
  //         of the region, and no reader that has not been parked stays idle meanwhile:
  //         kWait has no time limit. kRefuse, then wait_until_unused(), has one.
  absl::Status remove_region(RegionId region, RemovePolicy policy);

  // A disabled region takes no place and is not seen there; its aliases show it still.
  absl::Status set_enabled(RegionId region, Enabled enabled);
  // Of all that is seen of it, or, of an alias or a container, through it: the least of
  // what lies on the way is permitted. Accesses that run, and leases, go on as they
  // were; wait_for_readers() waits for the accesses.
  absl::Status set_protection(RegionId region, Protection protection);
  // RAM only. Marks from earlier tracking are kept. Turned on beside writers: accesses
  // that run mark nothing; wait_for_readers() before the first copy waits for them.
  absl::Status set_dirty_tracking(RegionId region, DirtyTracking tracking);
  // To `begin` in its container. Leases keep their memory, and are no longer current.
  absl::Status move_region(RegionId region, GuestAddress begin);
  // RAM grows up to RamOptions::max_bytes, in place and with zeros (a file: with what it
  // holds), and what is cut off goes back to the host. Accesses that still see that part
  // end well. ROM grows up to the size that it was added with, and keeps its content.
  // Several resizes in one change() are one: what is left of the old size in the end keeps
  // its bytes.
  // Errors:  also kFailedPrecondition where an alias shows what would go, kUnavailable
  //          where a leased region would be cut, those of HostMapping::resize
  absl::Status resize_region(RegionId region, std::uint64_t bytes);

  // Calls of this thread inside `edits` are published as one change when it returns, or
  // not at all where it returns an error or throws, or where what they amount to is
  // refused. They see each other; accesses and map() do not see them yet. A change()
  // inside joins, and undoes its own part alone where it fails. kWait waits at the end.
  absl::Status change(const std::function<absl::Status()>& edits);

  // Waits until the last access, reader and lease that used a removed region has gone.
  //
  // Errors:  kNotFound           never was a region
  //          kFailedPrecondition not removed, or called from inside a change
  //          kDeadlineExceeded
  absl::Status wait_until_unused(RegionId region, std::chrono::nanoseconds timeout);
  // Waits until every access that began before this call has ended, and every
  // map() taken before has been dropped. It raises the generation.
  //
  // Needs:   this thread is in no access; idle readers are parked.
  // Errors:  kFailedPrecondition from inside a change; kDeadlineExceeded
  absl::Status wait_for_readers(std::chrono::nanoseconds timeout);

  // Errors:  kNotFound.
  absl::StatusOr<RegionInfo> region_info(RegionId region) const;

  // Pins the host memory behind `range`, of one or several regions. A region that is
  // leased is not removed by kRefuse; kWait takes it away from new accesses and leases
  // and returns after the last lease.
  //
  // Errors:  kInvalidArgument     empty
  //          kNotFound            nothing is mapped at some byte
  //          kPermissionDenied    ROM or protected memory does not permit `access`
  //          kFailedPrecondition  a device, or memory that is not contiguous in the
  //                               host; the message says how many bytes are
  //          kDataLoss, kUnavailable  of memory that LazyRestore has not brought yet, and
  //                               cannot
  // Cost:    pages that LazyRestore has not brought yet are brought; else
  //          a lock of each region, for some stores; three allocations, and more where many
  //          regions are under it. Yields while a change of one of them is published.
  // `cause` is what is reported to who watches the bytes, when they are marked.
  absl::StatusOr<MemoryLease> lease(GuestRange range, LeaseAccess access,
                                    WriteCause cause = WriteCause::kHost);
  // Those that exist, of all regions. Of one: region_info().
  std::uint64_t leases() const;

  // Gives the pages of RAM back to the host, as a balloon or free-page reporting asks:
  // they read as zero and are marked dirty. Accesses meanwhile see the old bytes or zero.
  //
  // Units:   multiples of the host's pages behind the region.
  // Errors:  checked for all of the range first:
  //          kInvalidArgument     misaligned
  //          kNotFound            nothing is mapped at some byte
  //          kPermissionDenied    protected
  //          kFailedPrecondition  not RAM; a call from inside a change
  //          kUnavailable         some of the range is leased
  //          then those of HostMapping::discard, which leave it done up to there
  absl::Status discard(GuestRange range);

  std::shared_ptr<const MemoryMap> map() const;
  // Of the current map. Cost: one acquire load.
  std::uint64_t generation() const { return generation_.load(std::memory_order_acquire); }
  // What generation() and dirty_epoch() give, for who asks before every access.
  const std::atomic<std::uint64_t>& generation_word() const { return generation_; }
  const std::atomic<std::uint64_t>& dirty_epoch_word() const;

  // The memfd, or the shared file, behind a RAM region; it stays the manager's.
  // Errors:  kNotFound; kFailedPrecondition where the backing has none.
  absl::StatusOr<int> region_fd(RegionId region) const;
  // The same, with all that mmap(2) has to know. It is good while somebody holds a map, or
  // a section of one, that shows the region.
  absl::StatusOr<RegionFile> region_file(RegionId region) const;
  // The pages that are marked and that no client has harvested yet.
  // Errors:  kNotFound; kFailedPrecondition where writes are not tracked.
  absl::StatusOr<std::uint64_t> dirty_page_count(RegionId region) const;

  // --- Dirty pages. docs/guest_memory.md has how to use them.
  //
  // A client is told every page that was written since it was added or last told, be it
  // that other clients have harvested meanwhile. Regions that come later are covered too:
  // their pages count as clean until they are written.
  //
  // Memory:  a harvest may run beside writers. Whatever is stored before the call begins
  //          (in the happens-before sense) is in the pages it reports; what it reports
  //          may be read after it has returned, and a write that this misses is reported
  //          by the next harvest. It covers the threads of this process, and engines with
  //          a soft TLB once they have refreshed.
  // Errors:  kNotFound            no such client or region
  //          kFailedPrecondition  writes to the region are not tracked, or it is an alias
  //          kInvalidArgument     no name
  //          kAlreadyExists       a client has that name
  //          kResourceExhausted   64 clients, or no memory
  //          kOutOfRange          a region of 16 TiB or more
  //          kUnimplemented       the host has no barrier for all threads of a process
  //          kUnavailable         it had one, and refuses it now
  //          After an error nothing is lost: the pages are reported by a later harvest.
  // Cost:    a pass over the log (1 to 10 us a GiB of the region) and the barrier; writers
  //          are not stopped. For each further client a pass over a bitmap.

  absl::StatusOr<DirtyClient> add_dirty_client(std::string_view name,
                                               DirtyStart start = DirtyStart::kClean);
  absl::Status remove_dirty_client(DirtyClient client);
  absl::Status harvest_dirty(DirtyClient client, RegionId region, DirtyPages& out);
  // Every tracked region, in order of their ids, with one barrier for all.
  absl::Status harvest_dirty(DirtyClient client, std::vector<DirtyRegion>& out);
  // Advances with every harvest that cleared marks. A writer that marks a page once and
  // then stores to it many times marks it again when this has changed.
  std::uint64_t dirty_epoch() const;

  // Who is told of writes to translated code.
  CodeWatch& code_watch();

  // Tells `listener` of the current regions, then of every change.
  // Needs:  it outlives this object or is removed; neither call from a listener or
  //         prefault_progress, nor inside change(): it would wait for itself.
  void add_listener(MemoryListener* listener);
  void remove_listener(MemoryListener* listener);

  // --- Bulk access. Ranges may span any mixture of regions.
  //
  // Units:   bytes; a length of 0 does nothing and succeeds anywhere.
  // Memory:  relaxed. An access of exactly 1, 2, 4 or 8 bytes that is naturally
  //          aligned in guest memory is single-copy atomic, whatever the alignment
  //          of the host buffer. Longer ones never tear an aligned 8-byte word on
  //          the guest's side.
  // Errors:  in the result; see AccessResult. What the map knows is found first,
  //          and the longest possible prefix is transferred. A range that runs past
  //          2^64 - 1 is unmapped from there on.

  AccessResult read(GuestAddress from, std::span<std::byte> to, Route route = Route::kCpu) const;
  AccessResult write(GuestAddress to, std::span<const std::byte> from, Route route = Route::kCpu);
  // memmove semantics: overlap is judged on host memory, so that it holds through
  // aliases too.
  AccessResult copy_block(GuestAddress to, GuestAddress from, std::uint64_t bytes,
                          Route route = Route::kCpu);
  AccessResult fill_block(GuestAddress to, std::byte value, std::uint64_t bytes,
                          Route route = Route::kCpu);
  // `order` is negative, zero or positive, as memcmp's; it covers the `done` bytes.
  // On a fault, side kDestination means that it lies in `a`, kSource in `b`.
  AccessResult compare_block(GuestAddress a, GuestAddress b, std::uint64_t bytes, int& order,
                             Route route = Route::kCpu) const;

  // Bulk operations so far, by route and path.
  Statistics statistics() const;

 private:
  friend class MemoryReader;
  friend class internal::GuestRam;
  friend TypedAccess<MemoryManager>;
  class State;

  explicit MemoryManager(MemoryManagerOptions options);
  AccessResult counted(const AccessResult& result, Route route) const;
  AccessResult load_bits(GuestAddress from, unsigned bytes, std::uint64_t& bits,
                         std::memory_order order) const;
  AccessResult store_bits(GuestAddress to, unsigned bytes, std::uint64_t bits,
                          std::memory_order order);
  AccessResult modify_bits(GuestAddress at, unsigned bytes, WordOperation operation,
                           std::uint64_t operand, std::uint64_t& previous, std::memory_order order);
  AccessResult compare_exchange_bits(GuestAddress at, unsigned bytes, std::uint64_t& expected,
                                     std::uint64_t desired, bool& exchanged,
                                     std::memory_order order);

  std::unique_ptr<State> state_;
  std::atomic<std::uint64_t> generation_{0};
};

}  // namespace vm_mem

#endif  // VM_MEM_MEMORY_MANAGER_H_
