/* Runs a plan on the host:  plan_host SAMPLES RESULTS [PARAMETERS]
 *
 * SAMPLES       words (32 bits, little endian): number of batches, number of inputs, and for each
 *               input its bytes per batch; then the inputs of all batches in the order in which
 *               they are needed: at the start of each trip those that are read trip by trip, and
 *               at the start of the first trip also those that hold the whole batch; behind them,
 *               at the start of each trip, the trip's samples of inputs that are asked for row by
 *               row, which count as inputs and which no one else needs whole.
 * RESULTS       after each trip the outputs, and after the last batch the parameters and their
 *               state, as they lie in the arena.
 * PARAMETERS    the end of an earlier RESULTS: parameters and state to begin with.
 *
 * The same files as on a device (main_device.c).
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#ifdef MEMPLAN_UNSHARED
#include "plan_unshared.h"
#else
#include "plan.h"
#endif
#ifdef MEMPLAN_GUARD
#include "guard_host.h"
#endif

enum { MOST_INPUTS = 64 };

static uint8_t arena[MEMPLAN_ARENA_BYTES + 1] __attribute__((aligned(64)));
static FILE *samples, *results;
/* Whether an input's buffer is smaller than a batch: it is read at the start of each trip. */
static int by_trip[MOST_INPUTS];
/* Samples of this trip of inputs that are asked for row by row, and their bytes. */
static uint8_t *stream_samples[MOST_INPUTS];
static uint32_t stream_bytes[MOST_INPUTS];

static void stop(const char *problem) {
    fprintf(stderr, "plan_host: %s\n", problem);
    exit(1);
}

static FILE *opened(const char *path, const char *mode) {
    FILE *file = fopen(path, mode);
    if (file == NULL) {
        fprintf(stderr, "plan_host: %s: ", path);
        perror(NULL);
        exit(1);
    }
    return file;
}

static void read_bytes(FILE *file, uint8_t *bytes, uint32_t size) {
    if (fread(bytes, 1, size, file) != size) {
        stop("a file of samples or parameters ends too early");
    }
}

static void read_tensor(FILE *file, const struct memplan_tensor *tensor) {
    read_bytes(file, memplan_arena + tensor->range.offset, tensor->range.size);
}

static void write_tensors(const struct memplan_tensor *tensors, uint32_t count) {
    for (uint32_t index = 0; index < count; ++index) {
        const struct memplan_range *range = &tensors[index].range;
        if (fwrite(memplan_arena + range->offset, 1, range->size, results) != range->size) {
            stop("the results cannot be written");
        }
    }
}

static uint32_t read_word(void) {
    uint8_t bytes[4];
    if (fread(bytes, 1, sizeof bytes, samples) != sizeof bytes) {
        stop("the samples end too early");
    }
    return (uint32_t)bytes[0] | (uint32_t)bytes[1] << 8 | (uint32_t)bytes[2] << 16 |
           (uint32_t)bytes[3] << 24;
}

static uint32_t read_header(void) {
    const uint32_t batches = read_word(), inputs = read_word();
    if (inputs > MOST_INPUTS || inputs != memplan_input_count + memplan_stream_count) {
        stop("the samples are for another plan: they have another number of inputs");
    }
    for (uint32_t index = 0; index < memplan_input_count; ++index) {
        const uint32_t size = memplan_inputs[index].range.size, batch_bytes = read_word();
        by_trip[index] = batch_bytes != size;
        if (by_trip[index] && batch_bytes != size * memplan_trips) {
            stop("the samples are for another plan: their inputs have another size");
        }
    }
    for (uint32_t index = 0; index < memplan_stream_count; ++index) {
        stream_bytes[index] = read_word() / memplan_trips;
        stream_samples[index] = malloc(stream_bytes[index]);
        if (stream_samples[index] == NULL) {
            stop("there is no memory for the samples of a trip");
        }
    }
    return batches;
}

static void read_inputs(void) {
    for (uint32_t index = 0; index < memplan_input_count; ++index) {
        if (memplan_trip == 0 || by_trip[index]) {
            read_tensor(samples, &memplan_inputs[index]);
        }
    }
    for (uint32_t index = 0; index < memplan_stream_count; ++index) {
        read_bytes(samples, stream_samples[index], stream_bytes[index]);
    }
}

static void read_row(uint32_t stream, uint32_t sample, uint32_t row, uint8_t *bytes) {
    const struct memplan_stream *s = &memplan_streams[stream];
    const uint32_t sample_bytes = s->channels * s->height * s->row_bytes;
    if (row >= s->height || (sample + 1) * sample_bytes > stream_bytes[stream]) {
        stop("the samples are for another plan: their inputs have another size");
    }
    const uint8_t *image = stream_samples[stream] + sample * sample_bytes;
    for (uint32_t channel = 0; channel < s->channels; ++channel) {
        memcpy(bytes + channel * s->row_bytes, image + (channel * s->height + row) * s->row_bytes,
               s->row_bytes);
    }
}

static void before_step(const struct memplan_step *step) {
    if (step == memplan_body.steps) {
        read_inputs();
    }
#ifdef MEMPLAN_GUARD
    guard_before(step);
#endif
}

static double loss;

static void after_step(const struct memplan_step *step) {
#ifdef MEMPLAN_GUARD
    guard_after(step);
#endif
    if (step == memplan_body.steps + memplan_body.count - 1) {
        write_tensors(memplan_outputs, memplan_output_count);
#if MEMPLAN_TRAINS
        float part;
        memcpy(&part, memplan_arena + memplan_outputs[0].range.offset, sizeof part);
        loss += (double)part / memplan_trips;
#endif
    }
}

int main(int count, char **arguments) {
    if (count < 3 || count > 4) {
        stop("usage: plan_host SAMPLES RESULTS [PARAMETERS]");
    }
    memplan_arena = arena;
    memplan_read_row = read_row;
#ifdef MEMPLAN_GUARD
    memset(arena, 0xFF, memplan_arena_bytes);
#endif
    samples = opened(arguments[1], "rb");
    results = opened(arguments[2], "wb");
    const uint32_t batches = read_header();
    memplan_load();
    if (count == 4) {
        FILE *parameters = opened(arguments[3], "rb");
        for (uint32_t index = 0; index < memplan_parameter_count; ++index) {
            read_tensor(parameters, &memplan_parameters[index]);
        }
        fclose(parameters);
    }
    for (uint32_t batch = 0; batch < batches; ++batch) {
        loss = 0.0;
        memplan_run(before_step, after_step);
        if (MEMPLAN_TRAINS) {
            printf("batch %u: loss %.6f\n", (unsigned)batch, loss);
        }
    }
    write_tensors(memplan_parameters, memplan_parameter_count);
    for (uint32_t index = 0; index < memplan_stream_count; ++index) {
        free(stream_samples[index]);
    }
    if (fclose(results) != 0) {
        stop("the results cannot be written");
    }
    return 0;
}
