/*
 * Who is told of accesses to memory: the compiler calls these functions for each.
 *
 * A line that is touched several times in a turn counts once.
 */
#include "touched.h"

#include <stdio.h>
#include <string.h>

#define LINE 64				/* bytes */
#define LINES_MAX 8192

static const char *watched;
static size_t watched_size;
static const char *watched_used;
static size_t slot_bytes, own_slot;
static int is_watching;

enum { READ = 1, WRITTEN = 2 };
static unsigned char lines[LINES_MAX], line_of_used;
static unsigned long own_read, own_written, others_read, others_written, used_read, used_written;

void
touched_watch(const void *slots, size_t size, size_t stride, size_t own, const uint64_t *used)
{
	watched = slots;
	watched_size = size;
	slot_bytes = stride;
	own_slot = own;
	watched_used = (const char *)used;
}

void
touched_begin(void)
{
	memset(lines, 0, sizeof(lines));
	line_of_used = 0;
	is_watching = 1;
}

void
touched_end(void)
{
	is_watching = 0;
	for (size_t i = 0; i < watched_size / LINE; i++) {
		int is_own = i * LINE / slot_bytes == own_slot;

		*(is_own ? &own_read : &others_read) += (lines[i] & READ) != 0;
		*(is_own ? &own_written : &others_written) += (lines[i] & WRITTEN) != 0;
	}
	used_read += (line_of_used & READ) != 0;
	used_written += (line_of_used & WRITTEN) != 0;
}

void
touched_print(void)
{
	printf("{\"own read\": %lu, \"own written\": %lu, \"others read\": %lu, "
	    "\"others written\": %lu, \"used read\": %lu, \"used written\": %lu}",
	    own_read, own_written, others_read, others_written, used_read, used_written);
}

static void
touch(const volatile void *address, size_t size, unsigned char how)
{
	const char *first = (const char *)(uintptr_t)address;

	if (!is_watching || size == 0)
		return;
	if (first == watched_used)
		line_of_used |= how;
	if (first + size <= watched || first >= watched + watched_size)
		return;
	for (size_t line = (size_t)(first - watched) / LINE;
	    line <= (size_t)(first + size - 1 - watched) / LINE; line++)
		lines[line] |= how;
}

#define ACCESS(name, size, how) \
	void __tsan_##name(void *address); \
	void __tsan_##name(void *address) { touch(address, size, how); }
#define ACCESSES(size) \
	ACCESS(read##size, size, READ) \
	ACCESS(write##size, size, WRITTEN) \
	ACCESS(unaligned_read##size, size, READ) \
	ACCESS(unaligned_write##size, size, WRITTEN) \
	ACCESS(read_write##size, size, READ | WRITTEN) \
	ACCESS(unaligned_read_write##size, size, READ | WRITTEN) \
	ACCESS(volatile_read##size, size, READ) \
	ACCESS(volatile_write##size, size, WRITTEN)

ACCESSES(1)
ACCESSES(2)
ACCESSES(4)
ACCESSES(8)
ACCESSES(16)

void __tsan_read_range(void *address, unsigned long size);
void
__tsan_read_range(void *address, unsigned long size)
{
	touch(address, size, READ);
}

void __tsan_write_range(void *address, unsigned long size);
void
__tsan_write_range(void *address, unsigned long size)
{
	touch(address, size, WRITTEN);
}

/* The atomic ones do what they are for as well.  Only those of 64 bits are used. */

uint64_t __tsan_atomic64_load(const volatile uint64_t *address, int order);
uint64_t
__tsan_atomic64_load(const volatile uint64_t *address, int order)
{
	(void)order;
	touch(address, sizeof(*address), READ);
	return __atomic_load_n(address, __ATOMIC_SEQ_CST);
}

void __tsan_atomic64_store(volatile uint64_t *address, uint64_t value, int order);
void
__tsan_atomic64_store(volatile uint64_t *address, uint64_t value, int order)
{
	(void)order;
	touch(address, sizeof(*address), WRITTEN);
	__atomic_store_n(address, value, __ATOMIC_SEQ_CST);
}

uint64_t __tsan_atomic64_fetch_add(volatile uint64_t *address, uint64_t value, int order);
uint64_t
__tsan_atomic64_fetch_add(volatile uint64_t *address, uint64_t value, int order)
{
	(void)order;
	touch(address, sizeof(*address), READ | WRITTEN);
	return __atomic_fetch_add(address, value, __ATOMIC_SEQ_CST);
}

/* Told of more than memory. */

void __tsan_init(void);
void
__tsan_init(void)
{
}

void __tsan_func_entry(void *caller);
void
__tsan_func_entry(void *caller)
{
	(void)caller;
}

void __tsan_func_exit(void *caller);
void
__tsan_func_exit(void *caller)
{
	(void)caller;
}

/* What copies memory is the library's, so it is asked for. */

void *__tsan_memcpy(void *to, const void *from, size_t size);
void *
__tsan_memcpy(void *to, const void *from, size_t size)
{
	touch(from, size, READ);
	touch(to, size, WRITTEN);
	return memcpy(to, from, size);
}

void *__tsan_memset(void *to, int value, size_t size);
void *
__tsan_memset(void *to, int value, size_t size)
{
	touch(to, size, WRITTEN);
	return memset(to, value, size);
}

void *__tsan_memmove(void *to, const void *from, size_t size);
void *
__tsan_memmove(void *to, const void *from, size_t size)
{
	touch(from, size, READ);
	touch(to, size, WRITTEN);
	return memmove(to, from, size);
}
