//! rust-vmm's vm-memory behind a C interface, with the loops on this side of it: what is
//! timed is the library as a Rust program has it, inlined and optimized as a whole.
//!
//! bench/peers/vm_memory.cc is the other side.

use std::arch::asm;
use std::slice;
use std::sync::atomic::Ordering;
use vm_memory::bitmap::{AtomicBitmap, Bitmap};
use vm_memory::mmap::NewBitmap;
use vm_memory::{Bytes, GuestAddress, GuestMemoryMmap};

#[repr(C)]
pub struct Range {
    base: u64,
    bytes: u64,
}

/// Guest memory, with or without a dirty bitmap.
pub enum Memory {
    Plain(GuestMemoryMmap<()>),
    Tracked(GuestMemoryMmap<AtomicBitmap>),
}

/// One way to access memory. `step` returns whether it succeeded.
trait Access {
    fn step<B: Mapped>(&mut self, memory: &GuestMemoryMmap<B>, at: GuestAddress) -> bool;
}

/// The bitmaps that mapped memory can have.
trait Mapped: Bitmap + NewBitmap + 'static {}
impl Mapped for () {}
impl Mapped for AtomicBitmap {}

struct ReadObj(u64);
struct WriteObj(u64);
struct Load(u64);
struct Store(u64);
struct ReadSlice<'a>(&'a mut [u8]);
struct WriteSlice<'a>(&'a [u8]);

impl Access for ReadObj {
    #[inline(always)]
    fn step<B: Mapped>(&mut self, memory: &GuestMemoryMmap<B>, at: GuestAddress) -> bool {
        let value = memory.read_obj::<u64>(at);
        self.0 = self.0.wrapping_add(*value.as_ref().unwrap_or(&0));
        value.is_ok()
    }
}

impl Access for WriteObj {
    #[inline(always)]
    fn step<B: Mapped>(&mut self, memory: &GuestMemoryMmap<B>, at: GuestAddress) -> bool {
        self.0 = self.0.wrapping_add(1);
        memory.write_obj::<u64>(self.0, at).is_ok()
    }
}

impl Access for Load {
    #[inline(always)]
    fn step<B: Mapped>(&mut self, memory: &GuestMemoryMmap<B>, at: GuestAddress) -> bool {
        let value = memory.load::<u64>(at, Ordering::Relaxed);
        self.0 = self.0.wrapping_add(*value.as_ref().unwrap_or(&0));
        value.is_ok()
    }
}

impl Access for Store {
    #[inline(always)]
    fn step<B: Mapped>(&mut self, memory: &GuestMemoryMmap<B>, at: GuestAddress) -> bool {
        self.0 = self.0.wrapping_add(1);
        memory.store::<u64>(self.0, at, Ordering::Relaxed).is_ok()
    }
}

impl Access for ReadSlice<'_> {
    #[inline(always)]
    fn step<B: Mapped>(&mut self, memory: &GuestMemoryMmap<B>, at: GuestAddress) -> bool {
        memory.read_slice(self.0, at).is_ok()
    }
}

impl Access for WriteSlice<'_> {
    #[inline(always)]
    fn step<B: Mapped>(&mut self, memory: &GuestMemoryMmap<B>, at: GuestAddress) -> bool {
        memory.write_slice(self.0, at).is_ok()
    }
}

const PLACES: usize = 8;

/// One instance of the loop. Instances differ by `PLACE`, or they would be merged; they
/// share the work, as the loops of the C++ side do.
#[inline(never)]
fn walk_at<const PLACE: usize, B: Mapped, A: Access>(
    memory: &GuestMemoryMmap<B>,
    addresses: &[u64],
    access: &mut A,
) -> u64 {
    // SAFETY: the assembly is a comment.
    unsafe { asm!("/* {} */", in(reg) PLACE, options(nomem, nostack, preserves_flags)) };
    let mut failed = 0;
    for &at in addresses {
        failed += u64::from(!access.step(memory, GuestAddress(at)));
    }
    failed
}

