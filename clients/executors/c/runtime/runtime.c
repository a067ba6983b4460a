/* Runs a plan: the same on a host and on a device. */
#include "memplan.h"

uint8_t *memplan_arena;
uint32_t memplan_trip;
uint32_t memplan_seed;
void (*memplan_read_row)(uint32_t stream, uint32_t sample, uint32_t row, uint8_t *bytes);

void memplan_load(void) {
    for (uint32_t index = 0; index < memplan_parameter_count; ++index) {
        const struct memplan_tensor *tensor = &memplan_parameters[index];
        const uint8_t *from = tensor->initial;
        uint8_t *to = memplan_arena + tensor->range.offset;
        for (uint32_t byte = 0; byte < tensor->range.size; ++byte) {
            to[byte] = from != NULL ? from[byte] : 0;
        }
    }
}

static void run_section(const struct memplan_section *section, memplan_hook before,
                        memplan_hook after) {
    for (uint32_t index = 0; index < section->count; ++index) {
        const struct memplan_step *step = &section->steps[index];
        if (before != NULL) {
            before(step);
        }
        step->run();
        if (after != NULL) {
            after(step);
        }
    }
}

void memplan_run(memplan_hook before, memplan_hook after) {
    memplan_trip = 0;
    run_section(&memplan_prologue, before, after);
    for (uint32_t trip = 0; trip < memplan_trips; ++trip) {
        memplan_trip = trip;
        run_section(&memplan_body, before, after);
    }
    run_section(&memplan_epilogue, before, after);
    memplan_trip = 0;
    memplan_seed += 1;
}
