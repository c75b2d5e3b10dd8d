#include "shape.h"

int shape2_rect(shape2_t *out, double width, double height)
{
    if (width <= 0 || height <= 0)
        return -1;
    *out = (shape2_t){.kind = SHAPE2_RECT, .a = width, .b = height};
    return 0;
}

double shape2_rect_area(const shape2_t *shape)
{
    return shape->a * shape->b;
}
