/* nbody: a sun and four planets, n steps of symplectic Euler: f64 arithmetic with divisions and square roots. run(n) = bits of the energy. */
#include "kernel.h"

enum { BODIES = 5 };
struct body { double x, y, z, vx, vy, vz, mass; };

/* Round figures in AU, AU/year and units where the sun's mass is 4 pi^2. */
static const struct body START[BODIES] = {
    {0, 0, 0, 0, 0, 0, 39.478417604357432},
    {5.2, 0.1, -0.12, -0.05, 2.75, 0.01, 0.037693674},
    {9.5, -0.4, -0.3, 0.12, 2.03, -0.02, 0.011286326},
    {19.2, 0.8, -0.2, -0.06, 1.43, 0.01, 0.0017237},
    {30.1, -1.3, -0.7, 0.07, 1.14, -0.03, 0.0020336}};
static struct body bodies[BODIES];

static NOINLINE void advance(double dt)
{
    for (u32 i = 0; i < BODIES; i++) {
        struct body *a = &bodies[i];
        for (u32 j = i + 1; j < BODIES; j++) {
            struct body *b = &bodies[j];
            double dx = a->x - b->x, dy = a->y - b->y, dz = a->z - b->z;
            double square = dx * dx + dy * dy + dz * dz;
            double pull = dt / (square * __builtin_sqrt(square));
            a->vx -= dx * b->mass * pull, a->vy -= dy * b->mass * pull, a->vz -= dz * b->mass * pull;
            b->vx += dx * a->mass * pull, b->vy += dy * a->mass * pull, b->vz += dz * a->mass * pull;
        }
    }
    for (u32 i = 0; i < BODIES; i++) {
        bodies[i].x += dt * bodies[i].vx;
        bodies[i].y += dt * bodies[i].vy;
        bodies[i].z += dt * bodies[i].vz;
    }
}

static NOINLINE double energy(void)
{
    double total = 0;
    for (u32 i = 0; i < BODIES; i++) {
        const struct body *a = &bodies[i];
        total += 0.5 * a->mass * (a->vx * a->vx + a->vy * a->vy + a->vz * a->vz);
        for (u32 j = i + 1; j < BODIES; j++) {
            double dx = a->x - bodies[j].x, dy = a->y - bodies[j].y, dz = a->z - bodies[j].z;
            total -= a->mass * bodies[j].mass / __builtin_sqrt(dx * dx + dy * dy + dz * dz);
        }
    }
    return total;
}

u64 run(u32 n)
{
    for (u32 i = 0; i < BODIES; i++)
        bodies[i] = START[i];
    for (u32 step = 0; step < n; step++)
        advance(0.01);
    return bits_of(energy());
}
