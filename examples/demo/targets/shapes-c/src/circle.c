#include "shape.h"

static const double PI = 3.14159265358979323846;

int shape2_circle(shape2_t *out, double radius)
{
    if (radius <= 0)
        return -1;
    *out = (shape2_t){.kind = SHAPE2_CIRCLE, .a = radius};
    return 0;
}

double shape2_circle_area(const shape2_t *shape)
{
    return PI * shape->a * shape->a;
}
