/* QEMU TCG plugin: exact instruction counts between two marks, and which memory was touched.
 *
 * Debian ships no qemu-plugin.h; the prototypes below are those of plugin API version 1 (QEMU 4.2
 * to 8.1; used with 7.2).  Later versions differ, and are refused.
 *
 * Arguments: begin, end       addresses of the two marks (functions; counting starts and stops when
 *                             their first instruction is reached)
 *            pause, resume    addresses of two more; what is between them is not counted
 *            ram, ram_end     the budget
 *            flash, flash_end code and constants; only loads are expected there
 *            out              file for the results, one key=value per line
 */
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define EXPORT __attribute__((visibility("default")))

typedef uint64_t qemu_plugin_id_t;
typedef uint32_t qemu_plugin_meminfo_t;
struct qemu_plugin_tb;
struct qemu_plugin_insn;
typedef struct {
    const char *target_name;
    struct {
        int min, cur;
    } version;
    bool system_emulation;
    union {
        struct {
            int smp_vcpus, max_vcpus;
        } system;
    };
} qemu_info_t;
enum { QEMU_PLUGIN_CB_NO_REGS = 0 };
enum { QEMU_PLUGIN_MEM_RW = 3 };
enum { QEMU_PLUGIN_INLINE_ADD_U64 = 0 };

void qemu_plugin_register_vcpu_tb_trans_cb(qemu_plugin_id_t,
                                           void (*)(qemu_plugin_id_t, struct qemu_plugin_tb *));
size_t qemu_plugin_tb_n_insns(const struct qemu_plugin_tb *);
struct qemu_plugin_insn *qemu_plugin_tb_get_insn(const struct qemu_plugin_tb *, size_t);
uint64_t qemu_plugin_insn_vaddr(const struct qemu_plugin_insn *);
void qemu_plugin_register_vcpu_insn_exec_inline(struct qemu_plugin_insn *, int, void *, uint64_t);
void qemu_plugin_register_vcpu_insn_exec_cb(struct qemu_plugin_insn *,
                                            void (*)(unsigned, void *), int, void *);
void qemu_plugin_register_vcpu_mem_cb(struct qemu_plugin_insn *,
                                      void (*)(unsigned, qemu_plugin_meminfo_t, uint64_t, void *),
                                      int, int, void *);
unsigned qemu_plugin_mem_size_shift(qemu_plugin_meminfo_t);
bool qemu_plugin_mem_is_store(qemu_plugin_meminfo_t);
void qemu_plugin_register_atexit_cb(qemu_plugin_id_t, void (*)(qemu_plugin_id_t, void *), void *);

EXPORT int qemu_plugin_version = 1;
EXPORT int qemu_plugin_install(qemu_plugin_id_t, const qemu_info_t *, int, char **);

/* Registers of the core and its debug unit: neither RAM nor flash. */
#define SYSTEM_START 0xE0000000u

static uint64_t begin, end, pause, resume, ram, ram_end, flash, flash_end;
static uint64_t instructions, began_at, paused_at, counted, intervals;
static uint64_t loads, stores, lowest = UINT64_MAX, highest, outside, first_outside;
static uint8_t *touched;
static FILE *out;

static void on_begin(unsigned vcpu, void *data) {
    (void)vcpu, (void)data;
    began_at = instructions;
}

static void on_end(unsigned vcpu, void *data) {
    (void)vcpu, (void)data;
    const uint64_t count = instructions - began_at;
    counted += count;
    intervals++;
    fprintf(out, "interval=%llu\n", (unsigned long long)count);
}

static void on_pause(unsigned vcpu, void *data) {
    (void)vcpu, (void)data;
    paused_at = instructions;
}

static void on_resume(unsigned vcpu, void *data) {
    (void)vcpu, (void)data;
    began_at += instructions - paused_at;
}

static void on_access(unsigned vcpu, qemu_plugin_meminfo_t access, uint64_t address, void *data) {
    (void)vcpu, (void)data;
    const uint64_t size = UINT64_C(1) << qemu_plugin_mem_size_shift(access);
    const bool is_store = qemu_plugin_mem_is_store(access);
    if (is_store) stores++;
    else loads++;
    if (address >= ram && address + size <= ram_end) {
        if (address < lowest) lowest = address;
        if (address + size > highest) highest = address + size;
        memset(touched + (address - ram), 1, size);
    } else if (address < SYSTEM_START &&
               (is_store || address < flash || address + size > flash_end)) {
        if (outside++ == 0) first_outside = address;
    }
}

static const struct {
    const uint64_t *address;
    void (*reached)(unsigned, void *);
} marks[] = {{&begin, on_begin}, {&end, on_end}, {&pause, on_pause}, {&resume, on_resume}};

static void on_translation(qemu_plugin_id_t id, struct qemu_plugin_tb *block) {
    (void)id;
    const size_t count = qemu_plugin_tb_n_insns(block);
    for (size_t index = 0; index < count; index++) {
        struct qemu_plugin_insn *instruction = qemu_plugin_tb_get_insn(block, index);
        const uint64_t address = qemu_plugin_insn_vaddr(instruction);
        for (size_t mark = 0; mark < sizeof marks / sizeof *marks; mark++)
            if (address == *marks[mark].address)
                qemu_plugin_register_vcpu_insn_exec_cb(instruction, marks[mark].reached,
                                                       QEMU_PLUGIN_CB_NO_REGS, NULL);
        qemu_plugin_register_vcpu_insn_exec_inline(instruction, QEMU_PLUGIN_INLINE_ADD_U64,
                                                   &instructions, 1);
        qemu_plugin_register_vcpu_mem_cb(instruction, on_access, QEMU_PLUGIN_CB_NO_REGS,
                                         QEMU_PLUGIN_MEM_RW, NULL);
    }
}

static void line(const char *key, uint64_t value) {
    fprintf(out, "%s=%llu\n", key, (unsigned long long)value);
}

static void on_emulator_exit(qemu_plugin_id_t id, void *data) {
    (void)id, (void)data;
    uint64_t distinct = 0;
    for (uint64_t index = 0; index < ram_end - ram; index++) distinct += touched[index];
    line("instructions", instructions);
    line("counted", counted);
    line("intervals", intervals);
    line("loads", loads);
    line("stores", stores);
    line("lowest", lowest == UINT64_MAX ? 0 : lowest);
    line("highest", highest);
    line("touched", distinct);
    line("outside", outside);
    line("first_outside", first_outside);
    fclose(out);
}

static bool number(const char *argument, const char *key, uint64_t *value) {
    const size_t length = strlen(key);
    if (strncmp(argument, key, length) != 0 || argument[length] != '=') return false;
    *value = strtoull(argument + length + 1, NULL, 0);
    return true;
}

int qemu_plugin_install(qemu_plugin_id_t id, const qemu_info_t *info, int argc, char **argv) {
    if (info->version.min > 1) {
        fprintf(stderr, "ramtrace: this QEMU has plugin API %d; API 1 is needed (QEMU 7.2)\n",
                info->version.cur);
        return -1;
    }
    const char *path = NULL;
    for (int index = 0; index < argc; index++) {
        const char *argument = argv[index];
        if (strncmp(argument, "out=", 4) == 0) path = argument + 4;
        else if (!number(argument, "begin", &begin) && !number(argument, "end", &end) &&
                 !number(argument, "pause", &pause) && !number(argument, "resume", &resume) &&
                 !number(argument, "ram", &ram) && !number(argument, "ram_end", &ram_end) &&
                 !number(argument, "flash", &flash) &&
                 !number(argument, "flash_end", &flash_end)) {
            fprintf(stderr, "ramtrace: unknown argument %s\n", argument);
            return -1;
        }
    }
    if (ram_end <= ram || path == NULL || (out = fopen(path, "w")) == NULL ||
        (touched = calloc(ram_end - ram, 1)) == NULL) {
        fprintf(stderr, "ramtrace: ram, ram_end and out (a file that can be written) are needed\n");
        return -1;
    }
    qemu_plugin_register_vcpu_tb_trans_cb(id, on_translation);
    qemu_plugin_register_atexit_cb(id, on_emulator_exit, NULL);
    return 0;
}
