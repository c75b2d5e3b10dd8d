#include "shape.h"

#include <stdio.h>

int shape2_format(const shape2_t *shape, char *buffer, size_t size)
{
    switch (shape->kind) {
    case SHAPE2_CIRCLE:
        return snprintf(buffer, size, "circle %g", shape->a);
    case SHAPE2_RECT:
        return snprintf(buffer, size, "rect %g %g", shape->a, shape->b);
    case SHAPE2_TRIANGLE:
        return snprintf(buffer, size, "triangle %g %g %g", shape->a, shape->b, shape->c);
    }
    return snprintf(buffer, size, "?");
}
