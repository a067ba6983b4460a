/* Runs training steps on a board, with the host's files as its samples and its results.
 *
 * samples.bin   words (32 bits, little endian): number of batches, number of inputs, and for each
 *               input its bytes per batch; then the inputs of all batches in the order in which
 *               they are needed: at the start of each trip those that are streamed, and at the
 *               start of the first trip also those that hold the whole batch.
 * results.bin   after each trip the outputs, and after the last batch the parameters and their
 *               state, as they lie in the arena.
 */
#include "device.h"
#include "plan.h"
#include "semihosting.h"

static uint8_t arena[MEMPLAN_ARENA_BYTES] __attribute__((section(".arena"), aligned(32)));
static int32_t samples, results;
/* Bit of each input whose buffer is smaller than a batch: it is read at the start of each trip. */
static uint32_t streamed;

void memplan_mark_begin(void);
void memplan_mark_end(void);
int main(void);

/* A trace on the host counts the instructions between these two. */
__attribute__((noipa)) void memplan_mark_begin(void) { __asm__ volatile("nop"); }
__attribute__((noipa)) void memplan_mark_end(void) { __asm__ volatile("nop\n nop"); }

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

static void read_tensor(const struct memplan_tensor *tensor) {
    if (host_read(samples, place_of(&tensor->range), tensor->range.size) != 0)
        device_stop("samples.bin ends too early");
}

static uint32_t read_word(void) {
    uint32_t word = 0;
    if (host_read(samples, &word, sizeof word) != 0) device_stop("samples.bin ends too early");
    return word;
}

static uint32_t read_header(void) {
    const uint32_t batches = read_word();
    if (memplan_input_count > 32) device_stop("a plan for a board has at most 32 inputs");
    if (read_word() != memplan_input_count) device_stop("samples.bin has other inputs");
    for (uint32_t index = 0; index < memplan_input_count; index++) {
        const uint32_t size = memplan_inputs[index].range.size, batch_bytes = read_word();
        if (batch_bytes == size) continue;
        if (batch_bytes != size * memplan_trips)
            device_stop("samples.bin has inputs of another size");
        streamed |= 1u << index;
    }
    return batches;
}

static void read_inputs(void) {
    for (uint32_t index = 0; index < memplan_input_count; index++)
        if (memplan_trip == 0 || (streamed >> index & 1u)) read_tensor(&memplan_inputs[index]);
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