fn walk<B: Mapped, A: Access>(
    memory: &GuestMemoryMmap<B>,
    addresses: &[u64],
    access: &mut A,
) -> u64 {
    let part = |place: usize| {
        let begin = addresses.len() * place / PLACES;
        &addresses[begin..addresses.len() * (place + 1) / PLACES]
    };
    walk_at::<0, B, A>(memory, part(0), access)
        + walk_at::<1, B, A>(memory, part(1), access)
        + walk_at::<2, B, A>(memory, part(2), access)
        + walk_at::<3, B, A>(memory, part(3), access)
        + walk_at::<4, B, A>(memory, part(4), access)
        + walk_at::<5, B, A>(memory, part(5), access)
        + walk_at::<6, B, A>(memory, part(6), access)
        + walk_at::<7, B, A>(memory, part(7), access)
}

fn walk_any<A: Access>(memory: &Memory, addresses: &[u64], access: &mut A) -> u64 {
    match memory {
        Memory::Plain(memory) => walk(memory, addresses, access),
        Memory::Tracked(memory) => walk(memory, addresses, access),
    }
}

/// One way to move a list of segments to or from a buffer. `step` returns how many of them
/// failed.
trait ListAccess {
    fn step<B: Mapped>(&mut self, memory: &GuestMemoryMmap<B>, list: &[Range]) -> u64;
}

struct ReadList<'a>(&'a mut [u8]);
struct WriteList<'a>(&'a [u8]);

impl ListAccess for ReadList<'_> {
    #[inline(always)]
    fn step<B: Mapped>(&mut self, memory: &GuestMemoryMmap<B>, list: &[Range]) -> u64 {
        let mut rest = &mut *self.0;
        let mut failed = 0;
        for segment in list {
            let (part, after) = rest.split_at_mut(segment.bytes as usize);
            failed += u64::from(memory.read_slice(part, GuestAddress(segment.base)).is_err());
            rest = after;
        }
        failed
    }
}

impl ListAccess for WriteList<'_> {
    #[inline(always)]
    fn step<B: Mapped>(&mut self, memory: &GuestMemoryMmap<B>, list: &[Range]) -> u64 {
        let mut rest = self.0;
        let mut failed = 0;
        for segment in list {
            let (part, after) = rest.split_at(segment.bytes as usize);
            failed += u64::from(memory.write_slice(part, GuestAddress(segment.base)).is_err());
            rest = after;
        }
        failed
    }
}

#[inline(never)]
fn walk_lists<B: Mapped, A: ListAccess>(
    memory: &GuestMemoryMmap<B>,
    segments: &[Range],
    list_length: usize,
    access: &mut A,
) -> u64 {
    segments.chunks_exact(list_length).map(|list| access.step(memory, list)).sum()
}

fn walk_any_lists<A: ListAccess>(
    memory: &Memory,
    segments: &[Range],
    list_length: usize,
    access: &mut A,
) -> u64 {
    match memory {
        Memory::Plain(memory) => walk_lists(memory, segments, list_length, access),
        Memory::Tracked(memory) => walk_lists(memory, segments, list_length, access),
    }
}

/// Null where the host or the library refuses.
///
/// # Safety
/// `ranges` points to `count` of them.
#[no_mangle]
pub unsafe extern "C" fn vm_bench_memory_create(
    ranges: *const Range,
    count: usize,
    tracked: bool,
) -> *mut Memory {
    let ranges: Vec<(GuestAddress, usize)> = slice::from_raw_parts(ranges, count)
        .iter()
        .map(|range| (GuestAddress(range.base), range.bytes as usize))
        .collect();
    let memory = if tracked {
        GuestMemoryMmap::from_ranges(&ranges).map(Memory::Tracked)
    } else {
        GuestMemoryMmap::from_ranges(&ranges).map(Memory::Plain)
    };
    memory.map_or(std::ptr::null_mut(), |memory| Box::into_raw(Box::new(memory)))
}

