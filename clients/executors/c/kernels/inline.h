/* Small functions that belong into the loops that call them. */
#ifndef MEMPLAN_INLINE_H
#define MEMPLAN_INLINE_H

#define MEMPLAN_INLINE static inline __attribute__((always_inline))

#endif
