/* Memory protection: the budget of RAM, and in strict mode the operands of each step.
 *
 * Whatever no region covers faults (PRIVDEFENA is 0), handlers included (HFNMIENA is 1).
 */
#include "device.h"

#define REGISTER(address) (*(volatile uint32_t *)(address))
#define MPU_TYPE REGISTER(0xE000ED90u)
#define MPU_CTRL REGISTER(0xE000ED94u)
#define MPU_RNR REGISTER(0xE000ED98u)
#define MPU_RBAR REGISTER(0xE000ED9Cu)
#define MPU_RASR REGISTER(0xE000EDA0u) /* PMSAv7 */
#define MPU_RLAR REGISTER(0xE000EDA0u) /* PMSAv8, the same place */
#define MPU_MAIR0 REGISTER(0xE000EDC0u)

#define MPU_ON 3u /* ENABLE, HFNMIENA */

uint32_t mpu_most_ranges, mpu_merges;

static void barrier(void) { __asm__ volatile("dsb\n isb\n" ::: "memory"); }

static uint32_t region_count(void) { return (MPU_TYPE >> 8) & 0xFFu; }

#if __ARM_ARCH >= 8

enum { READ_WRITE = 1, READ_ONLY = 3 }; /* AP, privileged and not */
enum { GRANULE = 32, STRICT_FIRST = 3 };

static void set_region(uint32_t number, uint32_t start, uint32_t end, uint32_t access,
                       uint32_t never_execute) {
    MPU_RNR = number;
    MPU_RBAR = start | access << 1 | never_execute;
    MPU_RLAR = (end - GRANULE) | 1u;
}

static void clear_regions(uint32_t from) {
    const uint32_t count = region_count();
    for (uint32_t number = from; number < count; number++) {
        MPU_RNR = number;
        MPU_RLAR = 0;
    }
}

void mpu_bound_memory(void) {
    if (region_count() < 8) device_stop("this core has no MPU of 8 regions or more");
    MPU_CTRL = 0;
    MPU_MAIR0 = 0x44u; /* normal memory, not cached */
    set_region(0, address_of(__flash_start), address_of(__flash_end), READ_ONLY, 0);
    set_region(1, address_of(__ram_start), address_of(__ram_end), READ_WRITE, 1);
    clear_regions(2);
    MPU_CTRL = MPU_ON;
    barrier();
}

#ifdef MEMPLAN_STRICT

/* Ranges of addresses that a step may touch, ascending and disjoint. */
struct open_range {
    uint32_t start, end, access;
};

enum { MOST_REGIONS = 16, MOST_OPEN = MOST_REGIONS - STRICT_FIRST };

/* Lives on the stack, which is least deep between two steps: no static bytes for it. */
struct open_set {
    uint32_t count, limit;
    /* One more than fits: it is there until two are merged. */
    struct open_range ranges[MOST_OPEN + 1];
};

static void close_up(struct open_set *open, uint32_t index) {
    open->count--;
    for (; index < open->count; index++) open->ranges[index] = open->ranges[index + 1];
}

/* Join the two neighbours with the fewest bytes between them; these bytes are open then too. */
static void merge_nearest(struct open_set *open) {
    uint32_t best = 0, best_gap = UINT32_MAX;
    for (uint32_t index = 0; index + 1 < open->count; index++) {
        uint32_t gap = open->ranges[index + 1].start - open->ranges[index].end;
        /* What is read-only stays so, if it can. */
        if (open->ranges[index].access != open->ranges[index + 1].access) gap += 1u << 31;
        if (gap < best_gap) {
            best = index;
            best_gap = gap;
        }
    }
    open->ranges[best].end = open->ranges[best + 1].end;
    if (open->ranges[best + 1].access == READ_WRITE) open->ranges[best].access = READ_WRITE;
    close_up(open, best + 1);
}

static void insert(struct open_set *open, uint32_t at, uint32_t start, uint32_t end,
                   uint32_t access) {
    if (at > 0 && open->ranges[at - 1].end == start && open->ranges[at - 1].access == access) {
        open->ranges[at - 1].end = end;
    } else {
        for (uint32_t index = open->count; index > at; index--)
            open->ranges[index] = open->ranges[index - 1];
        open->ranges[at] = (struct open_range){start, end, access};
        open->count++;
        at++;
    }
    if (at < open->count && open->ranges[at].start == end && open->ranges[at].access == access) {
        open->ranges[at - 1].end = open->ranges[at].end;
        close_up(open, at);
    }
}

