/* Calls to the host that runs the emulator (Arm semihosting).
 *
 * The host reads and writes guest memory itself, unseen by a trace.  What the MPU closes may be
 * written nevertheless, or (PMSAv8) silently not written and not read: whoever passes a buffer
 * checks its bounds first, and opens it.
 */
#ifndef SEMIHOSTING_H
#define SEMIHOSTING_H

#include <stddef.h>
#include <stdint.h>

enum { HOST_READ = 1, HOST_WRITE = 5 }; /* fopen's "rb" and "wb" */

static inline int32_t host_call(uint32_t operation, const void *arguments) {
    register uint32_t r0 __asm__("r0") = operation;
    register const void *r1 __asm__("r1") = arguments;
    __asm__ volatile("bkpt 0xAB" : "+r"(r0) : "r"(r1) : "memory");
    return (int32_t)r0;
}

/* Returns a handle, or -1. */
static inline int32_t host_open(const char *path, uint32_t mode) {
    uint32_t length = 0;
    while (path[length] != '\0') length++;
    const uint32_t arguments[3] = {(uint32_t)(uintptr_t)path, mode, length};
    return host_call(0x01, arguments);
}

static inline void host_close(int32_t file) {
    const uint32_t arguments[1] = {(uint32_t)file};
    host_call(0x02, arguments);
}

/* Both return how many bytes were NOT transferred. */
static inline uint32_t host_write(int32_t file, const void *bytes, uint32_t size) {
    const uint32_t arguments[3] = {(uint32_t)file, (uint32_t)(uintptr_t)bytes, size};
    return (uint32_t)host_call(0x05, arguments);
}

static inline uint32_t host_read(int32_t file, void *bytes, uint32_t size) {
    const uint32_t arguments[3] = {(uint32_t)file, (uint32_t)(uintptr_t)bytes, size};
    return (uint32_t)host_call(0x06, arguments);
}

/* The next transfer begins this far into the file.  Returns 0, or a negative number. */
static inline int32_t host_seek(int32_t file, uint32_t position) {
    const uint32_t arguments[2] = {(uint32_t)file, position};
    return host_call(0x0A, arguments);
}

/* To the host's standard error. */
static inline void host_print(const char *text) { host_call(0x04, text); }

static inline void host_print_number(uint32_t value) {
    char digits[11];
    int at = 10;
    digits[at] = '\0';
    do {
        digits[--at] = (char)('0' + value % 10u);
        value /= 10u;
    } while (value != 0);
    host_print(digits + at);
}

static inline void host_print_address(uint32_t value) {
    char digits[11] = "0x00000000";
    for (int at = 9; at > 1; at--, value >>= 4) digits[at] = "0123456789abcdef"[value & 15u];
    host_print(digits);
}

/* SYS_EXIT_EXTENDED with "application exit": the plain SYS_EXIT cannot carry a code. */
__attribute__((noreturn)) static inline void host_exit(uint32_t code) {
    const uint32_t arguments[2] = {0x20026u, code};
    for (;;) host_call(0x20, arguments);
}

#endif
