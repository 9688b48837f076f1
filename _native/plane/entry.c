/*
 * The table of connections: taking entries and giving them back.
 */
#include "entry.h"

#include <string.h>

_Static_assert(sizeof(struct plane_entry) == 128, "two cache lines");
_Static_assert(offsetof(struct plane_entry, sealed) == 64, "the second has what changes");

struct plane_entry *
entries_take(struct entries *entries)
{
	struct plane_entry *entry;

	if (entries->freed != 0) {
		entry = &entries->entry[entries->freed - 1];
		entries->freed = (size_t)entry->began_ms;
	} else if (entries->fresh < entries->count)
		entry = &entries->entry[entries->fresh++];
	else
		return NULL;
	memset(entry, 0, sizeof(*entry));
	return entry;
}

void
entries_give_back(struct entries *entries, struct plane_entry *entry)
{
	__atomic_store_n(&entry->number, 0, __ATOMIC_RELEASE);
	entry->began_ms = entries->freed;
	entries->freed = (size_t)(entry - entries->entry) + 1;
}

