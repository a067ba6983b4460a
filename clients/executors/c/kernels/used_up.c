#include "used_up.h"

#include "bytes.h"
#include "meeting.h"

static void copy_from_the_end(uint8_t *to, const uint8_t *from, int32_t size) {
    for (uint32_t word; size >= 4; size -= 4) {
        __builtin_memcpy(&word, from + size - 4, 4);
        __builtin_memcpy(to + size - 4, &word, 4);
    }
    while (size > 0) {
        --size;
        to[size] = from[size];
    }
}

/* The two may overlap. */
static void move(uint8_t *to, const uint8_t *from, int32_t size) {
    if ((uintptr_t)to <= (uintptr_t)from) {
        memplan_copy_bytes(to, from, size);
    } else {
        copy_from_the_end(to, from, size);
    }
}

static void swap(uint8_t *a, uint8_t *b, int32_t size) {
    int32_t i = 0;
    for (uint32_t one, other; i + 4 <= size; i += 4) {
        __builtin_memcpy(&one, a + i, 4);
        __builtin_memcpy(&other, b + i, 4);
        __builtin_memcpy(a + i, &other, 4);
        __builtin_memcpy(b + i, &one, 4);
    }
    for (; i < size; ++i) {
        const uint8_t byte = a[i];
        a[i] = b[i];
        b[i] = byte;
    }
}

/* [rows][columns] lines become [columns][rows], in place: each cycle of the permutation once, from
 * its lowest place. */
static void transpose(uint8_t *lines, int32_t rows, int32_t columns, int32_t size) {
    if (rows == 1 || columns == 1) {
        return;
    }
    for (int32_t start = 1; start < rows * columns - 1; ++start) {
        /* What belongs at place p stands at place p % rows * columns + p / rows. */
        int32_t place = start;
        do {
            place = place % rows * columns + place / rows;
        } while (place > start);
        if (place < start) {
            continue;
        }
        for (;;) {
            const int32_t from = place % rows * columns + place / rows;
            if (from == start) {
                break;
            }
            swap(lines + place * size, lines + from * size, size);
            place = from;
        }
    }
}

void memplan_put_away(const struct memplan_used_up *g, int32_t sample, int32_t row,
                      const uint8_t *from, uint8_t *operand) {
    const struct memplan_lines *o = &g->operand;
    uint8_t *image = operand + sample * o->channels * o->height * o->line;
    int32_t left = g->result.channels * g->result.line;
    int32_t place = row * left;
    while (left > 0) {
        /* Lines become free row by row, in each row channel by channel. */
        const int32_t line = place / o->line, start = place % o->line;
        const int32_t size = smaller(left, o->line - start);
        const int32_t where = line % o->channels * o->height + line / o->channels;
        memplan_copy_bytes(image + where * o->line + start, from, size);
        place += size;
        from += size;
        left -= size;
    }
}

void memplan_bring_back(const struct memplan_used_up *g, uint8_t *operand, uint8_t *result) {
    const struct memplan_lines *o = &g->operand, *r = &g->result;
    const int32_t operand_bytes = o->channels * o->height * o->line;
    const int32_t result_bytes = r->channels * r->height * r->line;
    for (int32_t sample = 0; sample < g->samples; ++sample) {
        uint8_t *image = operand + sample * operand_bytes;
        /* In the order in which lines became free; then [rows][channels] of the result. */
        transpose(image, o->channels, o->height, o->line);
        transpose(image, r->height, r->channels, r->line);
        move(operand + sample * result_bytes, image, result_bytes);
    }
    move(result, operand, g->samples * result_bytes);
}
