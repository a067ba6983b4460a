/* Runs training steps on a board, with the host's files as its samples and its results.
 *
 * samples.bin   words (32 bits, little endian): number of batches, number of inputs, and for each
 *               input its bytes per batch; then the inputs of all batches in the order in which
 *               they are needed: at the start of each trip those that are read trip by trip, and
 *               at the start of the first trip also those that hold the whole batch; behind them
 *               the trip's samples of inputs that are asked for row by row, which count as inputs.
 * results.bin   after each trip the outputs, and after the last batch the parameters and their
 *               state, as they lie in the arena.
 */
#include "device.h"
#include "plan.h"
#include "semihosting.h"

static uint8_t arena[MEMPLAN_ARENA_BYTES] __attribute__((section(".arena"), aligned(32)));
static int32_t samples, results;
/* Where the inputs of the next trip begin in samples.bin. */
static uint32_t samples_position;
/* Bit of each input whose buffer is smaller than a batch: it is read at the start of each trip. */
static uint32_t by_trip;

void memplan_mark_begin(void);
void memplan_mark_end(void);
void memplan_mark_pause(void);
void memplan_mark_resume(void);
int main(void);

/* A trace on the host counts the instructions between the first two, without those between the
 * others. */
__attribute__((noipa)) void memplan_mark_begin(void) { __asm__ volatile("nop"); }
__attribute__((noipa)) void memplan_mark_end(void) { __asm__ volatile("nop\n nop"); }
__attribute__((noipa)) void memplan_mark_pause(void) { __asm__ volatile("nop\n nop\n nop"); }
__attribute__((noipa)) void memplan_mark_resume(void) { __asm__ volatile("nop\n nop\n nop\n nop"); }

static int is_in_arena(const struct memplan_range *range) {
    return range->size <= memplan_arena_bytes &&
           range->offset <= memplan_arena_bytes - range->size;
}

/* The MPU does not stop the host reliably: every range that it is given is checked here.  Nor does
 * it say so where the MPU does stop it, so the whole budget is open when it reads and writes. */
static void *place_of(const struct memplan_range *range) {
    if (!is_in_arena(range)) device_stop("a tensor lies outside the arena");
    return memplan_arena + range->offset;
}

/* What a step declares is what strict mode opens for it: nothing but the arena. */
static void check_section(const struct memplan_section *section) {
    for (uint32_t index = 0; index < section->count; index++) {
        device_step = &section->steps[index];
        for (uint32_t read = 0; read < device_step->read_count; read++)
            if (!is_in_arena(&device_step->reads[read]))
                device_stop("an operand lies outside the arena");
        for (uint32_t write = 0; write < device_step->write_count; write++)
            if (!is_in_arena(&device_step->writes[write]))
                device_stop("a result lies outside the arena");
    }
    device_step = NULL;
}

static void write_tensors(const struct memplan_tensor *tensors, uint32_t count) {
    for (uint32_t index = 0; index < count; index++) {
        const struct memplan_range *range = &tensors[index].range;
        if (host_write(results, place_of(range), range->size) != 0)
            device_stop("results.bin cannot be written");
    }
}

static void read_sample_bytes(uint32_t position, void *bytes, uint32_t size) {
    if (host_seek(samples, position) != 0 || host_read(samples, bytes, size) != 0)
        device_stop("samples.bin ends too early");
}

static uint32_t header_word(uint32_t number) {
    uint32_t word = 0;
    read_sample_bytes(4u * number, &word, sizeof word);
    return word;
}

/* Of all samples of a trip; the header has those of a batch. */
static uint32_t stream_trip_bytes(uint32_t stream) {
    return header_word(2u + memplan_input_count + stream) / memplan_trips;
}

static uint32_t read_header(void) {
    if (memplan_input_count > 32) device_stop("a plan for a board has at most 32 inputs");
    if (header_word(1) != memplan_input_count + memplan_stream_count)
        device_stop("samples.bin has other inputs");
    for (uint32_t index = 0; index < memplan_input_count; index++) {
        const uint32_t size = memplan_inputs[index].range.size;
        const uint32_t batch_bytes = header_word(2u + index);
        if (batch_bytes == size) continue;
        if (batch_bytes != size * memplan_trips)
            device_stop("samples.bin has inputs of another size");
        by_trip |= 1u << index;
    }
    samples_position = 4u * (2u + memplan_input_count + memplan_stream_count);
    return header_word(0);
}

