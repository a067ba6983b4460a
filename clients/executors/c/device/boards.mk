# Facts of each board, by the name of QEMU's machine.
#
# CPU_FLAGS     what the compiler must know
# MPU           pmsav7 (8 regions, powers of two) or pmsav8 (16 regions of 32-byte granularity)
# VECTORS_BASE  where the core looks for its vector table after reset
# FLASH_BASE    memory that stands for flash: code, constants, frozen weights; at least 1 MiB
# RAM_BASE      where the RAM begins that the budget is cut from
# RAM_LIMIT     how much of it there is

BOARDS := mps2-an386 mps2-an500 mps2-an505 mps3-an547

# Cortex-M4F.  Flash is ZBT SSRAM1 (4 MiB), RAM is SSRAM2 and 3 (4 MiB).
CPU_FLAGS_mps2-an386    := -mcpu=cortex-m4 -mfpu=fpv4-sp-d16
MPU_mps2-an386          := pmsav7
VECTORS_BASE_mps2-an386 := 0x00000000
FLASH_BASE_mps2-an386   := 0x00000000
RAM_BASE_mps2-an386     := 0x20000000
RAM_LIMIT_mps2-an386    := 4194304

# Cortex-M7.  The same memories.
CPU_FLAGS_mps2-an500    := -mcpu=cortex-m7 -mfpu=fpv5-d16
MPU_mps2-an500          := pmsav7
VECTORS_BASE_mps2-an500 := 0x00000000
FLASH_BASE_mps2-an500   := 0x00000000
RAM_BASE_mps2-an500     := 0x20000000
RAM_LIMIT_mps2-an500    := 4194304

# Cortex-M33, secure aliases.  Flash is SSRAM1 (4 MiB), RAM is SSRAM2 (2 MiB).
CPU_FLAGS_mps2-an505    := -mcpu=cortex-m33 -mfpu=fpv5-sp-d16
MPU_mps2-an505          := pmsav8
VECTORS_BASE_mps2-an505 := 0x10000000
FLASH_BASE_mps2-an505   := 0x10000000
RAM_BASE_mps2-an505     := 0x38000000
RAM_LIMIT_mps2-an505    := 2097152

# Cortex-M55, secure aliases.  The core starts in ITCM, whose 512 KiB are too few for the weights of
# most networks: only the vector table is there.  Flash is the QSPI flash (8 MiB, a ROM: stores do
# not reach it), RAM is DTCM (512 KiB).
CPU_FLAGS_mps3-an547    := -mcpu=cortex-m55
MPU_mps3-an547          := pmsav8
VECTORS_BASE_mps3-an547 := 0x00000000
FLASH_BASE_mps3-an547   := 0x38000000
RAM_BASE_mps3-an547     := 0x30000000
RAM_LIMIT_mps3-an547    := 524288
