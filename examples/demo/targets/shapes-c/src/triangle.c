#include "shape.h"

#include <math.h>

int shape2_triangle(shape2_t *out, double a, double b, double c)
{
    if (a <= 0 || b <= 0 || c <= 0 || a + b <= c || b + c <= a || a + c <= b)
        return -1;
    *out = (shape2_t){.kind = SHAPE2_TRIANGLE, .a = a, .b = b, .c = c};
    return 0;
}

/* Heron's formula. */
double shape2_triangle_area(const shape2_t *shape)
{
    double s = (shape->a + shape->b + shape->c) / 2;
    return sqrt(s * (s - shape->a) * (s - shape->b) * (s - shape->c));
}