static void read_inputs(void) {
    for (uint32_t index = 0; index < memplan_input_count; index++) {
        const struct memplan_range *range = &memplan_inputs[index].range;
        if (memplan_trip != 0 && !(by_trip >> index & 1u)) continue;
        read_sample_bytes(samples_position, place_of(range), range->size);
        samples_position += range->size;
    }
    for (uint32_t stream = 0; stream < memplan_stream_count; stream++)
        samples_position += stream_trip_bytes(stream);
}

/* Whether the step that runs declares that it writes these bytes. */
static int may_write(const uint8_t *bytes, uint32_t size) {
    const uint32_t offset = address_of(bytes) - address_of(memplan_arena);
    for (uint32_t index = 0; index < device_step->write_count; index++) {
        const struct memplan_range *range = &device_step->writes[index];
        if (offset >= range->offset && size <= range->size &&
            offset - range->offset <= range->size - size)
            return 1;
    }
    return 0;
}

/* A row of a streamed input, in the middle of a step: into bytes that the step declares.  All of the
 * budget is open for it: what strict mode opens may be less than the emulator wants to see open, and
 * it would leave the row out.  The trip's samples end where those of the next trip begin. */
static void read_row(uint32_t stream, uint32_t sample, uint32_t row, uint8_t *bytes) {
    memplan_mark_pause();
    const struct memplan_stream *of = &memplan_streams[stream];
    const uint32_t channel_bytes = of->height * of->row_bytes;
    uint32_t position = samples_position;
    for (uint32_t last = memplan_stream_count; last > stream; last--)
        position -= stream_trip_bytes(last - 1u);
    position += sample * of->channels * channel_bytes + row * of->row_bytes;
    if (!may_write(bytes, of->channels * of->row_bytes))
        device_stop("a row of the input is asked for at bytes that the step does not write");
    mpu_bound_memory();
    for (uint32_t channel = 0; channel < of->channels; channel++)
        read_sample_bytes(position + channel * channel_bytes, bytes + channel * of->row_bytes,
                          of->row_bytes);
    mpu_open_step(device_step);
    memplan_mark_resume();
}

static void before_step(const struct memplan_step *step) {
    if (step == memplan_body.steps) {
        mpu_bound_memory();
        read_inputs();
    }
    device_step = step;
    mpu_open_step(step);
    memplan_mark_begin();
}

static void after_step(const struct memplan_step *step) {
    memplan_mark_end();
    if (step == memplan_body.steps + memplan_body.count - 1) {
        mpu_bound_memory();
        write_tensors(memplan_outputs, memplan_output_count);
    }
    device_step = NULL;
}

static uint32_t stack_high_water_bytes(void) {
    const uint32_t *word = __stack_limit;
    while (word < __stack_top && *word == STACK_PAINT) word++;
    return address_of(__stack_top) - address_of(word);
}

static void report(const char *key, uint32_t value) {
    host_print("memplan-report ");
    host_print(key);
    host_print("=");
    host_print_number(value);
    host_print("\n");
}

int main(void) {
    mpu_bound_memory();
    if (memplan_arena_bytes > sizeof arena) device_stop("plan.h and plan.c are of two plans");
    memplan_arena = arena;
    memplan_read_row = read_row;
    check_section(&memplan_prologue);
    check_section(&memplan_body);
    check_section(&memplan_epilogue);
    samples = host_open("samples.bin", HOST_READ);
    results = host_open("results.bin", HOST_WRITE);
    if (samples < 0) device_stop("samples.bin cannot be read");
    if (results < 0) device_stop("results.bin cannot be written");
    const uint32_t batches = read_header();
    memplan_load();
    for (uint32_t batch = 0; batch < batches; batch++) memplan_run(before_step, after_step);
    mpu_bound_memory();
    write_tensors(memplan_parameters, memplan_parameter_count);
    host_close(results);
    report("stack_high_water_bytes", stack_high_water_bytes());
    report("mpu_most_ranges", mpu_most_ranges);
    report("mpu_merges", mpu_merges);
    return 0;
}
