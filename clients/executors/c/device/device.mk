# Builds the project for a board:  make -f device.mk BOARD=mps2-an500 RAM_BYTES=262144
#
# BOARD        one of BOARDS in boards.mk
# RAM_BYTES    all the RAM there is: stack, arena, .data and .bss lie in it, or it does not link
# STACK_BYTES  how much of it is the stack
# FLASH_BYTES  code, constants and weights
# STRICT=1     (PMSAv8) each step sees its own operands alone
# ELF          what is made

include $(dir $(lastword $(MAKEFILE_LIST)))boards.mk

BOARD       ?= mps2-an500
RAM_BYTES   ?= 262144
STACK_BYTES ?= 2048
FLASH_BYTES ?= 1048576
STRICT      ?= 0
ELF         ?= build/$(BOARD).elf
CROSS       ?= arm-none-eabi-
OPTIMIZE    ?= -O2

ifeq ($(filter $(BOARD),$(BOARDS)),)
$(error BOARD=$(BOARD) is not known; take one of: $(BOARDS))
endif
ifeq ($(STRICT)-$(MPU_$(BOARD)),1-pmsav7)
$(error STRICT=1 needs the fine-grained regions of PMSAv8, which $(BOARD) does not have)
endif
ifneq ($(shell test $(RAM_BYTES) -le $(RAM_LIMIT_$(BOARD)) && echo fits),fits)
$(error RAM_BYTES=$(RAM_BYTES): $(BOARD) has $(RAM_LIMIT_$(BOARD)) bytes)
endif

CC      := $(CROSS)gcc
FLAGS   := $(CPU_FLAGS_$(BOARD)) -mthumb -mfloat-abi=hard
# Without contraction into fused multiply-adds, and without errno, results equal the host's.
CFLAGS  := $(FLAGS) -std=c11 $(OPTIMIZE) -g -Wall -Wextra -Werror -ffp-contract=off \
           -ffreestanding -fno-math-errno -ffunction-sections -fdata-sections -I. -Ikernels \
           $(if $(filter 1,$(STRICT)),-DMEMPLAN_STRICT)
SYMBOLS := VECTORS_BASE=$(VECTORS_BASE_$(BOARD)) FLASH_BASE=$(FLASH_BASE_$(BOARD)) \
           FLASH_BYTES=$(FLASH_BYTES) RAM_BASE=$(RAM_BASE_$(BOARD)) RAM_BYTES=$(RAM_BYTES) \
           STACK_BYTES=$(STACK_BYTES)
comma   := ,
LDFLAGS := -nostartfiles -T memplan.ld -Wl,--gc-sections -Wl,--no-warn-rwx-segments \
           $(addprefix -Wl$(comma)--defsym=,$(SYMBOLS))

SOURCES := plan.c $(wildcard weights.c) runtime.c $(wildcard kernels/*.c) \
           main_device.c startup.c faults.c mpu.c
OBJECTS := $(SOURCES:%.c=$(ELF:.elf=)/%.o)

.PHONY: device clean-device
device: $(ELF)

# Objects depend on the settings too: they stand in a folder of their own per ELF, and a changed
# line of settings makes them again.
$(ELF:.elf=)/settings: FORCE
	@mkdir -p $(@D)
	@echo '$(CFLAGS) $(LDFLAGS)' | cmp -s - $@ || echo '$(CFLAGS) $(LDFLAGS)' > $@

$(ELF): $(OBJECTS) memplan.ld
	$(CC) $(FLAGS) $(OPTIMIZE) $(OBJECTS) $(LDFLAGS) -o $@

$(ELF:.elf=)/%.o: %.c $(ELF:.elf=)/settings $(wildcard *.h kernels/*.h)
	@mkdir -p $(@D)
	$(CC) $(CFLAGS) -c $< -o $@

clean-device:
	rm -rf $(ELF) $(ELF:.elf=)

.PHONY: FORCE
FORCE:
