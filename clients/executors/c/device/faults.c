/* What went wrong: which fault, at which address, in which step. */
#include "device.h"
#include "semihosting.h"

#define CFSR (*(volatile uint32_t *)0xE000ED28u)
#define HFSR (*(volatile uint32_t *)0xE000ED2Cu)
#define MMFAR (*(volatile uint32_t *)0xE000ED34u)
#define BFAR (*(volatile uint32_t *)0xE000ED38u)

#define MMFSR_MMARVALID (1u << 7)
#define BFSR_BFARVALID (1u << 15)
#define STACKING_FAILED ((1u << 4) | (1u << 12) | (1u << 20)) /* MSTKERR, STKERR, STKOF */

void fault_handler(void);
void no_handler(void);
void report_fault(const uint32_t *frame, uint32_t exception, uint32_t pc);

const struct memplan_step *volatile device_step;

/* The frame that the processor left holds the address of the instruction.  It is read before anything
 * is pushed: the handler's stack begins where the program's did, and may overwrite the frame.  Where
 * the stack overflowed there is no frame. */
__attribute__((naked)) void fault_handler(void) {
    __asm__ volatile(
        "tst lr, #4\n"
        "ite eq\n"
        "mrseq r0, msp\n"
        "mrsne r0, psp\n"
        "mrs r1, ipsr\n"
        "movs r2, #0\n"
        "ldr r3, =__stack_limit\n"
        "cmp r0, r3\n"
        "blo report_fault\n"
        "ldr r3, =__stack_top\n"
        "subs r3, #32\n"
        "cmp r0, r3\n"
        "it ls\n"
        "ldrls r2, [r0, #24]\n"
        "b report_fault\n");
}

void no_handler(void) { device_stop("an exception that nobody asked for"); }

static const char *name_of(uint32_t exception) {
    switch (exception) {
        case 3: return "HardFault";
        case 4: return "MemManage";
        case 5: return "BusFault";
        case 6: return "UsageFault";
        case 7: return "SecureFault";
        default: return "exception";
    }
}

static void print_step(void) {
    static const struct memplan_section *const sections[3] = {
        &memplan_prologue, &memplan_body, &memplan_epilogue};
    static const char *const names[3] = {"prologue", "body", "epilogue"};
    const struct memplan_step *step = device_step;
    host_print(" step=");
    if (step == NULL) {
        host_print("none");
        return;
    }
    for (int section = 0; section < 3; section++) {
        const struct memplan_step *first = sections[section]->steps;
        if (step >= first && step < first + sections[section]->count) {
            host_print(names[section]);
            host_print(":");
            host_print_number((uint32_t)(step - first));
        }
    }
    host_print(" operation=");
    host_print(step->operation);
}

/* One line of key=value for the driver on the host, which makes a sentence of it. */
void report_fault(const uint32_t *frame, uint32_t exception, uint32_t pc) {
    const uint32_t cause = CFSR;
    host_print("memplan-fault kind=");
    host_print(name_of(exception));
    host_print(" cfsr=");
    host_print_address(cause);
    host_print(" hfsr=");
    host_print_address(HFSR);
    if (cause & MMFSR_MMARVALID) {
        host_print(" address=");
        host_print_address(MMFAR);
    } else if (cause & BFSR_BFARVALID) {
        host_print(" address=");
        host_print_address(BFAR);
    }
    if (pc != 0 && !(cause & STACKING_FAILED)) {
        host_print(" pc=");
        host_print_address(pc);
    }
    host_print(" sp=");
    host_print_address(address_of(frame));
    print_step();
    host_print("\n");
    host_exit(EXIT_FAULT + exception);
}

void device_stop(const char *reason) {
    host_print("memplan-stopped ");
    host_print(reason);
    if (device_step != NULL) {
        host_print(", in ");
        host_print(device_step->operation);
    }
    host_print("\n");
    host_exit(EXIT_STOPPED);
}
