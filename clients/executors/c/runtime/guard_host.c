#include "guard_host.h"

#include <stdio.h>
#include <stdlib.h>

#if defined(__SANITIZE_ADDRESS__)
#include <sanitizer/asan_interface.h>
#define CLOSE(start, size) __asan_poison_memory_region(start, size)
#define OPEN(start, size) __asan_unpoison_memory_region(start, size)
#else
#define CLOSE(start, size) ((void)(start), (void)(size))
#define OPEN(start, size) ((void)(start), (void)(size))
#endif

static void open_all(const struct memplan_range *ranges, uint32_t count) {
    for (uint32_t index = 0; index < count; ++index) {
        if (ranges[index].size > memplan_arena_bytes ||
            ranges[index].offset > memplan_arena_bytes - ranges[index].size) {
            fprintf(stderr, "plan_host: ERROR: a step's operand lies outside the arena\n");
            exit(1);
        }
        OPEN(memplan_arena + ranges[index].offset, ranges[index].size);
    }
}

void guard_before(const struct memplan_step *step) {
    CLOSE(memplan_arena, memplan_arena_bytes);
    open_all(step->reads, step->read_count);
    open_all(step->writes, step->write_count);
}

void guard_after(const struct memplan_step *step) {
    OPEN(memplan_arena, memplan_arena_bytes);
    /* What dies with the last step of a section may be an output, which is read behind it. */
    if (step == memplan_body.steps + memplan_body.count - 1) {
        return;
    }
    for (uint32_t index = 0; index < step->die_count; ++index) {
        uint8_t *start = memplan_arena + step->dies[index].offset;
        for (uint32_t byte = 0; byte < step->dies[index].size; ++byte) {
            start[byte] = 0xFF;
        }
    }
}