/// # Safety
/// `memory` came from `vm_bench_memory_create` and is used no more.
#[no_mangle]
pub unsafe extern "C" fn vm_bench_memory_destroy(memory: *mut Memory) {
    drop(Box::from_raw(memory));
}

/// All of these return how many accesses failed.
///
/// # Safety
/// `memory` is alive, `addresses` points to `count` of them, `sum` to one.
#[no_mangle]
pub unsafe extern "C" fn vm_bench_memory_read_obj(
    memory: *const Memory,
    addresses: *const u64,
    count: usize,
    sum: *mut u64,
) -> u64 {
    let mut access = ReadObj(0);
    let failed = walk_any(&*memory, slice::from_raw_parts(addresses, count), &mut access);
    *sum = access.0;
    failed
}

/// # Safety
/// As `vm_bench_memory_read_obj`.
#[no_mangle]
pub unsafe extern "C" fn vm_bench_memory_load(
    memory: *const Memory,
    addresses: *const u64,
    count: usize,
    sum: *mut u64,
) -> u64 {
    let mut access = Load(0);
    let failed = walk_any(&*memory, slice::from_raw_parts(addresses, count), &mut access);
    *sum = access.0;
    failed
}

/// Writes first + 1, first + 2 and so on.
///
/// # Safety
/// As `vm_bench_memory_read_obj`.
#[no_mangle]
pub unsafe extern "C" fn vm_bench_memory_write_obj(
    memory: *const Memory,
    addresses: *const u64,
    count: usize,
    first: u64,
) -> u64 {
    walk_any(&*memory, slice::from_raw_parts(addresses, count), &mut WriteObj(first))
}

/// # Safety
/// As `vm_bench_memory_read_obj`.
#[no_mangle]
pub unsafe extern "C" fn vm_bench_memory_store(
    memory: *const Memory,
    addresses: *const u64,
    count: usize,
    first: u64,
) -> u64 {
    walk_any(&*memory, slice::from_raw_parts(addresses, count), &mut Store(first))
}

/// # Safety
/// As `vm_bench_memory_read_obj`; `host` points to `bytes` bytes.
#[no_mangle]
pub unsafe extern "C" fn vm_bench_memory_read_block(
    memory: *const Memory,
    addresses: *const u64,
    count: usize,
    host: *mut u8,
    bytes: usize,
) -> u64 {
    let host = slice::from_raw_parts_mut(host, bytes);
    walk_any(&*memory, slice::from_raw_parts(addresses, count), &mut ReadSlice(host))
}

/// # Safety
/// As `vm_bench_memory_read_block`.
#[no_mangle]
pub unsafe extern "C" fn vm_bench_memory_write_block(
    memory: *const Memory,
    addresses: *const u64,
    count: usize,
    host: *const u8,
    bytes: usize,
) -> u64 {
    let host = slice::from_raw_parts(host, bytes);
    walk_any(&*memory, slice::from_raw_parts(addresses, count), &mut WriteSlice(host))
}

/// # Safety
/// `memory` is alive, `segments` points to `count` of them, `host` to `bytes` bytes.
#[no_mangle]
pub unsafe extern "C" fn vm_bench_memory_read_lists(
    memory: *const Memory,
    segments: *const Range,
    count: usize,
    list_length: usize,
    host: *mut u8,
    bytes: usize,
) -> u64 {
    let segments = slice::from_raw_parts(segments, count);
    let mut access = ReadList(slice::from_raw_parts_mut(host, bytes));
    walk_any_lists(&*memory, segments, list_length, &mut access)
}

