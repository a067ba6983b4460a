/* What a generated plan offers, and what runs it.
 *
 * plan.c holds the steps of the plan; a main (host or device) gives it an arena and data, and runs
 * it.  Nothing here allocates, and nothing here needs a library beside the compiler's own.
 */
#ifndef MEMPLAN_H
#define MEMPLAN_H

#include <stddef.h>
#include <stdint.h>

/* Bytes [offset, offset + size) of the arena. */
struct memplan_range {
    uint32_t offset;
    uint32_t size;
};

/* One execution of one operation. */
struct memplan_step {
    void (*run)(void);
    const char *operation;
    /* Every range of the arena that it reads, and every one that it writes (results, tensors that
     * it updates in place, workspace).  An operand that is worked on in place stands in both. */
    const struct memplan_range *reads;
    const struct memplan_range *writes;
    uint16_t read_count;
    uint16_t write_count;
    /* Ranges whose last step this is: nobody needs their bytes any more. */
    const struct memplan_range *dies;
    uint16_t die_count;
};

struct memplan_section {
    const struct memplan_step *steps;
    uint32_t count;
};

/* A tensor of the arena that the outside reads or writes by name: inputs, labels, the loss,
 * outputs, updated parameters and their optimizer state. */
struct memplan_tensor {
    const char *name;
    struct memplan_range range;
    /* What its bytes start as; NULL: zeros (or, for inputs, what the host writes). */
    const void *initial;
};

/* An input of which a step asks for single rows while it runs; the arena never holds all of it. */
struct memplan_stream {
    const char *name;
    /* Of one sample: [channels][height] rows of `row_bytes` bytes. */
    uint32_t channels, height, row_bytes;
};

/* The plan.  Prologue once, body `memplan_trips` times with the same addresses, epilogue once. */
extern const struct memplan_section memplan_prologue, memplan_body, memplan_epilogue;
extern const uint32_t memplan_trips;
extern const uint32_t memplan_arena_bytes;
extern const struct memplan_tensor memplan_parameters[], memplan_inputs[], memplan_outputs[];
extern const uint32_t memplan_parameter_count, memplan_input_count, memplan_output_count;
extern const struct memplan_stream memplan_streams[];
extern const uint32_t memplan_stream_count;

/* The arena.  A variable and not an array, so that address sanitizers see every access. */
extern uint8_t *memplan_arena;
/* Which trip of the body runs, from 0: a resident batch is read from there. */
extern uint32_t memplan_trip;
/* Of dropout; 0 at first, and one more after each batch. */
extern uint32_t memplan_seed;

/* Set by the main where there are streams: put row `row` of a sample of this trip of stream number
 * `stream` at `bytes`, all channels, one after the other.  A step asks for the rows that it needs in
 * ascending order, sample by sample. */
extern void (*memplan_read_row)(uint32_t stream, uint32_t sample, uint32_t row, uint8_t *bytes);

/* Called before and after each step by memplan_run; a guard maps or poisons memory there. */
typedef void (*memplan_hook)(const struct memplan_step *step);

/* Copy initial values of parameters and optimizer state into the arena. */
void memplan_load(void);
/* Run one batch: prologue, the trips of the body, epilogue.  Hooks may be NULL. */
void memplan_run(memplan_hook before, memplan_hook after);

#endif
