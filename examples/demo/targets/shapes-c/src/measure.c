#include "shape.h"

double shape2_area(const shape2_t *shape)
{
    switch (shape->kind) {
    case SHAPE2_CIRCLE:
        return shape2_circle_area(shape);
    case SHAPE2_RECT:
        return shape2_rect_area(shape);
    case SHAPE2_TRIANGLE:
        return shape2_triangle_area(shape);
    }
    return 0;
}

double shape2_perimeter(const shape2_t *shape)
{
    switch (shape->kind) {
    case SHAPE2_CIRCLE:
        return 2 * shape2_circle_area(shape) / shape->a;
    case SHAPE2_RECT:
        return 2 * (shape->a + shape->b);
    case SHAPE2_TRIANGLE:
        return shape->a + shape->b + shape->c;
    }
    return 0;
}
