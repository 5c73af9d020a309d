/* SPDX-License-Identifier: MIT */
/* An intrusive, circular, doubly linked list. A zeroed link is "in no list". */
#ifndef MVM_LIST_H
#define MVM_LIST_H

#include <stdbool.h>
#include <stddef.h>

typedef struct mvm__link {
    struct mvm__link *prev, *next;
} mvm__link;

typedef mvm__link mvm__list; /* the head; must be initialised */

static inline void mvm__list_init(mvm__list *list)
{
    list->prev = list->next = list;
}

static inline bool mvm__list_empty(const mvm__list *list)
{
    return list->next == list;
}

static inline bool mvm__linked(const mvm__link *link)
{
    return link->next != NULL;
}

static inline void mvm__list_append(mvm__list *list, mvm__link *link)
{
    link->prev = list->prev;
    link->next = list;
    list->prev->next = link;
    list->prev = link;
}

/* No-op for a link that is in no list. */
static inline void mvm__list_remove(mvm__link *link)
{
    if (!link->next)
        return;
    link->prev->next = link->next;
    link->next->prev = link->prev;
    link->prev = link->next = NULL;
}

/* Takes the first link out; NULL when empty. */
static inline mvm__link *mvm__list_shift(mvm__list *list)
{
    mvm__link *first = list->next;

    if (first == list)
        return NULL;
    mvm__list_remove(first);
    return first;
}

/* Moves all of `from` into the empty `to`, keeping the order. */
static inline void mvm__list_move(mvm__list *to, mvm__list *from)
{
    mvm__list_init(to);
    for (mvm__link *l; (l = mvm__list_shift(from)) != NULL;)
        mvm__list_append(to, l);
}

/* `it` may be removed in the body; its successor may not. */
#define mvm__list_each(it, list)                                                                   \
    for (mvm__link *it = (list)->next, *it##_next = it->next; it != (list);                        \
         it = it##_next, it##_next = it->next)

#endif