/* Open what of [start, end) is not open yet.  Writes come first, so nothing loses them. */
static void open_range(struct open_set *open, uint32_t start, uint32_t end, uint32_t access) {
    uint32_t index = 0;
    while (start < end) {
        while (index < open->count && open->ranges[index].end <= start) index++;
        uint32_t stop = end;
        if (index < open->count) {
            if (open->ranges[index].start <= start) {
                start = open->ranges[index].end;
                continue;
            }
            if (open->ranges[index].start < stop) stop = open->ranges[index].start;
        }
        insert(open, index, start, stop, access);
        start = stop;
        index = 0;
        if (open->count > mpu_most_ranges) mpu_most_ranges = open->count;
        if (open->count > open->limit) {
            merge_nearest(open);
            mpu_merges++;
        }
    }
}

/* Regions begin and end at multiples of 32: where operands do not, up to 31 bytes on either side of
 * them are open too. */
static void open_operands(struct open_set *open, const struct memplan_range *ranges,
                          uint32_t count, uint32_t access) {
    for (uint32_t index = 0; index < count; index++) {
        if (ranges[index].size == 0) continue;
        const uint32_t start = address_of(memplan_arena) + ranges[index].offset;
        const uint32_t end = start + ranges[index].size;
        const uint32_t first = start / GRANULE * GRANULE;
        const uint32_t last = (end + GRANULE - 1) / GRANULE * GRANULE;
        open_range(open, first, last, access);
    }
}

void mpu_open_step(const struct memplan_step *step) {
    struct open_set open = {.count = 0, .limit = region_count() - STRICT_FIRST};
    if (open.limit > MOST_OPEN) open.limit = MOST_OPEN;
    MPU_CTRL = 0;
    barrier();
    open_operands(&open, step->writes, step->write_count, READ_WRITE);
    open_operands(&open, step->reads, step->read_count, READ_ONLY);
    set_region(1, address_of(__stack_limit), address_of(__stack_top), READ_WRITE, 1);
    set_region(2, address_of(__data_start), address_of(__bss_end), READ_WRITE, 1);
    for (uint32_t index = 0; index < open.count; index++) {
        const struct open_range *range = &open.ranges[index];
        set_region(STRICT_FIRST + index, range->start, range->end, range->access, 1);
    }
    clear_regions(STRICT_FIRST + open.count);
    MPU_CTRL = MPU_ON;
    barrier();
}

#else

void mpu_open_step(const struct memplan_step *step) { (void)step; }

#endif

#else /* PMSAv7 */

enum { READ_WRITE = 3, READ_ONLY = 6 }; /* AP */
enum { SMALLEST = 32, SMALLEST_WITH_SUBREGIONS = 256 };

static uint32_t free_region;

/* A region of a power of two; of its eight parts the first `parts` are there. */
static void add_region(uint32_t start, uint32_t size, uint32_t parts, uint32_t access,
                       uint32_t never_execute) {
    if (free_region == region_count()) device_stop("the RAM budget needs more MPU regions");
    const uint32_t disabled = 0xFFu << parts & 0xFFu;
    const uint32_t log2_size = 31u - (uint32_t)__builtin_clz(size);
    MPU_RNR = free_region++;
    MPU_RBAR = start;
    /* TEX 001, C 0, B 0: normal memory, not cached. */
    MPU_RASR = never_execute << 28 | access << 24 | 1u << 19 | disabled << 8 |
               (log2_size - 1u) << 1 | 1u;
}

static uint32_t power_of_two_from(uint32_t size) {
    uint32_t power = SMALLEST;
    while (power < size) power *= 2;
    return power;
}

/* Cover exactly [start, start + size), whose start is a multiple of every power of two up to its
 * size: eighths of a region, then eighths of an eighth, and so on. */
static void cover(uint32_t start, uint32_t size, uint32_t access, uint32_t never_execute) {
    if (size % SMALLEST != 0) device_stop("the RAM budget must be a multiple of 32 bytes");
    uint32_t region = power_of_two_from(size);
    while (size > 0) {
        uint32_t covered;
        if (region >= SMALLEST_WITH_SUBREGIONS) {
            const uint32_t part = region / 8u, parts = size / part;
            covered = parts * part;
            if (parts > 0) add_region(start, region, parts, access, never_execute);
            region = part;
        } else {
            covered = region <= size ? region : 0;
            if (covered > 0) add_region(start, region, 8, access, never_execute);
            region /= 2u;
        }
        start += covered;
        size -= covered;
    }
}

void mpu_bound_memory(void) {
    if (region_count() < 8) device_stop("this core has no MPU of 8 regions or more");
    MPU_CTRL = 0;
    free_region = 0;
    cover(address_of(__flash_start), address_of(__flash_end) - address_of(__flash_start),
          READ_ONLY, 0);
    cover(address_of(__ram_start), address_of(__ram_end) - address_of(__ram_start), READ_WRITE, 1);
    while (free_region < region_count()) {
        MPU_RNR = free_region++;
        MPU_RASR = 0;
    }
    MPU_CTRL = MPU_ON;
    barrier();
}

void mpu_open_step(const struct memplan_step *step) { (void)step; }

#endif
