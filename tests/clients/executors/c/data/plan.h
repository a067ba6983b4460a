/* A small plan by hand: fits y = w * x + b to t by one step of gradient descent per batch. */
#ifndef PLAN_H
#define PLAN_H

enum { SAMPLES = 24, TRIPS = 2 };

/* The steps need 512, and a row of x; what else there is is for mutants. */
#define MEMPLAN_ARENA_BYTES 2048u

#define X_OFFSET 0u /* streamed: half of the batch at a time */
#define T_OFFSET 96u /* resident: the whole batch */
#define Y_OFFSET 288u
#define W_OFFSET 384u
#define B_OFFSET 416u
#define W_SUM_OFFSET 448u
#define B_SUM_OFFSET 452u
#define LOSS_OFFSET 480u
/* Where x is asked for row by row: in another page of 1 KiB than what else the step may touch. */
#define ROWS_OFFSET 1056u

#endif
