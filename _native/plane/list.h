#ifndef PLANE_LIST_H
#define PLANE_LIST_H

/*
 * Doubly linked lists of structures that contain their links.
 *
 * A list is a link of its own that closes the ring; the first member is .next.
 */

#include <stddef.h>

struct link {
	struct link *next;
	struct link *previous;
};

/* The structure of this type whose member `pointer` points to. */
#define OWNER_OF(pointer, type, member) \
	((type *)(void *)((char *)(pointer) - offsetof(type, member)))

/* Make an empty list. */
static inline void
list_init(struct link *list)
{
	list->next = list->previous = list;
}

/* 1 if the list has no members, else 0. */
static inline int
list_is_empty(const struct link *list)
{
	return list->next == list;
}

/* Put a link, which is in no list, at the end. */
static inline void
list_append(struct link *list, struct link *link)
{
	link->next = list;
	link->previous = list->previous;
	list->previous->next = link;
	list->previous = link;
}

/* Take a link out of the list that it is in. */
static inline void
list_remove(struct link *link)
{
	link->previous->next = link->next;
	link->next->previous = link->previous;
}

#endif
