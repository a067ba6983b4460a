/* Watches which bytes of the arena a step may touch, on the host. */
#ifndef MEMPLAN_GUARD_HOST_H
#define MEMPLAN_GUARD_HOST_H

#include "memplan.h"

/* Before a step: under the address sanitizer, only the bytes that it reads and writes can be
 * reached. */
void guard_before(const struct memplan_step *step);
/* After it: everything can be reached again, and bytes that nobody needs any more are overwritten:
 * NaN in floats, -1 in integers. */
void guard_after(const struct memplan_step *step);

#endif