/// # Safety
/// As `vm_bench_memory_read_lists`.
#[no_mangle]
pub unsafe extern "C" fn vm_bench_memory_write_lists(
    memory: *const Memory,
    segments: *const Range,
    count: usize,
    list_length: usize,
    host: *const u8,
    bytes: usize,
) -> u64 {
    let segments = slice::from_raw_parts(segments, count);
    let mut access = WriteList(slice::from_raw_parts(host, bytes));
    walk_any_lists(&*memory, segments, list_length, &mut access)
}

/// A bitmap by itself, for pages of 4096 bytes.
#[no_mangle]
pub extern "C" fn vm_bench_bitmap_create(pages: usize) -> *mut AtomicBitmap {
    Box::into_raw(Box::new(AtomicBitmap::new(pages * 4096, 4096)))
}

/// # Safety
/// `bitmap` came from `vm_bench_bitmap_create` and is used no more.
#[no_mangle]
pub unsafe extern "C" fn vm_bench_bitmap_destroy(bitmap: *mut AtomicBitmap) {
    drop(Box::from_raw(bitmap));
}

/// Marks `bytes` bytes at each offset.
///
/// # Safety
/// `bitmap` is alive, `offsets` points to `count` of them.
#[no_mangle]
pub unsafe extern "C" fn vm_bench_bitmap_mark(
    bitmap: *const AtomicBitmap,
    offsets: *const u64,
    count: usize,
    bytes: usize,
) {
    for &offset in slice::from_raw_parts(offsets, count) {
        (*bitmap).mark_dirty(offset as usize, bytes);
    }
}

/// Takes the marks and walks them into runs of dirty pages, as a migration does.
/// Returns the number of runs; `pages` receives that of pages.
///
/// # Safety
/// `bitmap` is alive, `pages` points to one.
#[no_mangle]
pub unsafe extern "C" fn vm_bench_bitmap_harvest(
    bitmap: *const AtomicBitmap,
    pages: *mut u64,
) -> u64 {
    let mut runs: Vec<(u64, u64)> = Vec::new();
    for (index, &word) in (*bitmap).get_and_reset().iter().enumerate() {
        append_runs(&mut runs, index as u64 * 64, word);
    }
    *pages = runs.iter().map(|run| run.1).sum();
    runs.len() as u64
}

/// Appends the runs of ones in `word`, whose lowest bit is page `first`.
fn append_runs(runs: &mut Vec<(u64, u64)>, first: u64, mut word: u64) {
    let mut shifted = 0;
    while word != 0 {
        let zeros = word.trailing_zeros();
        word >>= zeros;
        shifted += zeros;
        let ones = word.trailing_ones();
        let begin = first + u64::from(shifted);
        match runs.last_mut() {
            Some(last) if last.0 + last.1 == begin => last.1 += u64::from(ones),
            _ => runs.push((begin, u64::from(ones))),
        }
        word = word.checked_shr(ones).unwrap_or(0);
        shifted += ones;
    }
}

/// Takes the marks and looks at every page, as cloud-hypervisor does to make the table that
/// a migration sends (`MemoryRangeTable::from_bitmap`). Returns and receives the same.
///
/// # Safety
/// As `vm_bench_bitmap_harvest`.
#[no_mangle]
pub unsafe extern "C" fn vm_bench_bitmap_harvest_by_page(
    bitmap: *const AtomicBitmap,
    pages: *mut u64,
) -> u64 {
    let mut runs: Vec<(u64, u64)> = Vec::new();
    let mut run: Option<(u64, u64)> = None;
    for (index, &word) in (*bitmap).get_and_reset().iter().enumerate() {
        for bit in 0..64 {
            let dirty = (word >> bit) & 1 != 0;
            if dirty {
                if let Some(run) = &mut run {
                    run.1 += 1;
                } else {
                    run = Some((index as u64 * 64 + bit, 1));
                }
            } else if let Some(run) = run.take() {
                runs.push(run);
            }
        }
    }
    runs.extend(run);
    *pages = runs.iter().map(|run| run.1).sum();
    runs.len() as u64
}
