/* From reset to main: stacks, floating point, .data and .bss. */
#include "device.h"
#include "semihosting.h"

int main(void);
void Reset_Handler(void);
void device_start(void);
void fault_handler(void);
void no_handler(void);

/* The core starts with MSP at the top of the stack (first vector).  No C frame may exist before the
 * stack is painted.  r0, r1, r2 are free: nothing was called yet.
 *
 * Code runs on PSP, from the same top.  MSP stays there for exceptions: all of them end the program,
 * so they may overwrite what it had on its stack, and have room even where it overflowed. */
__attribute__((naked, noreturn)) void Reset_Handler(void) {
    __asm__ volatile(
        "ldr r0, =__stack_limit\n"
        "ldr r1, =__stack_top\n"
        "ldr r2, =%c[paint]\n"
        "1: cmp r0, r1\n"
        "it lo\n"
        "strlo r2, [r0], #4\n"
        "blo 1b\n"
        "msr psp, r1\n"
#if __ARM_ARCH >= 8
        "ldr r0, =__stack_limit\n"
        "msr psplim, r0\n"
        "msr msplim, r0\n"
#endif
        "mov r0, #2\n" /* thread mode uses PSP */
        "msr control, r0\n"
        "isb\n"
        "ldr r0, =0xE000ED88\n" /* CPACR: CP10 and CP11, floating point and MVE */
        "ldr r1, [r0]\n"
        "orr r1, r1, #0x00F00000\n"
        "str r1, [r0]\n"
        "dsb\n"
        "isb\n"
        "b device_start\n" ::[paint] "i"(STACK_PAINT));
}

__attribute__((noreturn)) void device_start(void) {
    /* SHCSR: MemManage, BusFault and UsageFault come as themselves and not as HardFault. */
    *(volatile uint32_t *)0xE000ED24u |= 7u << 16;
    const uint32_t *from = __data_load;
    for (uint32_t *to = __data_start; to < __data_end; to++) *to = *from++;
    for (uint32_t *to = __bss_start; to < __bss_end; to++) *to = 0;
    host_exit((uint32_t)main());
}

/* Addresses of functions, and of the stack: known when linking, so constants. */
typedef void (*vector)(void);
__attribute__((section(".vectors"), used)) static const struct {
    uint32_t *stack;
    vector exceptions[15];
} vectors = {
    __stack_top,
    {
        Reset_Handler,
        no_handler,    /* NMI */
        fault_handler, /* HardFault */
        fault_handler, /* MemManage */
        fault_handler, /* BusFault */
        fault_handler, /* UsageFault */
        fault_handler, /* SecureFault */
        0,
        0,
        0,
        no_handler, /* SVCall */
        no_handler, /* DebugMonitor */
        0,
        no_handler, /* PendSV */
        no_handler, /* SysTick */
    },
};
