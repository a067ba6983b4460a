/* Functions that a C library would have, the same bits on every machine.
 *
 * Largest errors, in units of the last place of a float unless said otherwise:
 *   memplan_exp      2    (0 below -104, infinity above 88.73)
 *   memplan_log      2
 *   memplan_tanh     4
 *   memplan_sigmoid  4
 *   memplan_erf      5e-7, absolute
 *   memplan_sqrt     correctly rounded (IEEE 754)
 */
#ifndef MEMPLAN_MATHEMATICS_H
#define MEMPLAN_MATHEMATICS_H

float memplan_exp(float x);
float memplan_log(float x);
float memplan_tanh(float x);
float memplan_sigmoid(float x);
float memplan_erf(float x);
float memplan_sqrt(float x);
/* base to a whole power, by squaring in double precision. */
double memplan_power(double base, long long exponent);

#endif
