/* The plan of plan.h.  A test defines one of MUTANT_... to break it. */
#include "plan.h"

#include "memplan.h"

#define FLOATS(offset) ((float *)(void *)(memplan_arena + (offset)))

const uint32_t memplan_arena_bytes = MEMPLAN_ARENA_BYTES;
const uint32_t memplan_trips = TRIPS;

static const float first_w[1] = {0.5f}, first_b[1] = {-0.25f};

static void clear_sums(void) {
    *FLOATS(W_SUM_OFFSET) = 0.0f;
    *FLOATS(B_SUM_OFFSET) = 0.0f;
}

#ifdef MUTANT_STACK
/* 4 KiB of stack, far more than there is. */
static float deep(const float *values) {
    volatile float copies[1024];
    for (int index = 0; index < 1024; index++) copies[index] = values[index % SAMPLES];
    return copies[17];
}
#endif

#ifdef STREAMED
/* x does not lie in the arena when the trip begins: three rows of two channels are asked for. */
static void read_rows(void) {
    for (uint32_t row = 0; row < 3; row++) {
        const float *rows = FLOATS(ROWS_OFFSET);
#ifdef MUTANT_STREAM
        memplan_read_row(0, 0, row, memplan_arena + ROWS_OFFSET + 16);
#else
        memplan_read_row(0, 0, row, memplan_arena + ROWS_OFFSET);
#endif
        for (uint32_t channel = 0; channel < 2; channel++)
            for (uint32_t column = 0; column < 4; column++)
                FLOATS(X_OFFSET)[channel * 12 + row * 4 + column] = rows[channel * 4 + column];
    }
}
#endif

static void forward(void) {
    const float *x = FLOATS(X_OFFSET);
    float *y = FLOATS(Y_OFFSET);
    const float w = *FLOATS(W_OFFSET), b = *FLOATS(B_OFFSET);
    for (int index = 0; index < SAMPLES; index++) y[index] = w * x[index] + b;
#ifdef MUTANT_STACK
    y[0] += deep(x);
#endif
#ifdef MUTANT_UNDECLARED
    y[0] += FLOATS(T_OFFSET)[3];
#endif
#ifdef MUTANT_READ_ONLY
    FLOATS(X_OFFSET)[5] = 0.0f;
#endif
#ifdef MUTANT_BEYOND
    *(volatile float *)(memplan_arena + MUTANT_BEYOND) = 1.0f;
#endif
}

/* In place: y becomes the gradient of the loss. */
static void loss(void) {
    const float *t = FLOATS(T_OFFSET) + memplan_trip * SAMPLES;
    float *y = FLOATS(Y_OFFSET);
    float sum = 0.0f;
    for (int index = 0; index < SAMPLES; index++) {
        const float difference = y[index] - t[index];
        sum += difference * difference;
        y[index] = 2.0f / (SAMPLES * TRIPS) * difference;
    }
    *FLOATS(LOSS_OFFSET) = sum / SAMPLES;
}

static void backward(void) {
    const float *x = FLOATS(X_OFFSET), *gradient = FLOATS(Y_OFFSET);
    for (int index = 0; index < SAMPLES; index++) {
        *FLOATS(W_SUM_OFFSET) += gradient[index] * x[index];
        *FLOATS(B_SUM_OFFSET) += gradient[index];
    }
}

static void update(void) {
    *FLOATS(W_OFFSET) -= 0.1f * *FLOATS(W_SUM_OFFSET);
    *FLOATS(B_OFFSET) -= 0.1f * *FLOATS(B_SUM_OFFSET);
}

static const struct memplan_range x = {X_OFFSET, 4 * SAMPLES}, y = {Y_OFFSET, 4 * SAMPLES},
                                  sums = {W_SUM_OFFSET, 8}, loss_value = {LOSS_OFFSET, 4};
static const struct memplan_range forward_reads[] = {
    {X_OFFSET, 4 * SAMPLES}, {W_OFFSET, 4},  {B_OFFSET, 4},
#ifdef MUTANT_MANY
    /* More than there are regions; the nearest two have 32 bytes between them. */
    {1024, 4},  {1088, 32}, {1184, 32}, {1280, 32}, {1376, 32}, {1472, 32},
    {1568, 32}, {1664, 32}, {1760, 32}, {1856, 32}, {1952, 32},
#endif
};
static const struct memplan_range loss_reads[] = {
    {T_OFFSET, 4 * SAMPLES * TRIPS}, {Y_OFFSET, 4 * SAMPLES}};
static const struct memplan_range loss_writes[] = {{LOSS_OFFSET, 4}, {Y_OFFSET, 4 * SAMPLES}};
static const struct memplan_range backward_reads[] = {
    {X_OFFSET, 4 * SAMPLES}, {Y_OFFSET, 4 * SAMPLES}, {W_SUM_OFFSET, 8}};
static const struct memplan_range update_reads[] = {{W_OFFSET, 4}, {B_OFFSET, 4}, {W_SUM_OFFSET, 8}};
static const struct memplan_range update_writes[] = {{W_OFFSET, 4}, {B_OFFSET, 4}};

static const struct memplan_step prologue[] = {
    {clear_sums, "sums.clear", NULL, &sums, 0, 1, NULL, 0}};
#ifdef STREAMED
static const struct memplan_range rows_writes[] = {{X_OFFSET, 4 * SAMPLES}, {ROWS_OFFSET, 32}};
#endif
static const struct memplan_step body[] = {
#ifdef STREAMED
    {read_rows, "x.rows", NULL, rows_writes, 0, 2, NULL, 0},
#endif
    {forward, "linear.forward", forward_reads, &y, sizeof forward_reads / sizeof *forward_reads, 1,
     NULL, 0},
    {loss, "loss", loss_reads, loss_writes, 2, 2, NULL, 0},
    {backward, "linear.backward", backward_reads, &sums, 3, 1, &x, 1}};
static const struct memplan_step epilogue[] = {
    {update, "linear.update", update_reads, update_writes, 3, 2, &loss_value, 1}};

const struct memplan_section memplan_prologue = {prologue, 1};
const struct memplan_section memplan_body = {body, sizeof body / sizeof *body};
const struct memplan_section memplan_epilogue = {epilogue, 1};

const struct memplan_tensor memplan_parameters[] = {
    {"w", {W_OFFSET, 4}, first_w}, {"b", {B_OFFSET, 4}, first_b}};
const struct memplan_tensor memplan_inputs[] = {
#ifndef STREAMED
    {"x", {X_OFFSET, 4 * SAMPLES}, NULL},
#endif
    {"t", {T_OFFSET, 4 * SAMPLES * TRIPS}, NULL}};
const struct memplan_stream memplan_streams[] = {{"x", 2, 3, 16}};
const struct memplan_tensor memplan_outputs[] = {{"loss", {LOSS_OFFSET, 4}, NULL}};
const uint32_t memplan_parameter_count = 2, memplan_output_count = 1;
const uint32_t memplan_input_count = sizeof memplan_inputs / sizeof *memplan_inputs;
#ifdef STREAMED
const uint32_t memplan_stream_count = 1;
#else
const uint32_t memplan_stream_count = 0;
#endif
