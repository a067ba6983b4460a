/* What the files of the device side share. */
#ifndef DEVICE_H
#define DEVICE_H

#include "memplan.h"

/* Bounds of memory, from the linker script: addresses, nothing is stored there. */
extern uint32_t __flash_start[], __flash_end[], __ram_start[], __ram_end[];
extern uint32_t __stack_limit[], __stack_top[], __arena_start[], __arena_end[];
extern uint32_t __data_load[], __data_start[], __data_end[], __bss_start[], __bss_end[];

static inline uint32_t address_of(const volatile void *place) { return (uint32_t)(uintptr_t)place; }

/* The word that fills the stack at first; what is still there was never used. */
#define STACK_PAINT 0xDEADBEEFu

/* Exit codes.  A fault exits with EXIT_FAULT + the number of the exception. */
enum { EXIT_STOPPED = 90, EXIT_FAULT = 100 };

/* The step that runs; NULL: none. */
extern const struct memplan_step *volatile device_step;

/* Say why, and leave. */
__attribute__((noreturn)) void device_stop(const char *reason);

/* From now on there is flash (read and execute), the RAM of the budget, and nothing else. */
void mpu_bound_memory(void);
/* Strict: of the arena this step's operands alone are there, and what it reads is read-only. */
void mpu_open_step(const struct memplan_step *step);
/* Strict: most ranges that one step had, and how often ranges had to be merged with the gap between
 * them because the MPU has too few regions. */
extern uint32_t mpu_most_ranges, mpu_merges;

#endif
