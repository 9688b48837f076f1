/*
 * Memory for secrets, in slabs: a slab is a few pages, cut into slots of one size.
 * Slabs with a free slot are in a list of that size; all slabs are in one list, for
 * what is done to all.
 */
#include "secret_memory.h"

#include <assert.h>
#include <errno.h>
#include <stdint.h>
#include <stdlib.h>
#include <sys/mman.h>
#ifdef __linux__
#include <sys/syscall.h>
#include <unistd.h>
#endif

#include "wipe.h"

/* Under AddressSanitizer: nothing but what has been allocated may be touched. */
#ifdef __SANITIZE_ADDRESS__
#include <sanitizer/asan_interface.h>
#define GUARD(p, length) ASAN_POISON_MEMORY_REGION(p, length)
#define UNGUARD(p, length) ASAN_UNPOISON_MEMORY_REGION(p, length)
#else
#define GUARD(p, length) ((void)0)
#define UNGUARD(p, length) ((void)0)
#endif

#define SLAB_BYTES 16384
#define SIZES_MAX 8			/* different sizes, when they are rounded up */
#define ALIGNMENT 16

struct slab;

/* In front of what the caller gets. */
struct slot {
	_Alignas(ALIGNMENT) struct slab *slab;
	struct slot *next_free;
};

struct slab {
	struct slab *next, *previous;		/* of all */
	struct slab *next_open, *previous_open;	/* of those of its size with a free slot */
	struct size *size;
	struct slot *free;
	unsigned used;
	unsigned cut;				/* slots that have been in use before */
};

struct size {
	size_t slot_bytes;			/* 0: this entry is unused */
	unsigned slots;				/* in a slab */
	struct slab *open;
};

static struct size sizes[SIZES_MAX];
static struct slab *slabs;
static int lock_error;

static size_t
round_up(size_t size)
{
	return (size + ALIGNMENT - 1) / ALIGNMENT * ALIGNMENT;
}

static struct slot *
slot_of(struct slab *slab, unsigned number)
{
	return (struct slot *)((uint8_t *)slab + round_up(sizeof(*slab)) +
	    number * slab->size->slot_bytes);
}

static struct size *
find_size(size_t size)
{
	size_t slot_bytes = sizeof(struct slot) + round_up(size);

	assert(slot_bytes <= SLAB_BYTES / 2);
	for (int i = 0; i < SIZES_MAX; i++) {
		if (sizes[i].slot_bytes == 0) {
			sizes[i].slot_bytes = slot_bytes;
			sizes[i].slots = (unsigned)((SLAB_BYTES - round_up(sizeof(struct slab))) / slot_bytes);
		}
		if (sizes[i].slot_bytes == slot_bytes)
			return &sizes[i];
	}
	abort();
}

static void
lock(struct slab *slab)
{
	int status = -1;

	errno = ENOSYS;
#ifdef SYS_mlock2			/* pages cost nothing before they are used */
	status = (int)syscall(SYS_mlock2, slab, SLAB_BYTES, 1 /* MLOCK_ONFAULT */);
#endif
	if (status != 0 && errno == ENOSYS)
		status = mlock(slab, SLAB_BYTES);
	if (status != 0 && lock_error == 0)
		lock_error = errno;
}

static void
open_slab(struct slab *slab)
{
	slab->previous_open = NULL;
	slab->next_open = slab->size->open;
	if (slab->next_open != NULL)
		slab->next_open->previous_open = slab;
	slab->size->open = slab;
}

static void
close_slab(struct slab *slab)
{
	if (slab->previous_open != NULL)
		slab->previous_open->next_open = slab->next_open;
	else
		slab->size->open = slab->next_open;
	if (slab->next_open != NULL)
		slab->next_open->previous_open = slab->previous_open;
}

static struct slab *
make_slab(struct size *size)
{
	struct slab *slab = mmap(NULL, SLAB_BYTES, PROT_READ | PROT_WRITE,
	    MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);

	if (slab == MAP_FAILED)
		return NULL;
#ifdef MADV_DONTDUMP
	madvise(slab, SLAB_BYTES, MADV_DONTDUMP);
#elif defined(MADV_NOCORE)
	madvise(slab, SLAB_BYTES, MADV_NOCORE);
#endif
	lock(slab);
	slab->size = size;
	GUARD(slot_of(slab, 0), SLAB_BYTES - round_up(sizeof(*slab)));
	slab->next = slabs;
	if (slabs != NULL)
		slabs->previous = slab;
	slabs = slab;
	open_slab(slab);
	return slab;
}

static void
drop_slab(struct slab *slab)
{
	close_slab(slab);
	if (slab->previous != NULL)
		slab->previous->next = slab->next;
	else
		slabs = slab->next;
	if (slab->next != NULL)
		slab->next->previous = slab->previous;
	UNGUARD(slab, SLAB_BYTES);
	munmap(slab, SLAB_BYTES);
}

void *
secret_alloc(size_t size)
{
	struct size *class = find_size(size);
	struct slab *slab = class->open != NULL ? class->open : make_slab(class);
	struct slot *slot;

	if (slab == NULL)
		return NULL;
	if (slab->free != NULL) {
		slot = slab->free;
		UNGUARD(slot, class->slot_bytes);
		slab->free = slot->next_free;
	} else {
		slot = slot_of(slab, slab->cut++);
		UNGUARD(slot, class->slot_bytes);
		slot->slab = slab;
	}
	GUARD(slot, sizeof(*slot));
	if (++slab->used == class->slots)
		close_slab(slab);
	return slot + 1;
}

void
secret_free(void *memory, size_t size)
{
	struct slot *slot;
	struct slab *slab;

	if (memory == NULL)
		return;
	wipe(memory, size);
	slot = (struct slot *)memory - 1;
	UNGUARD(slot, sizeof(*slot));
	slab = slot->slab;
	assert(slab->size == find_size(size));
	slot->next_free = slab->free;
	slab->free = slot;
	GUARD(slot, slab->size->slot_bytes);
	if (slab->used-- == slab->size->slots)
		open_slab(slab);
	/* One slab with room is kept, so that a connection that comes and goes costs no system calls. */
	if (slab->used == 0 && (slab->next_open != NULL || slab->previous_open != NULL))
		drop_slab(slab);
}

void
secret_lock_all(void)
{
	for (struct slab *slab = slabs; slab != NULL; slab = slab->next)
		lock(slab);
}

int
secret_lock_error(void)
{
	return lock_error;
}

void
secret_wipe_all(void)
{
	for (struct slab *slab = slabs; slab != NULL; slab = slab->next) {
		for (unsigned i = 0; i < slab->cut; i++) {
			struct slot *slot = slot_of(slab, i);

			UNGUARD(slot, slab->size->slot_bytes);
			wipe(slot + 1, slab->size->slot_bytes - sizeof(*slot));
		}
	}
}
